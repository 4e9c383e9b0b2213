"""Open-Unmix against the openunmix package: masks, gradients, and whole separations with the Wiener filter."""

from functools import partial

import openunmix.model as package
import pytest
import torch
from openunmix.utils import bandwidth_to_max_bin

from unbraid.dsp.phase import Wiener
from unbraid.dsp.stft import STFT
from unbraid.models.losses import MagnitudeMSE
from unbraid.models.separators.masking import Masking
from unbraid.nets.open_unmix import OpenUnmix
from unbraid.runs.errors import InputError

BINS, HEARD, HIDDEN = 2049, 1487, 16


def theirs(channels=2, causal=False, layers=3, bins=BINS, heard=HEARD, seed=0):
    """The package's network, every parameter and statistic its own number; nothing drops out."""
    torch.manual_seed(seed)
    net = package.OpenUnmix(bins, channels, HIDDEN, layers, unidirectional=causal, max_bin=heard)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if "num" not in name and not name.startswith(("fc", "lstm")):
                value.copy_(0.5 + torch.rand_like(value))
    net.lstm.dropout = 0.0
    return net


def ours(net, channels=2, causal=False, layers=3, bins=BINS, heard=HEARD):
    copy = OpenUnmix(bins, channels, heard, HIDDEN, layers, causal, dropout=0.0)
    copy.load_state_dict(net.state_dict())  # strict: names map both ways
    return copy.train(net.training)


def loss_and_gradients(net, estimate, truth):
    loss = (estimate - truth).square().mean()
    return loss, torch.autograd.grad(loss, list(dict(net.named_parameters()).values()))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_spectrograms_gradients_and_statistics_are_the_packages(channels, causal, training):
    peer = theirs(channels, causal).train(training)
    net = ours(peer, channels, causal)
    magnitudes, truth = torch.rand(3, channels, BINS, 20), torch.rand(3, channels, BINS, 20)
    expected, estimate = peer(magnitudes), net(magnitudes) * magnitudes
    assert expected.mean() > 0
    # In training mode batch norm magnifies what float32 leaves out, in the package's results as in ours.
    assert (estimate - expected).abs().max() < 1e-5 * (expected.max() if training else 1)
    (one, wanted), (other, found) = loss_and_gradients(peer, expected, truth), loss_and_gradients(net, estimate, truth)
    assert torch.isclose(one, other, rtol=1e-5)
    for (name, _), want, gradient in zip(peer.named_parameters(), wanted, found, strict=True):
        assert (want - gradient).abs().max() < 1e-5 * max(1, want.abs().max()), name
    for (name, want), value in zip(peer.state_dict().items(), net.state_dict().values(), strict=True):
        assert torch.allclose(want, value, atol=1e-6), name
    peer.load_state_dict(net.state_dict())


@pytest.mark.parametrize(("layers", "heard"), [(1, None), (2, 100)])
def test_other_depths_and_bandwidths_too(layers, heard):
    peer = theirs(layers=layers, bins=129, heard=heard).eval()
    magnitudes = torch.rand(2, 2, 129, 9)
    assert (ours(peer, layers=layers, bins=129, heard=heard)(magnitudes) * magnitudes - peer(magnitudes)).abs().max() < 1e-5


