"""Augmentations that change the spectrum of a source: equalizer, low-pass filter, noise.

The filters multiply the spectrum of the whole chunk by a smooth real curve. So they have zero phase (no delay) and need no loop
over samples. The impulse response of each filter is symmetric, so the filter also rings before each sound, not only after the
sound. If the ringing before a sound is a problem, use a causal filter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unbraid.data.augmentation.draws import check, check_pair, chosen_sources, factors, floats, numbers
from unbraid.runs.errors import InputError

# Zero padding, so that the ringing of a filter does not wrap around to the other end of the chunk. The longest response, that
# of an equalizer with 16 bands, has decayed by 79 dB after this time at a sample rate of 8 kHz, and by 99 dB at 44.1 kHz.
RING_SECONDS = 0.25
# Frequency of the lowest point of an equalizer's curve. The curve is flat below it.
LOWEST_BAND_HZ = 50.0
# Order of the Butterworth magnitude response of `LowPass`; each order adds 6 dB per octave.
LOW_PASS_ORDER = 8


@dataclass(frozen=True)
class Equalizer:
    """Filter some sources with a random equalizer: a smooth gain curve over the logarithm of frequency, with zero phase.

    The curve passes through `bands` points with random gains. The points are spaced evenly in log frequency between
    `LOWEST_BAND_HZ` and half the sample rate.

    Args:
        probability: probability with which each source of each example is filtered, in [0, 1].
        decibels: largest gain and largest attenuation of a point, in dB, in [0, 24]. The gain of a point is drawn uniformly
            between -`decibels` and `decibels`.
        bands: number of points of the curve, in [2, 16].
    """

    probability: float
    decibels: float
    bands: int

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)
        check("decibels", self.decibels, 0, 24)
        check("bands", self.bands, 2, 16)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Equalize randomly chosen sources of a batch. Shape: [B, S, C, T] -> [B, S, C, T]."""
        chosen = chosen_sources(sources, self.probability, random)
        points = random.uniform(-self.decibels, self.decibels, (*chosen.shape, self.bands))[chosen]

        def curves(hertz: Tensor) -> Tensor:
            octaves = math.log2(sample_rate / 2 / LOWEST_BAND_HZ)
            position = (hertz / LOWEST_BAND_HZ).clamp(min=1).log2() * ((self.bands - 1) / octaves)
            weight = (1 - (position - torch.arange(self.bands, device=hertz.device)[:, None]).abs()).clamp(min=0)
            # sin² of a ramp and of its complement sum to 1, so the curve passes through its points without a corner.
            decibels = floats(points, hertz) @ (weight * (math.pi / 2)).sin().square()
            return 10 ** (decibels / 20)

        return _filtered(sources, sample_rate, chosen, curves)


@dataclass(frozen=True)
class LowPass:
    """Remove the high frequencies of some sources with a zero-phase filter, as in an old recording or a lossy file.

    The cut-off frequency (-3 dB) of each filtered source is drawn between `lowest_hz` and half the sample rate, uniformly in
    the logarithm of frequency.

    Args:
        probability: probability with which each source of each example is filtered, in [0, 1].
        lowest_hz: lowest cut-off frequency in Hz, at least 100. A call raises InputError if this frequency is above half the
            sample rate.
    """

    probability: float
    lowest_hz: float

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)
        check("lowest_hz", self.lowest_hz, 100, 100_000)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Apply a low-pass filter to randomly chosen sources of a batch. Shape: [B, S, C, T] -> [B, S, C, T]."""
        if self.lowest_hz > sample_rate / 2:
            expected = f"at most half the sample rate ({sample_rate / 2:g} Hz)"
            raise InputError("lowest_hz", "out of range", found=f"{self.lowest_hz:g} Hz", expected=expected)
        chosen = chosen_sources(sources, self.probability, random)
        logarithms = random.uniform(math.log(self.lowest_hz), math.log(sample_rate / 2), chosen.shape)[chosen]

        def curves(hertz: Tensor) -> Tensor:
            cutoff = floats(np.exp(logarithms), hertz)[:, None]
            return (1 + (hertz / cutoff) ** (2 * LOW_PASS_ORDER)).rsqrt()

        return _filtered(sources, sample_rate, chosen, curves)


@dataclass(frozen=True)
class Noise:
    """Add white noise to each source, at a random level relative to the RMS of the source over the chunk.

    A silent source stays silent. The same seed gives the same levels on every device. The noise samples differ between CPU and
    GPU.

    Args:
        decibels_low: lowest noise level in dB relative to the source's RMS, in [-120, `decibels_high`].
        decibels_high: highest noise level in dB, at most 0. Levels are drawn uniformly between `decibels_low` and
            `decibels_high`.
    """

    decibels_low: float
    decibels_high: float

    def __post_init__(self) -> None:
        check_pair(decibels_low=self.decibels_low, decibels_high=self.decibels_high, least=-120, most=0)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Add white noise to all sources of a batch. Shape: [B, S, C, T] -> [B, S, C, T]."""
        levels = 10 ** (random.uniform(self.decibels_low, self.decibels_high, sources.shape[:2]) / 20)
        generator = torch.Generator(sources.device).manual_seed(int(random.integers(2**63)))
        noise = torch.randn(sources.shape, generator=generator, device=sources.device)
        rms = torch.linalg.vector_norm(sources, dim=(2, 3), keepdim=True) / math.sqrt(math.prod(sources.shape[2:]))
        return noise.mul_(rms * factors(levels, sources)).add_(sources)


def _filtered(sources: Tensor, sample_rate: int, chosen: np.ndarray, curves: Callable[[Tensor], Tensor]) -> Tensor:
    """Filter the chosen sources of a batch in the frequency domain, each with its own gain curve.

    Args:
        sources: waveforms of a batch.
        sample_rate: sample rate of the sources, in Hz.
        chosen: True for each source to filter.
        curves: function that gets the frequencies of the bins in Hz, and returns the gain of each chosen source at each bin.

    Shape:
        sources: [B, S, C, T]; chosen: bool [B, S]; curves: [bins] -> [chosen sources, bins]; the result: [B, S, C, T].

    Returns:
        A new tensor with all sources of the batch: the chosen sources are filtered, all other sources are unchanged. If no
        source is chosen, the tensor `sources` itself.
    """
    if not chosen.any():
        return sources
    samples = sources.shape[-1]
    size = _fast_size(samples + round(RING_SECONDS * sample_rate))
    rows = numbers(np.flatnonzero(chosen), sources)
    flat = sources.flatten(0, 1)
    with torch.autocast(sources.device.type, enabled=False):
        spectrum = torch.fft.rfft(flat[rows], size)
        hertz = torch.arange(size // 2 + 1, device=sources.device) * (sample_rate / size)
        spectrum *= curves(hertz)[:, None]
        filtered = torch.fft.irfft(spectrum, size)[..., :samples]
    return flat.index_copy(0, rows, filtered).reshape(sources.shape)


def _fast_size(samples: int) -> int:
    """Return the smallest even length >= `samples` for which the FFT is fast: 1, 3, 5, 9 or 15 times a power of two."""
    return min(factor << max(1, math.ceil(math.log2(samples / factor))) for factor in (1, 3, 5, 9, 15))
