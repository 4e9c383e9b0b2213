"""Signals in chunks: what comes out is what the whole signal in one piece gives, as long as it came, at its own rate."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unbraid.dsp.phase import MixturePhase, Wiener
from unbraid.dsp.stft import STFT
from unbraid.inference.chunked import Cut, InferenceOptions, at_rate, chunks, cut_for, joined, separated, streamed
from unbraid.inference.loading import Loaded
from unbraid.models.separators.masking import Masking
from unbraid.models.separators.segmentation import Segmenting
from unbraid.models.separators.waveform import WaveformSeparator
from unbraid.nets.open_unmix import OpenUnmix
from unbraid.nets.segmentation import SegmentationUNet
from unbraid.nets.unet import UNet
from unbraid.runs.errors import InputError

CPU = torch.device("cpu")


class Half(nn.Module):
    """Every source is half of the mixture."""

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
    made = Masking(net, STFT(128, 96), ["vocals", "drums"], 8000, 1, 1.0, MixturePhase(), scaling).eval()
    with torch.no_grad():
        for one in made.nets:
            one.decoder[-1][0].weight *= 50  # masks between 0 and 1, and not all near a half
    return made


def open_unmix(phase=None):
    torch.manual_seed(0)
    net = partial(OpenUnmix, 129, 2, None, 16)
    return Masking(net, STFT(256, 64, "reflection"), ["vocals", "drums"], 8000, 2, 1.0, phase or MixturePhase(), "none").eval()


def noise(samples, channels=1):
    """Music-like in that it swells and fades."""
    swell = 1 + torch.sin(torch.arange(samples) / 3000)
    return 0.1 * swell * torch.randn(channels, samples, generator=torch.Generator().manual_seed(1))


def whole(model, signal):
    return model.sources(signal[None])[0]


def in_chunks(model, signal, options=None, block=1000):
    return torch.cat([*separated(model, signal.split(block, dim=-1), options or InferenceOptions(), CPU)], dim=-1)


def decibels(error, signal):
    return 10 * torch.log10(error.square().mean() / signal.square().mean())


@pytest.mark.parametrize("samples", [1, 999, 8000, 8001, 40_000, 65_537])
@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("chunk_alignment", [1, 96, 768])
def test_cut_and_joined_again_it_is_the_signal(samples, overlap, chunk_alignment):
    signal = noise(samples)
    model = half()
    model.net.stride = chunk_alignment
    cut = cut_for(model, InferenceOptions(overlap=overlap))
    pieces = [*chunks(signal.split(1234, dim=-1), cut, chunk_alignment)]
    assert torch.cat([*joined(((piece.samples, piece) for piece in pieces), cut.fade)], dim=-1).allclose(signal, atol=1e-6)
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert cut.hop % chunk_alignment == 0


@pytest.mark.parametrize("samples", [30_000, 100_003])
def test_a_network_that_hears_so_far_says_of_chunks_what_it_says_of_the_whole(samples):
    """If its input is not scaled."""
    model, signal = unet(), noise(samples)
    cut = cut_for(model, InferenceOptions(chunk_seconds=2.0))
    assert model.receptive_field < cut.overlap and samples > 1.4 * cut.chunk
    expected, found = whole(model, signal), in_chunks(model, signal, InferenceOptions(chunk_seconds=2.0))
    assert found.shape == expected.shape and expected.abs().max() > 0.01
    assert decibels(found - expected, expected) < -90


def test_seams_are_heard_off_the_grid_and_without_enough_around():
    """So the test above can fail."""
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
def test_reach_is_how_far_a_mask_hears(make):
    torch.manual_seed(0)
    net, frames = make(), 400
    magnitudes = torch.rand(1, 1, 33, frames, requires_grad=True)
    for frame in range(frames // 2, frames // 2 + net.stride):
        (gradient,) = torch.autograd.grad(net.eval()(magnitudes)[..., frame].sum(), magnitudes)
        heard = gradient.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
        assert frame - net.receptive_field <= heard.min() and heard.max() <= frame + net.receptive_field
        assert heard.max() - heard.min() > net.receptive_field  # the bound is of its size


def test_a_recurrent_network_comes_nearer_the_longer_the_overlap():
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
def test_a_loud_chorus_leaves_a_quiet_verse_alone(decibel, chorus):
    """A chunk away from the chorus, the estimate is that of the verse by itself, at any level."""
    model, verse, far = unet("patch"), noise(60_000), 52_000
    gain = 10 ** (decibel / 20)
    song = torch.cat([gain * verse, 10 ** (chorus / 20) * noise(60_000).flip(-1)], dim=-1)
    expected, found = (Loaded(model, Path()).separate(x, 8000)["vocals"][:, :far] for x in (verse, song))
    assert expected.abs().max() > 0.01 and decibels(found / gain - expected, expected) < -90


def test_a_scaled_network_hears_chunks_as_long_as_in_training():
    model = unet("patch")
    cut = cut_for(model, InferenceOptions())
    assert model.receptive_field is None and abs(cut.chunk - model.chunk_samples) < model.stft.hop_length
    model = Masking(partial(UNet, None), STFT(1024, 768), ["vocals"], 8192, 1, 11.90625, MixturePhase())
    cut = cut_for(model, InferenceOptions())
    assert cut.chunk == model.chunk_samples and cut.overlap / cut.chunk == pytest.approx(0.25, abs=0.01)


def test_estimates_at_different_scales_are_cross_faded():
    """Between two chunks the signal goes from the estimate of the first to that of the second."""
    model, signal = unet("patch"), noise(40_000)
    signal[:, 20_000:] *= 0.1
    cut, found, start = cut_for(model, InferenceOptions()), in_chunks(model, signal), 0
    kept = [model.sources(one.samples[None])[0][..., one.keep] for one in chunks([signal], cut, model.chunk_alignment)]
    for one, after in pairwise(kept):
        start += one.shape[-1] - cut.fade
        old, new, faded = one[..., -cut.fade :], after[..., : cut.fade], found[..., start : start + cut.fade]
        assert -40 < decibels(new - old, old) < 0  # they do differ
        ramp = (torch.arange(cut.fade) + 0.5) / cut.fade
        assert torch.allclose(faded, old + (new - old) * ramp, atol=1e-6)


@pytest.mark.parametrize("rate", [1000, 8000, 44100, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("heard", [1, 2])
def test_any_rate_and_channels_come_back_as_long_as_they_were(rate, channels, heard):
    signal = noise(2 * rate + 7, channels).numpy()
    blocks = np.array_split(signal, 9, axis=1)
    found = [*streamed(half(channels=heard), blocks, rate, InferenceOptions(), CPU)]
    mixture, sources = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    assert np.array_equal(mixture, signal)
    assert sources.shape == (2, channels, signal.shape[1]) and all(m.shape == s.shape[1:] for m, s in found)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_what_comes_back_is_aligned_to_the_sample(rate):
    time = np.arange(3 * rate) / rate
    signal = np.sin(2 * np.pi * 440 * time).astype(np.float32)[None]
    found = [*streamed(half(), np.array_split(signal, 7, axis=1), rate, InferenceOptions(), CPU)]
    sources = np.concatenate([stretch for _, stretch in found], axis=-1)
    middle = slice(rate // 10, -rate // 10)
    assert np.abs(sources[0, 0, middle] - 0.5 * signal[0, middle]).max() < 1e-4


def test_silence_is_not_sent_through_the_network():
    class Never(nn.Module):
        def forward(self, mixture):
            raise AssertionError

    model = WaveformSeparator(lambda sources: Never(), ["vocals"], 8000, 1, 1.0)
    assert in_chunks(model, torch.zeros(1, 20_000)).abs().max() == 0


def test_shifts_are_averaged_and_change_nothing_where_the_network_does_not_care():
    signal = noise(30_000)
    assert torch.allclose(in_chunks(half(), signal, InferenceOptions(shifts=3)), 0.5 * signal.expand(2, 1, -1), atol=1e-6)
    model = unet()
    one, mean = in_chunks(model, signal), in_chunks(model, signal, InferenceOptions(shifts=2))
    assert one.shape == mean.shape and not torch.equal(one, mean)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_no_more_of_a_signal_is_held_than_a_few_chunks(rate):
    """However long it is: what has been asked for and has not come back yet."""
    asked = done = furthest = 0

    def blocks():
        nonlocal asked
        for _ in range(200):
            asked += rate // 2
            yield np.full((1, rate // 2), 0.1, np.float32)

    for _, sources in streamed(half(), blocks(), rate, InferenceOptions(), CPU):
        furthest = max(furthest, asked - done)
        done += sources.shape[-1]
    assert asked == done == 100 * rate and furthest <= 4 * rate  # chunks are of one second


def test_a_batch_says_what_chunks_say_one_by_one():
    model, signal = open_unmix(), noise(70_000, channels=2)
    one, many = (in_chunks(model, signal, InferenceOptions(batch_size=size)) for size in (1, 5))
    assert torch.allclose(one, many, atol=1e-5)


def test_bfloat16_is_near():
    model, signal = open_unmix(), noise(20_000, channels=2)
    exact, rough = in_chunks(model, signal), in_chunks(model, signal, InferenceOptions(precision="bf16"))
    assert rough.dtype == torch.float32 and -80 < decibels(rough - exact, exact) < -20


def test_segments_are_of_one_network_for_all():
    net = partial(SegmentationUNet, channels=(2, 2, 2))
    model = Segmenting(net, STFT(64, 32), ["vocals"], 8000, 1, 1.0, MixturePhase(), True, "none").eval()
    assert model.chunk_alignment == 32 * 4 and model.receptive_field == 32 * model.nets[0].receptive_field + 64


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"chunk_seconds": 0.0}, "chunk_seconds must be above 0 and at most 86400, found 0.0"),
        ({"chunk_seconds": float("nan")}, "chunk_seconds must be above 0 and at most 86400, found nan"),
        ({"chunk_seconds": 1e300}, r"chunk_seconds must be above 0 and at most 86400, found 1e\+300"),
        ({"chunk_seconds": "6"}, "chunk_seconds must be above 0 and at most 86400, found '6'"),
        ({"overlap": float("nan")}, r"overlap must lie in \[0, 0.75\], found nan"),
        ({"overlap": "half"}, r"overlap must lie in \[0, 0.75\], found 'half'"),
        ({"batch_size": 1.5}, "batch_size must be at least 1 and at most 65536, found 1.5"),
        ({"batch_size": 10**13}, "batch_size must be at least 1 and at most 65536, found 10000000000000"),
        ({"shifts": None}, "shifts must be at least 1 and at most 65536, found None"),
        ({"precision": "16"}, "precision must be one of 32, bf16, found '16'"),
        ({"overlap": 0.8}, r"overlap must lie in \[0, 0.75\], found 0.8"),
        ({"batch_size": 0}, "batch_size must be at least 1 and at most 65536, found 0"),
        ({"shifts": 0}, "shifts must be at least 1 and at most 65536, found 0"),
    ],
)
def test_what_cannot_be_done_is_said(options, sentence):
    with pytest.raises(InputError, match=sentence):
        InferenceOptions(**options)


def test_blocks_reach_the_network_at_its_rate_and_channels():
    (heard,) = at_rate(half(channels=2), [np.ones((1, 4000), np.float32)], 8000)
    assert heard.shape == (2, 4000)
    assert Cut(100, 25, 5, 10).lead + Cut(100, 25, 5, 10).context + 5 == 25