def separator(peers, phase, channels=2):
    made = Masking(
        partial(OpenUnmix, BINS, channels, HEARD, HIDDEN), STFT(4096, 1024, "reflection"), list(peers), 44100, channels, 6.0,
        phase, "none",
    )  # fmt: skip
    for net, peer in zip(made.nets, peers.values(), strict=True):
        net.load_state_dict(peer.state_dict())
    return made.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("channels", "targets", "iterations", "softmask", "residual", "window"),
    [
        (2, ("vocals", "drums"), 0, False, False, 300),
        (2, ("vocals", "drums"), 1, False, False, 300),
        (2, ("vocals", "drums"), 1, True, False, 11),
        (2, ("vocals", "drums"), 0, True, True, 300),
        (2, ("vocals",), 1, False, True, 11),
        (1, ("vocals", "drums"), 1, False, True, 300),
        (1, ("vocals",), 0, False, False, 300),
    ],
)
def test_separations_are_the_packages(channels, targets, iterations, softmask, residual, window):
    peers = {name: theirs(channels, seed=seed).eval() for seed, name in enumerate(targets)}
    whole = package.Separator(peers, iterations, softmask, residual, nb_channels=channels, wiener_win_len=window)
    mixture = 0.1 * torch.randn(1, channels, 30_011)  # no multiple of the hop
    expected = whole(mixture)[:, : len(targets)]
    sources = separator(peers, Wiener(iterations, softmask, residual, window), channels)(mixture).sources
    assert sources.shape == expected.shape and expected.abs().max() > 0.01
    assert (sources - expected).abs().max() < 1e-4


def test_the_loss_is_the_packages():
    peer = theirs().eval()
    mixture, truth = 0.1 * torch.randn(2, 2, 30_000), 0.1 * torch.randn(2, 1, 2, 30_000)
    made = separator({"vocals": peer}, Wiener(0, False, False, 300))
    encode = package.make_filterbanks(4096, 1024, center=True)[0]
    expected = torch.nn.functional.mse_loss(
        peer(package.ComplexNorm()(encode(mixture))), package.ComplexNorm()(encode(truth[:, 0]))
    )
    estimate = made(mixture)
    assert torch.isclose(MagnitudeMSE()(estimate, made.training_target(mixture, truth, estimate)), expected, rtol=1e-5)


def test_16_khz_of_the_published_transform_are_1487_bins():
    assert bandwidth_to_max_bin(44100, 4096, 16000) == OpenUnmix(hidden=2).max_bin == HEARD


def test_a_causal_net_hears_nothing_of_what_comes():
    magnitudes = torch.rand(1, 1, 33, 12)
    later = magnitudes.clone()
    later[..., 7:] += 1
    for causal in (True, False):
        net = OpenUnmix(33, 1, None, 8, 2, causal).eval()
        assert torch.equal(net(magnitudes)[..., :7], net(later)[..., :7]) == causal


def test_it_starts_with_whitened_input():
    net = OpenUnmix(5, 1, 3, 4)
    magnitudes = torch.rand(1000, 5) * torch.tensor([1.0, 10, 100, 1, 1]) + 3
    net.start_from(magnitudes.mean(0), magnitudes.std(0))
    heard = (magnitudes[:, :3] + net.input_mean) * net.input_scale
    assert torch.allclose(heard.mean(0), torch.zeros(3), atol=1e-4) and torch.allclose(heard.std(0), torch.ones(3), atol=1e-4)


def test_bins_that_never_sound_do_not_blow_up():
    net = OpenUnmix(3, 1, None, 4)
    net.start_from(torch.tensor([1.0, 0, 0]), torch.tensor([2.0, 0, 1e-9]))
    assert torch.allclose(net.input_scale, torch.tensor([0.5, 5000, 5000]))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_bin": 34}, r"max_bin must lie in \[1, 33\], the bins there are, found 34"),
        ({"max_bin": 0}, r"max_bin must lie in \[1, 33\]"),
        ({"layers": 0}, "layers must be at least 1, found 0"),
        ({"hidden": 7}, "hidden must be a positive number, even unless causal, found 7"),
        ({"hidden": 0, "causal": True}, "hidden must be a positive number, even unless causal, found 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), found 1.0"),
    ],
)
def test_what_cannot_be_made_is_said(options, sentence):
    with pytest.raises(InputError, match=sentence):
        OpenUnmix(**({"bins": 33, "max_bin": None} | options))


@pytest.mark.parametrize("shape", [(1, 2, 33, 4), (1, 1, 34, 4)])
def test_magnitudes_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=f"1 channels of 33 bins, found {shape[1]} of {shape[2]}"):
        OpenUnmix(33, 1, None, 4)(torch.rand(shape))
