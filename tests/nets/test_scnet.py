"""Tests of SCNet: length of the output, bands, Fourier transform over time, precision, and invalid arguments."""

from functools import partial

import pytest
import torch
from torch.nn import functional

from unbraid.nets.scnet import SCNet, from_frequencies, to_frequencies
from unbraid.nets.scnet_bands import Compression, Expansion, SparseBands
from unbraid.nets.scnet_transformer import SCNetTransformer
from unbraid.runs.errors import InputError

SMALL = {"channels": [8, 12], "n_fft": 256, "hop_length": 64, "layers": 2}
HEADS = {"heads": 2, "dim_head": 8, "rotary_dim": 4}
NETS = {
    "plain": partial(SCNet, **SMALL),
    "standardized": partial(SCNet, **SMALL, standardize=True),
    "masked": partial(SCNet, **SMALL, window="hann", mask=True),
    "transformer": partial(SCNetTransformer, **SMALL, **HEADS),
}


def small(name, sources=2, channels=2, **options):
    torch.manual_seed(0)
    return NETS[name](sources, channels, **options).eval()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("samples", "sources", "channels"), [(1, 1, 1), (128, 3, 1), (1303, 2, 2), (1344, 2, 2)])
def test_output_has_the_length_of_the_mixture(name, samples, sources, channels):
    estimates = small(name, sources, channels)(torch.randn(2, channels, samples))
    assert estimates.shape == (2, sources, channels, samples) and estimates.isfinite().all()


@pytest.mark.parametrize("samples", [1, 63, 64, 127, 128, 1303, 1344, 1408])
def test_padding_makes_the_number_of_hops_odd(samples):
    padded = small("plain").padded_length(samples)
    assert padded > max(samples, 128) and padded // 64 % 2 == 1 and padded % 64 == 0
    assert padded - samples <= 128 or samples <= 128


@pytest.mark.parametrize("name", NETS)
def test_items_of_a_batch_are_independent(name):
    net, mixtures = small(name), torch.randn(2, 2, 1200)
    assert torch.allclose(net(mixtures)[1:], net(mixtures[1:]), atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_has_a_finite_gradient(name):
    net = small(name).train()
    net(torch.randn(2, 2, 1303)).square().sum().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_checkpointing_does_not_change_gradients(name):
    results = []
    for checkpointing in (False, True):
        net = small(name, gradient_checkpointing=checkpointing).train()
        torch.manual_seed(1)
        net(torch.randn(1, 2, 1000)).square().sum().backward()
        results.append([p.grad for p in net.parameters()])
    assert all(torch.allclose(*pair, rtol=1e-4, atol=1e-6) for pair in zip(*results, strict=True))


def test_checkpointing_stores_fewer_tensors():
    stored = []
    for checkpointing in (False, True):
        net, sizes = small("plain", gradient_checkpointing=checkpointing).train(), []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: (sizes.append(x.numel()), x)[1], lambda x: x):
            net(torch.randn(1, 2, 4000))
        stored.append(sum(sizes))
    assert stored[1] < 0.7 * stored[0]


@pytest.mark.parametrize("name", NETS)
def test_bfloat16_is_close_to_float32(name):
    net, mixture = small(name).train(), torch.randn(1, 2, 1303)
    with torch.autocast("cpu", torch.bfloat16):
        estimates = net(mixture)
    estimates.square().sum().backward()
    expected = net(mixture)
    assert estimates.dtype == torch.float32 and all(p.grad.isfinite().all() for p in net.parameters())
    assert (estimates - expected).norm() < 0.1 * expected.norm()


def test_standardised_network_is_scale_invariant():
    net, mixture = small("standardized"), torch.randn(1, 2, 1303)
    assert torch.allclose(net(100 * mixture), 100 * net(mixture), rtol=1e-3, atol=1e-2)
    assert not torch.allclose(small("plain")(100 * mixture), 100 * small("plain")(mixture), rtol=1e-1)


def test_masks_of_silence_are_silent():
    assert small("masked")(torch.zeros(1, 2, 1303)).abs().max() == 0


def test_masks_of_one_return_the_mixture():
    net, mixture = small("masked"), torch.randn(1, 2, 1303)
    with torch.no_grad():
        net.mask_head[2].weight.zero_()
        net.mask_head[2].bias.copy_(torch.tensor([20.0, 0.0] * 4))  # real and imaginary part before tanh
    assert torch.allclose(net(mixture), mixture.unsqueeze(1).expand(1, 2, 2, -1), atol=1e-5)


