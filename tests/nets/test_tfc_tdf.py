"""Tests of TFC-TDF v3 (MDX23C): length of the output, subbands, precision, and invalid arguments."""

import pytest
import torch
from torch import nn

from unbraid.nets.tfc_tdf import TFCTDF
from unbraid.runs.errors import InputError

SMALL = {"n_fft": 256, "hop_length": 64, "bins": 128, "channels": 8, "growth": 4, "levels": 2, "blocks": 2}
KINDS = {"instance": {}, "batch": {"norm": "batch", "activation": "relu"}, "group": {"norm": "group2", "activation": "elu0.5"}}


def small(kind="instance", sources=2, channels=2, **options):
    torch.manual_seed(0)
    return TFCTDF(sources, channels, **SMALL | KINDS[kind] | options).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("samples", "sources", "channels"), [(1, 1, 1), (129, 3, 1), (1303, 2, 2), (15 * 64, 2, 2)])
def test_output_has_the_length_of_the_mixture(kind, samples, sources, channels):
    estimates = small(kind, sources, channels)(torch.randn(2, channels, samples))
    assert estimates.shape == (2, sources, channels, samples) and estimates.isfinite().all()


@pytest.mark.parametrize("samples", [1, 128, 129, 15 * 64, 15 * 64 + 1, 16 * 64, 1303])
def test_padding_gives_divisible_frames(samples):
    padded = small().padded_length(samples)
    assert padded >= samples and padded > 128 and padded % 64 == 0 and (padded // 64 + 1) % 4 == 0
    assert padded - samples < 4 * 64 or samples < 3 * 64


def test_whole_chunks_are_not_padded():
    assert TFCTDF(1, channels=4, growth=4).padded_length(261120) == 261120


def test_items_of_a_batch_are_independent():
    net, mixtures = small(), torch.randn(2, 2, 1200)
    assert torch.allclose(net(mixtures)[1:], net(mixtures[1:]), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_has_a_finite_gradient(kind):
    net = small(kind).train()
    net(torch.randn(2, 2, 1303)).square().sum().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_checkpointing_does_not_change_gradients():
    results, stored = [], []
    for checkpointing in (False, True):
        net, sizes = small(gradient_checkpointing=checkpointing).train(), []
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: (sizes.append(x.numel()), x)[1], lambda x: x):
            estimates = net(torch.randn(1, 2, 1000))
        estimates.square().sum().backward()
        results.append([p.grad for p in net.parameters()])
        stored.append(sum(sizes))
    assert all(torch.allclose(*pair, rtol=1e-4, atol=1e-6) for pair in zip(*results, strict=True))
    assert stored[1] < 0.5 * stored[0]


def test_bfloat16_is_close_to_float32():
    net, mixture = small().train(), torch.randn(1, 2, 1303)
    with torch.autocast("cpu", torch.bfloat16):
        estimates = net(mixture)
    estimates.square().sum().backward()
    expected = net(mixture)
    assert estimates.dtype == torch.float32 and all(p.grad.isfinite().all() for p in net.parameters())
    assert (estimates - expected).norm() < 0.1 * expected.norm()


def test_group_norm_of_single_channels_is_instance_norm():
    norm, x = small().lowest[0].tfc1[0], torch.randn(2, 16, 5, 8)
    expected = nn.InstanceNorm2d(16, affine=True)
    expected.load_state_dict(norm.state_dict())
    assert torch.allclose(norm(x), expected(x), atol=1e-5)


def test_bins_above_the_limit_are_silent():
    for bins in (64, 128):
        net = small(bins=bins)
        spectra = net.stft(net(torch.randn(1, 2, 15 * 64))).abs()
        assert (spectra[..., 68:, :].mean() < 0.02 * spectra.mean()) == (bins == 64)


def test_subbands_share_their_position():
    """A network that copies its first input map copies the lowest subband of the real part of the first channel."""
    net = small(sources=1, levels=1)
    nn.init.zeros_(net.last[0].weight)
    nn.init.zeros_(net.last[2].weight)
    with torch.no_grad():
        net.last[0].weight[0, 0] = net.last[2].weight[0, 0] = 1
    net.last[1] = nn.Identity()
    mixture = torch.randn(1, 2, 15 * 64)
    estimates, spectra = net(mixture), torch.zeros(1, 2, 129, 16, dtype=torch.complex64)
    spectra[:, 0, :32] = net.stft(mixture)[:, 0, :32].real
    assert torch.allclose(estimates[:, 0], net.stft.inverse(spectra, 15 * 64), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "where", "found"),
    [
        ({"bins": 130}, "TFCTDF.bins", 130),
        ({"bins": 0}, "TFCTDF.bins", 0),
        ({"bins": 24}, "TFCTDF.bins", 24),
        ({"bottleneck": 9}, "TFCTDF.bottleneck", 9),
        ({"growth": -1}, "TFCTDF.growth", -1),
        ({"levels": 0}, "levels", 0),
        ({"levels": 10**9}, "TFCTDF.levels", 10**9),
        ({"norm": "layer"}, "TFCTDF.norm", "layer"),
        ({"norm": "group3"}, "TFCTDF.norm", "group3"),
        ({"norm": "group0"}, "TFCTDF.norm", "group0"),
        ({"activation": "tanh"}, "TFCTDF.activation", "tanh"),
        ({"activation": "elu"}, "TFCTDF.activation", "elu"),
    ],
)
def test_invalid_arguments_are_refused(options, where, found):
    with pytest.raises(InputError) as error:
        TFCTDF(2, **SMALL | options)
    assert (error.value.where, error.value.found) == (where, found)
