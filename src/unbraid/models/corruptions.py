"""Corruptions of the input of a denoising autoencoder (Vincent et al., JMLR 2010).

Each corruption takes items [N, C, H, W] and returns new items of the same shape. The N items are images, or patches of a
spectrogram [N, C, bins, frames]. All random numbers are drawn from the argument `generator`. To remove the accompaniment from
music, use the separator `models.separators.mapping` instead.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from unbraid.runs.errors import InputError, check_counts


@dataclass(frozen=True)
class Nothing:
    """Leave the items (images or spectrogram patches) unchanged, for an autoencoder that is not a denoising autoencoder."""

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        """Return the items unchanged. Shape: [N, C, H, W] -> [N, C, H, W]."""
        return items


@dataclass(frozen=True)
class Gaussian:
    """Add white Gaussian noise to the items (images or spectrogram patches).

    Args:
        deviation: standard deviation of the noise, at least 0. For comparison: the values of the items are in [0, 1].

    Raises:
        InputError: `deviation` is negative or not finite.
    """

    deviation: float

    def __post_init__(self) -> None:
        if not 0 <= self.deviation < math.inf:
            raise InputError("deviation", found=self.deviation, expected="a finite number of at least 0")

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        """Add noise to the items. Shape: [N, C, H, W] -> [N, C, H, W]."""
        return items + self.deviation * torch.randn(items.shape, generator=generator, device=items.device)


@dataclass(frozen=True)
class ZeroMasking:
    """Set random pixels or bins of the items to zero, independently of each other.

    Args:
        share: probability that a value is set to zero, in [0, 1].
    """

    share: float

    def __post_init__(self) -> None:
        _check_share(self.share)

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        """Set random values of the items to zero. Shape: [N, C, H, W] -> [N, C, H, W]."""
        return items * (_uniform(items, generator) >= self.share)


@dataclass(frozen=True)
class SaltAndPepper:
    """Set random pixels or bins of the items to zero or one with equal probability, independently of each other.

    Args:
        share: probability that a value is set to zero or one, in [0, 1].
    """

    share: float

    def __post_init__(self) -> None:
        _check_share(self.share)

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        """Set random values of the items to zero or one. Shape: [N, C, H, W] -> [N, C, H, W]."""
        uniform = _uniform(items, generator)
        salted = torch.where(uniform < self.share / 2, torch.ones_like(items), items)
        return torch.where((uniform >= self.share / 2) & (uniform < self.share), torch.zeros_like(items), salted)


@dataclass(frozen=True)
class Strokes:
    """Draw strokes on each item (image or spectrogram patch): whole rows and columns of ones at random positions.

    Args:
        count: number of rows, and also number of columns, that are drawn on each item.
        width: width of each stroke in pixels.
    """

    count: int
    width: int

    def __post_init__(self) -> None:
        check_counts(count=self.count, width=self.width)

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        """Draw random rows and columns of ones on the items. Shape: [N, C, H, W] -> [N, C, H, W]."""
        crossed = _stretches(items, -2, self.count, self.width, self.width, generator)
        crossed = crossed | _stretches(items, -1, self.count, self.width, self.width, generator)
        return torch.where(crossed, torch.ones_like(items), items)


@dataclass(frozen=True)
class _StretchMask:
    """Set ranges of rows or columns of the items to zero, at random positions and of random lengths."""

    count: int
    longest: int
    axis: ClassVar[Literal[-1, -2]]

    def __post_init__(self) -> None:
        check_counts(count=self.count, longest=self.longest)

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        """Set random ranges of rows or columns of the items to zero. Shape: [N, C, H, W] -> [N, C, H, W]."""
        return items * ~_stretches(items, self.axis, self.count, 1, self.longest, generator)


class TimeMask(_StretchMask):
    """Set random ranges of frames to zero (Park et al., "SpecAugment", Interspeech 2019).

    Args:
        count: number of ranges in each spectrogram patch.
        longest: largest length of a range in frames. The smallest length is 1.
    """

    axis = -1


class FrequencyMask(_StretchMask):
    """Set random bands of frequency bins to zero (Park et al., "SpecAugment", Interspeech 2019).

    Args:
        count: number of bands in each spectrogram patch.
        longest: largest height of a band in bins. The smallest height is 1.
    """

    axis = -2


def _uniform(items: Tensor, generator: Generator) -> Tensor:
    return torch.rand(items.shape, generator=generator, device=items.device)


def _stretches(items: Tensor, axis: Literal[-1, -2], count: int, shortest: int, longest: int, generator: Generator) -> Tensor:
    """Draw random ranges of rows or columns for each item, and return a mask that is True within the ranges.

    Shape: [N, C, H, W] -> [N, 1, H or 1, W or 1].
    """
    n, size = len(items), items.shape[axis]
    longest = min(longest, size)
    shortest = min(shortest, longest)
    uniform = torch.rand(2, n, count, 1, generator=generator, device=items.device)
    lengths = shortest + (uniform[0] * (longest - shortest + 1)).long()
    starts = (uniform[1] * (size - lengths + 1)).long()
    positions = torch.arange(size, device=items.device)
    inside = ((positions >= starts) & (positions < starts + lengths)).any(dim=1)
    return inside[:, None, None, :] if axis == -1 else inside[:, None, :, None]


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise InputError("share", found=share, expected="a probability in [0, 1]")