def test_expansion_equals_a_convolution_of_two_copies():
    """The authors' code applies the convolution to two copies of its input."""
    layer = small("plain").decoder[0]
    x, skip = torch.randn(2, 1, 12, sum(layer.compressed), 6)
    mixed = functional.glu(layer.mix((x + skip).repeat(1, 2, 1, 1)), dim=1)
    low = layer.expand[0](mixed[:, :, : layer.compressed[0]])[:, :, 1:-1]  # kernel 3, stride 1
    assert torch.allclose(layer(x, skip)[:, :, : layer.sizes[0]], low, atol=1e-6)


def test_fourier_transform_over_time_is_inverted():
    x = torch.randn(2, 3, 5, 8)
    assert to_frequencies(x).shape == (2, 6, 5, 5) and torch.allclose(from_frequencies(to_frequencies(x)), x, atol=1e-6)
    assert to_frequencies(x.bfloat16()).dtype == torch.float32


def test_bands_cover_all_bins():
    bands = SparseBands([0.175, 0.392, 0.433], [1, 4, 16], [3, 4, 16], [3, 2, 1])
    assert bands.sizes(2049) == [359, 803, 887] and bands.compressed(2049) == [359, 201, 56]


@pytest.mark.parametrize(("bins", "kernels"), [(33, [3, 2, 4]), (34, [1, 2, 4]), (35, [4, 2, 4]), (36, [5, 2, 4])])
def test_expansion_restores_the_number_of_bins(bins, kernels):
    bands = SparseBands([0.3, 0.3, 0.4], [1, 2, 4], kernels, [1, 0, 2])
    x, skip = Compression(2, 8, bins, bands, 4, 3)(torch.randn(1, 2, bins, 5))
    assert x.shape == skip.shape == (1, 8, sum(bands.compressed(bins)), 5)
    assert Expansion(8, 3, bins, bands)(x, skip).shape == (1, 3, bins, 5)


def test_dropout_acts_in_training_only():
    net = small("transformer", attn_dropout=0.5, ff_dropout=0.5)
    mixture = torch.randn(1, 2, 1303)
    assert torch.equal(net(mixture), net(mixture)) and not torch.equal(net.train()(mixture), net(mixture))


@pytest.mark.parametrize(
    ("options", "where", "found"),
    [
        ({"window": "hamming"}, "SCNet.window", "hamming"),
        ({"layers": 3}, "SCNet.layers", 3),
        ({"layers": 0}, "SCNet.layers", 0),
        ({"hop_length": 0}, "hop_length", 0),
        ({"hop_length": 256}, "SCNet.hop_length", 256),
        ({"compress": 0}, "compress", 0),
        ({"compress": 10}, "SCNet.channels", 8),
        ({"conv_kernel": 4}, "SCNet.conv_kernel", 4),
        ({"band_shares": [0.5, 0.5, 0.5]}, "SCNet.band_shares", [0.5, 0.5, 0.5]),
        ({"band_shares": [1.5, -0.5]}, "SCNet.band_shares", [1.5, -0.5]),
        ({"band_shares": []}, "SCNet.band_shares", []),
        ({"band_strides": [1, 4]}, "SCNet.band_strides", [1, 4]),
        ({"band_depths": [1, 1, -1]}, "SCNet.band_depths", [1, 1, -1]),
        ({"band_kernels": [3, 5, 16]}, "SCNet.band_kernels", [3, 5, 16]),
        ({"n_fft": 2, "hop_length": 1}, "SCNet.band_shares", [1, 1, 0]),
    ],
)
def test_invalid_arguments_are_refused(options, where, found):
    with pytest.raises(InputError) as error:
        SCNet(2, **SMALL | options)
    assert (error.value.where, error.value.found) == (where, found)


@pytest.mark.parametrize(
    ("option", "value"), [("dim_head", 7), ("rotary_dim", 3), ("rotary_dim", 10), ("attn_dropout", 1.0), ("ff_dropout", -0.1)]
)
def test_invalid_arguments_of_attention_are_refused(option, value):
    with pytest.raises(InputError) as error:
        SCNetTransformer(2, **SMALL, **HEADS | {option: value})
    assert (error.value.where, error.value.found) == (f"SCNetTransformer.{option}", value)
