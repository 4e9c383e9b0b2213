"""Chunked inference: the result equals the estimate of the whole signal and keeps its length and sample rate."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unbraid.dsp.phase import MixturePhase, Wiener
from unbraid.dsp.stft import STFT
from unbraid.inference.chunked import InferenceOptions, chunk_sizes, separated, streamed
from unbraid.inference.crossfade import ChunkSizes, cut_chunks, join_chunks
from unbraid.inference.loading import Loaded
from unbraid.inference.mixture_blocks import at_rate
from unbraid.models.separators.masking import Masking
from unbraid.models.separators.segmentation import Segmenting
from unbraid.models.separators.waveform import WaveformSeparator
from unbraid.nets.open_unmix import OpenUnmix
from unbraid.nets.segmentation import SegmentationUNet
from unbraid.nets.unet import UNet
from unbraid.runs.errors import InputError

CPU = torch.device("cpu")


class Half(nn.Module):
    """Return half of the mixture as each source."""

    def __init__(self, sources):
        super().__init__()
        self.sources = sources

    def forward(self, mixture):
        return 0.5 * mixture.unsqueeze(1).expand(-1, self.sources, -1, -1)


def half(targets=("vocals", "drums"), rate=8000, channels=1):
    return WaveformSeparator(Half, targets, rate, channels, 1.0)


def unet(scaling="none"):
    torch.manual_seed(0)
    net = partial(UNet, None, (4, 8, 8))
    separator = Masking(net, STFT(128, 96), ["vocals", "drums"], 8000, 1, 1.0, MixturePhase(), scaling).eval()
    with torch.no_grad():
        for net in separator.nets:
            net.decoder[-1][0].weight *= 50  # so that masks cover the range from 0 to 1
    return separator


def open_unmix(phase=None):
    torch.manual_seed(0)
    net = partial(OpenUnmix, 129, 2, None, 16)
    return Masking(net, STFT(256, 64, "reflection"), ["vocals", "drums"], 8000, 2, 1.0, phase or MixturePhase(), "none").eval()


def noise(samples, channels=1):
    """Return noise whose level rises and falls slowly, as in music."""
    swell = 1 + torch.sin(torch.arange(samples) / 3000)
    return 0.1 * swell * torch.randn(channels, samples, generator=torch.Generator().manual_seed(1))


def whole(model, signal):
    return model.sources(signal[None])[0]


def in_chunks(model, signal, options=None, block=1000):
    return torch.cat([*separated(model, signal.split(block, dim=-1), options or InferenceOptions(), CPU)], dim=-1)


def decibels(error, signal):
    return 10 * torch.log10(error.square().mean() / signal.square().mean())


@pytest.mark.parametrize("samples", [1, 999, 8000, 8001, 40_000, 65_537])
@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("chunk_alignment", [1, 96, 768])
def test_cut_and_joined_chunks_restore_the_signal(samples, overlap, chunk_alignment):
    signal = noise(samples)
    model = half()
    model.net.stride = chunk_alignment
    sizes = chunk_sizes(model, InferenceOptions(overlap=overlap))
    chunks = [*cut_chunks(signal.split(1234, dim=-1), sizes, chunk_alignment)]
    joined = torch.cat([*join_chunks(((chunk.samples, chunk) for chunk in chunks), sizes.fade)], dim=-1)
    assert joined.allclose(signal, atol=1e-6)
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert sizes.hop % chunk_alignment == 0


@pytest.mark.parametrize("samples", [30_000, 100_003])
def test_chunks_and_whole_signal_agree(samples):
    """The input of the network is not scaled, and its receptive field is finite."""
    model, signal = unet(), noise(samples)
    sizes = chunk_sizes(model, InferenceOptions(chunk_seconds=2.0))
    assert model.receptive_field < sizes.overlap and samples > 1.4 * sizes.chunk
    expected, sources = whole(model, signal), in_chunks(model, signal, InferenceOptions(chunk_seconds=2.0))
    assert sources.shape == expected.shape and expected.abs().max() > 0.01
    assert decibels(sources - expected, expected) < -90


def test_short_overlap_and_wrong_alignment_change_the_result():
    """This test shows that `test_chunks_and_whole_signal_agree` can fail."""
    model, signal = unet(), noise(100_003)
    expected = whole(model, signal)
    assert decibels(in_chunks(model, signal, InferenceOptions(chunk_seconds=2.0, overlap=0.05)) - expected, expected) > -60
    model.nets[0].stride = model.nets[1].stride = 1
    assert decibels(in_chunks(model, signal, InferenceOptions(chunk_seconds=2.01)) - expected, expected) > -60


@pytest.mark.parametrize(
    "make",
    [
        partial(UNet, None, (8, 8, 8)), partial(UNet, None, (8, 8, 8), up="bilinear"),
        partial(UNet, None, (8, 8, 8), up="nearest"), partial(SegmentationUNet, 2, (8, 8, 8)),
    ],
)  # fmt: skip
def test_receptive_field_bounds_the_input_of_a_mask(make):
    torch.manual_seed(0)
    net, frames = make(), 400
    magnitudes = torch.rand(1, 1, 33, frames, requires_grad=True)
    for frame in range(frames // 2, frames // 2 + net.stride):
        (gradient,) = torch.autograd.grad(net.eval()(magnitudes)[..., frame].sum(), magnitudes)
        used = gradient.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
        assert frame - net.receptive_field <= used.min() and used.max() <= frame + net.receptive_field
        assert used.max() - used.min() > net.receptive_field  # the bound is less than a factor of 2 too large


def test_longer_overlap_reduces_error_of_recurrent_networks():
    model, signal = open_unmix(), noise(40_000, channels=2)
    expected = whole(model, signal)
    errors = [
        decibels(in_chunks(model, signal, InferenceOptions(overlap=overlap)) - expected, expected)
        for overlap in (0.0, 0.25, 0.5)
    ]
    assert errors[1] < errors[0] and errors[2] < errors[0] and errors[2] < -40


def test_the_wiener_filter_runs_in_chunks():
    model, signal = open_unmix(Wiener(1, False, False, 300)), noise(30_000, channels=2)
    assert in_chunks(model, signal).shape == (2, 2, 30_000)


@pytest.mark.parametrize("decibel", [0, -6, -12, -20])
@pytest.mark.parametrize("chorus", [0, 12])
def test_loud_chorus_does_not_change_quiet_verse(decibel, chorus):
    """More than a chunk before the chorus, the estimate equals that of the verse without the chorus, at each level."""
    model, verse, far = unet("patch"), noise(60_000), 52_000
    gain = 10 ** (decibel / 20)
    song = torch.cat([gain * verse, 10 ** (chorus / 20) * noise(60_000).flip(-1)], dim=-1)
    expected, vocals = (Loaded(model, Path()).separate(x, 8000)["vocals"][:, :far] for x in (verse, song))
    assert expected.abs().max() > 0.01 and decibels(vocals / gain - expected, expected) < -90


def test_scaled_networks_get_chunks_of_training_length():
    model = unet("patch")
    sizes = chunk_sizes(model, InferenceOptions())
    assert model.receptive_field is None and abs(sizes.chunk - model.chunk_samples) < model.stft.hop_length
    model = Masking(partial(UNet, None), STFT(1024, 768), ["vocals"], 8192, 1, 11.90625, MixturePhase())
    sizes = chunk_sizes(model, InferenceOptions())
    assert sizes.chunk == model.chunk_samples and sizes.overlap / sizes.chunk == pytest.approx(0.25, abs=0.01)


def test_estimates_at_different_scales_are_cross_faded():
    """Two chunks with different scales have different estimates of the samples that they share."""
    model, signal = unet("patch"), noise(40_000)
    signal[:, 20_000:] *= 0.1
    sizes, sources, start = chunk_sizes(model, InferenceOptions()), in_chunks(model, signal), 0
    chunks = cut_chunks([signal], sizes, model.chunk_alignment)
    estimates = [model.sources(chunk.samples[None])[0][..., chunk.keep] for chunk in chunks]
    for first, second in pairwise(estimates):
        start += first.shape[-1] - sizes.fade
        old, new, faded = first[..., -sizes.fade :], second[..., : sizes.fade], sources[..., start : start + sizes.fade]
        assert -40 < decibels(new - old, old) < 0
        ramp = (torch.arange(sizes.fade) + 0.5) / sizes.fade
        assert torch.allclose(faded, old + (new - old) * ramp, atol=1e-6)


@pytest.mark.parametrize("rate", [1000, 8000, 44100, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("model_channels", [1, 2])
def test_sources_keep_rate_channels_and_length(rate, channels, model_channels):
    signal = noise(2 * rate + 7, channels).numpy()
    blocks = np.array_split(signal, 9, axis=1)
    stretches = [*streamed(half(channels=model_channels), blocks, rate, InferenceOptions(), CPU)]
    mixture, sources = (np.concatenate(parts, axis=-1) for parts in zip(*stretches, strict=True))
    assert np.array_equal(mixture, signal)
    assert sources.shape == (2, channels, signal.shape[1]) and all(m.shape == s.shape[1:] for m, s in stretches)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_sources_are_aligned_to_the_sample(rate):
    time = np.arange(3 * rate) / rate
    signal = np.sin(2 * np.pi * 440 * time).astype(np.float32)[None]
    stretches = streamed(half(), np.array_split(signal, 7, axis=1), rate, InferenceOptions(), CPU)
    sources = np.concatenate([stretch for _, stretch in stretches], axis=-1)
    middle = slice(rate // 10, -rate // 10)
    assert np.abs(sources[0, 0, middle] - 0.5 * signal[0, middle]).max() < 1e-4


def test_silence_skips_the_network():
    class Never(nn.Module):
        def forward(self, mixture):
            raise AssertionError

    model = WaveformSeparator(lambda sources: Never(), ["vocals"], 8000, 1, 1.0)
    assert in_chunks(model, torch.zeros(1, 20_000)).abs().max() == 0


def test_estimates_of_shifts_are_averaged():
    signal = noise(30_000)
    assert torch.allclose(in_chunks(half(), signal, InferenceOptions(shifts=3)), 0.5 * signal.expand(2, 1, -1), atol=1e-6)
    model = unet()
    one, mean = in_chunks(model, signal), in_chunks(model, signal, InferenceOptions(shifts=2))
    assert one.shape == mean.shape and not torch.equal(one, mean)


class LeftAndSquare(nn.Module):
    """Return the left channel in both channels, and the square of the mixture."""

    def __init__(self, sources):
        super().__init__()

    def forward(self, mixture):
        return torch.stack([mixture[:, :1].expand(-1, 2, -1), mixture.square()], dim=1)


def test_swapped_channels_and_polarity_are_averaged():
    model, signal = WaveformSeparator(LeftAndSquare, ["vocals", "drums"], 8000, 2, 1.0), noise(30_000, 2)
    left, square = signal[:1].expand(2, -1), signal.square()
    swapped = in_chunks(model, signal, InferenceOptions(channel_swap=True))
    torch.testing.assert_close(swapped, torch.stack([signal.mean(0).expand(2, -1), square]))  # left, and right as left
    inverted = in_chunks(model, signal, InferenceOptions(polarity=True))
    torch.testing.assert_close(inverted, torch.stack([left, 0 * square]))  # the square ignores the polarity
    both = in_chunks(model, signal, InferenceOptions(polarity=True, channel_swap=True, shifts=2))
    torch.testing.assert_close(both, torch.stack([(2 * left + signal[1:]) / 3, square / 3]))


def test_swapped_channels_of_mono_change_nothing():
    model, signal = unet(), noise(30_000)
    assert torch.equal(in_chunks(model, signal), in_chunks(model, signal, InferenceOptions(channel_swap=True)))


@pytest.mark.parametrize("rate", [8000, 44100])
def test_memory_holds_few_chunks_only(rate):
    """Check that at most 4 seconds of a long signal have been read and not been returned."""
    requested = done = furthest = 0

    def blocks():
        nonlocal requested
        for _ in range(200):
            requested += rate // 2
            yield np.full((1, rate // 2), 0.1, np.float32)

    for _, sources in streamed(half(), blocks(), rate, InferenceOptions(), CPU):
        furthest = max(furthest, requested - done)
        done += sources.shape[-1]
    assert requested == done == 100 * rate and furthest <= 4 * rate  # a chunk has one second


def test_batch_size_does_not_change_the_result():
    model, signal = open_unmix(), noise(70_000, channels=2)
    one, many = (in_chunks(model, signal, InferenceOptions(batch_size=size)) for size in (1, 5))
    assert torch.allclose(one, many, atol=1e-5)


def test_bfloat16_is_close_to_float32():
    model, signal = open_unmix(), noise(20_000, channels=2)
    exact, rough = in_chunks(model, signal), in_chunks(model, signal, InferenceOptions(precision="bf16"))
    assert rough.dtype == torch.float32 and -80 < decibels(rough - exact, exact) < -20


def test_segmentation_aligns_chunks_to_the_network_stride():
    net = partial(SegmentationUNet, channels=(2, 2, 2))
    model = Segmenting(net, STFT(64, 32), ["vocals"], 8000, 1, 1.0, MixturePhase(), True, "none").eval()
    assert model.chunk_alignment == 32 * 4 and model.receptive_field == 32 * model.nets[0].receptive_field + 64


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("chunk_seconds", 0.0, "86400"),
        ("chunk_seconds", float("nan"), "86400"),
        ("chunk_seconds", 1e300, "86400"),
        ("chunk_seconds", "6", "86400"),
        ("overlap", float("nan"), "[0, 0.99]"),
        ("overlap", "half", "[0, 0.99]"),
        ("overlap", 1.0, "[0, 0.99]"),
        ("batch_size", 1.5, "[1, 65536]"),
        ("batch_size", 10**13, "[1, 65536]"),
        ("batch_size", 0, "[1, 65536]"),
        ("shifts", None, "[1, 65536]"),
        ("shifts", 0, "[1, 65536]"),
        ("channel_swap", 1, "true or false"),
        ("polarity", "yes", "true or false"),
        ("precision", "16", "32, bf16"),
        ("join", "mean", "crossfade, weighted, average"),
    ],
)
def test_invalid_options_are_refused(name, value, bound):
    with pytest.raises(InputError) as error:
        InferenceOptions(**{name: value})
    assert (error.value.where, error.value.found) == (name, repr(value)) and bound in error.value.expected


def test_blocks_get_rate_and_channels_of_network():
    (converted,) = at_rate(half(channels=2), [np.ones((1, 4000), np.float32)], 8000)
    assert converted.shape == (2, 4000)
    sizes = ChunkSizes(100, 25, 5, 10)
    assert sizes.discarded_start + sizes.discarded_end + sizes.fade == sizes.overlap
