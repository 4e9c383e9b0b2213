"""Tests of Open-Unmix against the openunmix package: masks, gradients, and separation with the Wiener filter."""

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

BINS, MAX_BIN, HIDDEN = 2049, 1487, 16


def theirs(channels=2, causal=False, layers=3, bins=BINS, max_bin=MAX_BIN, seed=0):
    """Return the network of the package with random parameters and statistics, without dropout."""
    torch.manual_seed(seed)
    net = package.OpenUnmix(bins, channels, HIDDEN, layers, unidirectional=causal, max_bin=max_bin)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if "num" not in name and not name.startswith(("fc", "lstm")):
                value.copy_(0.5 + torch.rand_like(value))
    net.lstm.dropout = 0.0
    return net


def ours(net, channels=2, causal=False, layers=3, bins=BINS, max_bin=MAX_BIN):
    copy = OpenUnmix(bins, channels, max_bin, HIDDEN, layers, causal, dropout=0.0)
    copy.load_state_dict(net.state_dict())  # strict: names map both ways
    return copy.train(net.training)


def loss_and_gradients(net, estimate, truth):
    loss = (estimate - truth).square().mean()
    return loss, torch.autograd.grad(loss, list(dict(net.named_parameters()).values()))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_network_agrees_with_the_package(channels, causal, training):
    peer = theirs(channels, causal).train(training)
    net = ours(peer, channels, causal)
    magnitudes, truth = torch.rand(3, channels, BINS, 20), torch.rand(3, channels, BINS, 20)
    expected, estimate = peer(magnitudes), net(magnitudes) * magnitudes
    assert expected.mean() > 0
    # In training mode, batch norm amplifies rounding errors of float32.
    assert (estimate - expected).abs().max() < 1e-5 * (expected.max() if training else 1)
    (their_loss, wanted), (our_loss, gradients) = (
        loss_and_gradients(peer, expected, truth),
        loss_and_gradients(net, estimate, truth),
    )
    assert torch.isclose(their_loss, our_loss, rtol=1e-5)
    for (name, _), want, gradient in zip(peer.named_parameters(), wanted, gradients, strict=True):
        assert (want - gradient).abs().max() < 1e-5 * max(1, want.abs().max()), name
    for (name, want), value in zip(peer.state_dict().items(), net.state_dict().values(), strict=True):
        assert torch.allclose(want, value, atol=1e-6), name
    peer.load_state_dict(net.state_dict())


@pytest.mark.parametrize(("layers", "max_bin"), [(1, None), (2, 100)])
def test_other_depths_and_bandwidths_agree(layers, max_bin):
    peer = theirs(layers=layers, bins=129, max_bin=max_bin).eval()
    magnitudes = torch.rand(2, 2, 129, 9)
    assert (ours(peer, layers=layers, bins=129, max_bin=max_bin)(magnitudes) * magnitudes - peer(magnitudes)).abs().max() < 1e-5


def separator(peers, phase, channels=2):
    made = Masking(
        partial(OpenUnmix, BINS, channels, MAX_BIN, HIDDEN), STFT(4096, 1024, "reflection"), list(peers), 44100, channels, 6.0,
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
def test_separation_agrees_with_the_package(channels, targets, iterations, softmask, residual, window):
    peers = {name: theirs(channels, seed=seed).eval() for seed, name in enumerate(targets)}
    whole = package.Separator(peers, iterations, softmask, residual, nb_channels=channels, wiener_win_len=window)
    mixture = 0.1 * torch.randn(1, channels, 30_011)  # not a multiple of the hop
    expected = whole(mixture)[:, : len(targets)]
    sources = separator(peers, Wiener(iterations, softmask, residual, window), channels)(mixture).sources
    assert sources.shape == expected.shape and expected.abs().max() > 0.01
    assert (sources - expected).abs().max() < 1e-4


def test_loss_agrees_with_the_package():
    peer = theirs().eval()
    mixture, truth = 0.1 * torch.randn(2, 2, 30_000), 0.1 * torch.randn(2, 1, 2, 30_000)
    made = separator({"vocals": peer}, Wiener(0, False, False, 300))
    encode = package.make_filterbanks(4096, 1024, center=True)[0]
    expected = torch.nn.functional.mse_loss(
        peer(package.ComplexNorm()(encode(mixture))), package.ComplexNorm()(encode(truth[:, 0]))
    )
    estimate = made(mixture)
    assert torch.isclose(MagnitudeMSE()(estimate, made.training_target(mixture, truth, estimate)), expected, rtol=1e-5)


def test_default_max_bin_is_16_khz():
    assert bandwidth_to_max_bin(44100, 4096, 16000) == OpenUnmix(hidden=2).max_bin == MAX_BIN


def test_causal_network_ignores_later_frames():
    magnitudes = torch.rand(1, 1, 33, 12)
    later = magnitudes.clone()
    later[..., 7:] += 1
    for causal in (True, False):
        net = OpenUnmix(33, 1, None, 8, 2, causal).eval()
        assert torch.equal(net(magnitudes)[..., :7], net(later)[..., :7]) == causal


def test_start_from_standardises_the_input():
    net = OpenUnmix(5, 1, 3, 4)
    magnitudes = torch.rand(1000, 5) * torch.tensor([1.0, 10, 100, 1, 1]) + 3
    net.start_from(magnitudes.mean(0), magnitudes.std(0))
    scaled = (magnitudes[:, :3] + net.input_mean) * net.input_scale
    assert torch.allclose(scaled.mean(0), torch.zeros(3), atol=1e-4) and torch.allclose(scaled.std(0), torch.ones(3), atol=1e-4)


def test_scale_of_silent_bins_is_limited():
    net = OpenUnmix(3, 1, None, 4)
    net.start_from(torch.tensor([1.0, 0, 0]), torch.tensor([2.0, 0, 1e-9]))
    assert torch.allclose(net.input_scale, torch.tensor([0.5, 5000, 5000]))


@pytest.mark.parametrize(
    ("name", "value", "causal"),
    [
        ("max_bin", 34, False),
        ("max_bin", 0, False),
        ("layers", 0, False),
        ("hidden", 7, False),
        ("hidden", 0, True),
        ("dropout", 1.0, False),
    ],
)
def test_invalid_arguments_are_refused(name, value, causal):
    with pytest.raises(InputError) as error:
        OpenUnmix(**({"bins": 33, "max_bin": None, "causal": causal} | {name: value}))
    assert (error.value.where, error.value.found) == (f"OpenUnmix.{name}", value)


@pytest.mark.parametrize("shape", [(1, 2, 33, 4), (1, 1, 34, 4)])
def test_magnitudes_of_another_shape_are_refused(shape):
    with pytest.raises(InputError) as error:
        OpenUnmix(33, 1, None, 4)(torch.rand(shape))
    assert (error.value.found, error.value.expected) == (f"{shape[1]} channels of {shape[2]} bins", "1 channels of 33 bins")
