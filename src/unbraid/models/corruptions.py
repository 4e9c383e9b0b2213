"""Corruptions: what spoils the input of a denoising autoencoder (Vincent et al., JMLR 2010).

Each takes items [N, C, H, W], images or patches of a spectrogram [N, C, bins, frames], and gives new ones; all chance comes
from the generator. Where the noise is other music, a denoising autoencoder is a separator: see `models.separators.mapping`.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from unbraid.runs.errors import InputError


@dataclass(frozen=True)
class Nothing:
    """Leaves items as they are."""

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        return items


@dataclass(frozen=True)
class Gaussian:
    """Adds white noise.

    Args:
        deviation: its standard deviation; images and logarithmic magnitudes lie in [0, 1].
    """

    deviation: float

    def __post_init__(self) -> None:
        if not 0 <= self.deviation < math.inf:
            raise InputError(f"deviation must be a number of at least 0, found {self.deviation}")

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        return items + self.deviation * torch.randn(items.shape, generator=generator, device=items.device)


@dataclass(frozen=True)
class ZeroMasking:
    """Sets values to zero, each by itself.

    Args:
        share: of the values, in [0, 1].
    """

    share: float

    def __post_init__(self) -> None:
        _check_share(self.share)

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        return items * (_uniform(items, generator) >= self.share)


@dataclass(frozen=True)
class SaltAndPepper:
    """Sets values to zero or one, each by itself.

    Args:
        share: of the values, in [0, 1].
    """

    share: float

    def __post_init__(self) -> None:
        _check_share(self.share)

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        uniform = _uniform(items, generator)
        salted = torch.where(uniform < self.share / 2, torch.ones_like(items), items)
        return torch.where((uniform >= self.share / 2) & (uniform < self.share), torch.zeros_like(items), salted)


@dataclass(frozen=True)
class Strokes:
    """Draws crosses: a row and a column of ones over each item.

    Args:
        count: of crosses.
        width: of their strokes, in pixels.
    """

    count: int
    width: int

    def __post_init__(self) -> None:
        _check_at_least_one(count=self.count, width=self.width)

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        crossed = _stretches(items, -2, self.count, self.width, self.width, generator)
        crossed = crossed | _stretches(items, -1, self.count, self.width, self.width, generator)
        return torch.where(crossed, torch.ones_like(items), items)


@dataclass(frozen=True)
class TimeMask:
    """Sets stretches of frames to zero (Park et al., "SpecAugment", Interspeech 2019).

    Args:
        count: of stretches.
        longest: the most frames one has.
    """

    count: int
    longest: int

    def __post_init__(self) -> None:
        _check_at_least_one(count=self.count, longest=self.longest)

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        return items * ~_stretches(items, -1, self.count, 1, self.longest, generator)


@dataclass(frozen=True)
class FrequencyMask:
    """Sets bands of bins to zero, as `TimeMask` does with frames.

    Args:
        count: of bands.
        longest: the most bins one has.
    """

    count: int
    longest: int

    def __post_init__(self) -> None:
        _check_at_least_one(count=self.count, longest=self.longest)

    def __call__(self, items: Tensor, generator: Generator) -> Tensor:
        return items * ~_stretches(items, -2, self.count, 1, self.longest, generator)


def _uniform(items: Tensor, generator: Generator) -> Tensor:
    return torch.rand(items.shape, generator=generator, device=items.device)


def _stretches(items: Tensor, axis: Literal[-1, -2], count: int, shortest: int, longest: int, generator: Generator) -> Tensor:
    """Where stretches lie along an axis, drawn for each item. Shape: bool [N, 1, H or 1, W or 1]."""
    n, size = len(items), items.shape[axis]
    longest = min(longest, size)
    shortest = min(shortest, longest)
    uniform = torch.rand(2, n, count, 1, generator=generator, device=items.device)
    lengths = shortest + (uniform[0] * (longest - shortest + 1)).long()
    starts = (uniform[1] * (size - lengths + 1)).long()
    places = torch.arange(size, device=items.device)
    inside = ((places >= starts) & (places < starts + lengths)).any(dim=1)
    return inside[:, None, None, :] if axis == -1 else inside[:, None, :, None]


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise InputError(f"share must lie in [0, 1], found {share}")


def _check_at_least_one(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise InputError(f"{name} must be at least 1, found {value}")
