"""Tests of the autoencoders of vectors and of PCA, the linear case."""

import numpy as np
import pytest
import torch
from sklearn import decomposition
from torch import nn

from unbraid.models.losses import SquaredError
from unbraid.nets.autoencoders import DenseAutoencoder, FrameAutoencoder, VariationalAutoencoder, divergence
from unbraid.nets.pca import LARGEST, PCA
from unbraid.runs.errors import InputError


def data(n=500, size=12, seed=0):
    """Return random points with a large variance in three directions, and mean 1."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([4.0, 3.0, 2.0, *[0.3] * (size - 3)])
    turn = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
    return (torch.randn(n, size, generator=generator) * spread) @ turn + 1


def fitted(items, code, batch=64):
    pca = PCA(items.shape[1], code)
    for part in items.split(batch):
        pca.add(part)
    pca.solve()
    return pca


def largest_angle(first, second):
    """Return the largest angle between the subspaces spanned by the rows, in degrees."""
    a, b = (torch.linalg.qr(rows.double().T)[0] for rows in (first, second))
    return float(torch.rad2deg(torch.linalg.svdvals(a.T @ b).clamp(max=1).min().acos()))


def test_pca_agrees_with_scikit_learn():
    items = data()
    theirs = decomposition.PCA(3, svd_solver="full").fit(items.numpy())
    for batch in (1, 7, 500):
        ours = fitted(items, 3, batch)
        assert largest_angle(ours.components, torch.from_numpy(theirs.components_)) < 1e-2
        np.testing.assert_allclose(ours(items).numpy(), theirs.inverse_transform(theirs.transform(items.numpy())), atol=1e-4)


def test_merged_statistics_are_those_of_all_data():
    items = data()
    whole, first, second = PCA(12, 2), PCA(12, 2), PCA(12, 2)
    whole.add(items)
    first.add(items[:123])
    second.add(items[123:])
    first.merge(second.count, second.centre, second.scatter)
    torch.testing.assert_close(first.scatter, whole.scatter)
    torch.testing.assert_close(first.centre, whole.centre)


def test_all_components_reconstruct_the_data():
    items = data()
    torch.testing.assert_close(fitted(items, 12)(items), items, atol=1e-4, rtol=0)


def test_trained_linear_autoencoder_spans_the_pca_space():
    torch.manual_seed(0)
    items = data()
    net, loss = DenseAutoencoder(12, 3), SquaredError()
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def closure():
        optimizer.zero_grad()
        value = loss(net(items), items)
        value.backward()
        return value

    optimizer.step(closure)
    pca = fitted(items, 3)
    assert largest_angle(net.decoder[0].weight.detach().T, pca.components) < 2
    assert loss(net(items), items).item() == pytest.approx(loss(pca(items), items).item(), rel=0.01)


def test_tied_weights_share_memory(tmp_path):
    torch.manual_seed(0)
    net = DenseAutoencoder(12, 3, hidden=[8, 6], tied=True)

    def check(net):
        layers = net.decoder_layers()
        for layer, (weight, _) in zip(net.encoder, layers[::-1], strict=True):
            assert weight.data_ptr() == layer.weight.data_ptr()
            assert torch.equal(weight, layer.weight.T)

    check(net)
    before = net.encoder[0].weight.detach().clone()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        SquaredError()(net(data()), data()).backward()
        optimizer.step()
    check(net)
    assert not torch.equal(net.encoder[0].weight, before)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    loaded = DenseAutoencoder(12, 3, hidden=[8, 6], tied=True)
    loaded.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    check(loaded)
    torch.testing.assert_close(loaded(data()), net(data()))
    untied = DenseAutoencoder(12, 3, hidden=[8, 6])
    weights = sum(w.numel() for w in net.parameters()) - sum(w.numel() for w in untied.parameters())
    assert weights == -(12 * 8 + 8 * 6 + 6 * 3)


def test_deep_net_has_the_layers_of_the_paper():
    net = DenseAutoencoder(784, 30, hidden=[1000, 500, 250])
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert [m.in_features for m in layers] == [784, 1000, 500, 250, 30, 250, 500, 1000]
    assert net.encode(torch.rand(2, 784)).shape == (2, 30)


def test_code_activation_is_applied():
    net = DenseAutoencoder(4, 2, code_activation="sigmoid")
    items = torch.randn(3, 4)
    torch.testing.assert_close(net.encode(items), torch.sigmoid(items @ net.encoder[0].weight.T + net.encoder[0].bias))


def test_divergence_of_gaussians():
    assert divergence(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0
    # 0.5 * (mean² + variance - 1 - ln variance) with mean 2 and variance e
    assert divergence(torch.tensor([[2.0]]), torch.tensor([[1.0]])).item() == pytest.approx(0.5 * (4 + np.e - 1 - 1))


def test_drawn_codes_have_mean_and_variance():
    torch.manual_seed(0)
    net = VariationalAutoencoder(6, 2, hidden=[4])
    drawn = net.draw(torch.full((20000, 2), 3.0), torch.full((20000, 2), float(np.log(4.0))))
    assert drawn.mean().item() == pytest.approx(3, abs=0.05)
    assert drawn.var().item() == pytest.approx(4, rel=0.05)
    mean, _ = net.infer(torch.ones(1, 6))
    torch.testing.assert_close(net.encode(torch.ones(1, 6)), mean)


def test_frames_are_reconstructed_independently():
    net = FrameAutoencoder(5, 2, hidden=[4])
    magnitudes = torch.rand(2, 1, 5, 7)
    torch.testing.assert_close(net(magnitudes)[:, 0, :, 3], net.net(magnitudes[:, 0, :, 3].sqrt()).square())
    assert (net(magnitudes) >= 0).all()


@pytest.mark.parametrize(
    ("make", "where", "found"),
    [
        (lambda: DenseAutoencoder(8, 9), "code", 9),
        (lambda: DenseAutoencoder(8, 0), "code", 0),
        (lambda: PCA(8, 9), "code", 9),
        (lambda: DenseAutoencoder(8, 2, hidden=[4, 0]), "DenseAutoencoder.hidden", [4, 0]),
        (lambda: PCA(LARGEST + 1, 2), "PCA.size", LARGEST + 1),
    ],
)
def test_invalid_sizes_are_refused(make, where, found):
    with pytest.raises(InputError) as error:
        make()
    assert (error.value.where, error.value.found) == (where, found)


def test_frame_autoencoder_always_has_a_gradient():
    """A negative bias stands for training on silence; a rectifier would have zero gradient there."""
    net = FrameAutoencoder(33, 16, [24])
    with torch.no_grad():
        net.net.decoder[-1].bias.fill_(-1.0)
    output = net(torch.zeros(1, 1, 33, 4))
    assert (output >= 0).all()
    (output - 2).abs().sum().backward()
    assert (net.net.decoder[-1].bias.grad != 0).all()


def test_frames_of_another_size_are_refused():
    with pytest.raises(InputError) as error:
        FrameAutoencoder(5, 2)(torch.rand(1, 1, 9, 3))
    assert (error.value.where, error.value.found) == ("FrameAutoencoder.size", 5) and "9" in error.value.expected
