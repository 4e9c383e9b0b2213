"""Augmentations that change the sound of a source: equalizer, low-pass, noise.

The filters multiply the spectrum of the whole chunk by a smooth real curve: they shift nothing in time and need no loop over
samples. They ring before a sound as much as after it; where that matters, use a causal filter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unbraid.data.augmentation.draws import check, check_pair, chosen_sources, factors, floats, numbers
from unbraid.runs.errors import InputError

# A filter may ring for so long before it meets the other end of the chunk. The longest, an equalizer of 16 bands, is 79 dB down
# by then at 8 kHz, 99 dB at 44.1 kHz.
RING_SECONDS = 0.25
# The lowest point of an equalizer's curve; below it the curve is flat.
LOWEST_BAND_HZ = 50.0
# Steepness of `LowPass`: that of a Butterworth filter of this order, 6 dB an octave each.
LOW_PASS_ORDER = 8


@dataclass(frozen=True)
class Equalizer:
    """Some sources through a random tone control: a smooth curve of gain over the logarithm of frequency, without phase.

    The curve goes through points that lie evenly between `LOWEST_BAND_HZ` and half the sample rate.

    Args:
        probability: per source and example.
        decibels: the most by which a point is raised or lowered; uniform between.
        bands: how many points.
    """

    probability: float
    decibels: float
    bands: int

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)
        check("decibels", self.decibels, 0, 24)
        check("bands", self.bands, 2, 16)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Shape: [B, S, C, T] -> the same."""
        chosen = chosen_sources(sources, self.probability, random)
        points = random.uniform(-self.decibels, self.decibels, (*chosen.shape, self.bands))[chosen]

        def curves(hertz: Tensor) -> Tensor:
            octaves = math.log2(sample_rate / 2 / LOWEST_BAND_HZ)
            place = (hertz / LOWEST_BAND_HZ).clamp(min=1).log2() * ((self.bands - 1) / octaves)
            near = (1 - (place - torch.arange(self.bands, device=hertz.device)[:, None]).abs()).clamp(min=0)
            # sin² of a ramp and of its complement sum to one: the curve keeps to its points and has no corner at them.
            decibels = floats(points, hertz) @ (near * (math.pi / 2)).sin().square()
            return 10 ** (decibels / 20)

        return _filtered(sources, sample_rate, chosen, curves)


@dataclass(frozen=True)
class LowPass:
    """Some sources without their heights, as from an old recording or a lossy file; the slope is steep and without phase.

    Args:
        probability: per source and example.
        lowest_hz: the least cut-off (-3 dB); up to half the sample rate, uniform in its logarithm.
    """

    probability: float
    lowest_hz: float

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)
        check("lowest_hz", self.lowest_hz, 100, 100_000)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Shape: [B, S, C, T] -> the same; InputError where `lowest_hz` is above half the sample rate."""
        if self.lowest_hz > sample_rate / 2:
            raise InputError(f"lowest_hz must be at most half the sample rate, {sample_rate / 2:g}, found {self.lowest_hz:g}")
        chosen = chosen_sources(sources, self.probability, random)
        logarithms = random.uniform(math.log(self.lowest_hz), math.log(sample_rate / 2), chosen.shape)[chosen]

        def curves(hertz: Tensor) -> Tensor:
            cutoff = floats(np.exp(logarithms), hertz)[:, None]
            return (1 + (hertz / cutoff) ** (2 * LOW_PASS_ORDER)).rsqrt()

        return _filtered(sources, sample_rate, chosen, curves)


@dataclass(frozen=True)
class Noise:
    """White noise in each source, at a level below its own; none in a silent one.

    The level is the same on every device, the noise itself is not: each kind of device has its own generator.

    Args:
        decibels_low: the least level, relative to the source's RMS over the chunk.
        decibels_high: the greatest; uniform between them.
    """

    decibels_low: float
    decibels_high: float

    def __post_init__(self) -> None:
        check_pair(decibels_low=self.decibels_low, decibels_high=self.decibels_high, least=-120, most=0)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Shape: [B, S, C, T] -> the same."""
        levels = 10 ** (random.uniform(self.decibels_low, self.decibels_high, sources.shape[:2]) / 20)
        generator = torch.Generator(sources.device).manual_seed(int(random.integers(2**63)))
        noise = torch.randn(sources.shape, generator=generator, device=sources.device)
        rms = torch.linalg.vector_norm(sources, dim=(2, 3), keepdim=True) / math.sqrt(math.prod(sources.shape[2:]))
        return noise.mul_(rms * factors(levels, sources)).add_(sources)


def _filtered(sources: Tensor, sample_rate: int, chosen: np.ndarray, curves: Callable[[Tensor], Tensor]) -> Tensor:
    """`sources` with the chosen ones filtered by gains over frequency.

    Args:
        sources: of a batch.
        sample_rate: of them, in Hz.
        chosen: which of them. Shape: [B, S].
        curves: the gains of the chosen ones at frequencies in Hz. Shape: [bins] -> [chosen, bins].
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
    """The least even length from `samples` on whose Fourier transform is quick: a power of two times a small number."""
    return min(factor << max(1, math.ceil(math.log2(samples / factor))) for factor in (1, 3, 5, 9, 15))
