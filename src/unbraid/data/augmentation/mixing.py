"""Augmentations that recombine sources without filtering: gain, polarity, channel swap, remix, mix-up, time shift.

Gain, swap and remix: Uhlich et al. 2017. Mix-up: Song et al. 2021. The docstring of the package `unbraid.data.augmentation`
contains the titles of both papers.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from unbraid.data.augmentation.draws import check, check_pair, chosen_sources, factors, numbers
from unbraid.runs.errors import InputError


@dataclass(frozen=True)
class Gain:
    """Multiply each source by a random factor.

    Args:
        low: smallest factor, in [0, `high`].
        high: largest factor, in [0, 10]. Factors are drawn uniformly between `low` and `high`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_pair(low=self.low, high=self.high, least=0, most=10)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Multiply each source of a batch by its own random factor. Shape: [B, S, C, T] -> [B, S, C, T]."""
        return sources * factors(random.uniform(self.low, self.high, sources.shape[:2]), sources)


@dataclass(frozen=True)
class Polarity:
    """Invert the sign of some sources. The inversion is inaudible in a single source, but changes the sum of the sources.

    Args:
        probability: probability with which each source of each example is inverted, in [0, 1].
    """

    probability: float

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Invert the sign of randomly chosen sources of a batch. Shape: [B, S, C, T] -> [B, S, C, T]."""
        return sources * factors(np.where(chosen_sources(sources, self.probability, random), -1, 1), sources)


@dataclass(frozen=True)
class ChannelSwap:
    """Exchange the left and right channel of some sources; a mono source is not changed.

    Args:
        probability: probability with which the channels of each source of each example are exchanged, in [0, 1].
    """

    probability: float

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Swap left and right in randomly chosen sources of a batch. Shape: [B, S, C, T] -> [B, S, C, T]."""
        chosen = chosen_sources(sources, self.probability, random)
        origin = np.arange(math.prod(sources.shape[:3])).reshape(sources.shape[:3])
        origin[chosen] = origin[chosen][:, ::-1]
        return sources.flatten(0, 2)[numbers(origin, sources)].reshape(sources.shape)


@dataclass(frozen=True)
class Remix:
    """Exchange some sources between the examples of a group, so that a mixture contains sources of different songs.

    A group is the whole batch, or each `group_size` successive examples of the batch. For each source, such as the vocals, some
    examples of the group are chosen at random. The chosen examples exchange their waveforms of this source in a cyclic
    permutation. So each chosen example gets the waveform of another chosen example. The sources of the new mixtures can
    therefore differ in key and tempo.

    Args:
        probability: probability with which an example is chosen, in [0, 1]. If only one example is chosen for a source, this
            source is not changed.
        group_size: number of examples in a group, at least 2; None: the whole batch. If the batch is not a multiple of
            `group_size`, the last group is smaller.
    """

    probability: float
    group_size: int | None

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)
        if self.group_size is not None and self.group_size < 2:
            raise InputError("group_size", found=self.group_size, expected="an integer of at least 2, or null")

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Exchange randomly chosen sources between the examples of each group. Shape: [B, S, C, T] -> [B, S, C, T]."""
        chosen = chosen_sources(sources, self.probability, random)
        origin = np.arange(chosen.size).reshape(chosen.shape)
        size = self.group_size or len(chosen)
        for s, first in product(range(chosen.shape[1]), range(0, len(chosen), size)):
            cycle = random.permutation(first + np.flatnonzero(chosen[first : first + size, s]))
            origin[cycle, s] = origin[np.roll(cycle, 1), s]
        return sources.flatten(0, 1)[numbers(origin, sources)].reshape(sources.shape)


@dataclass(frozen=True)
class MixUp:
    """Mix some sources with the same source of another example of the batch. Then, for instance, two singers sing at once.

    The result is x + g·x'. Here x is the waveform of a source, x' is the waveform of the same source in another example of the
    batch, and g is a random factor. The sum is not normalised, so it is usually louder than x. A batch of one example is not
    changed.

    Args:
        probability: probability with which each source of each example is changed, in [0, 1].
        low: smallest factor g, in [0, `high`].
        high: largest factor g, in [0, 10]. Factors are drawn uniformly between `low` and `high`.
    """

    probability: float
    low: float
    high: float

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)
        check_pair(low=self.low, high=self.high, least=0, most=10)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Mix randomly chosen sources with the same source of another example. Shape: [B, S, C, T] -> [B, S, C, T]."""
        examples, count = sources.shape[:2]
        chosen = chosen_sources(sources, self.probability, random)
        weights = random.uniform(self.low, self.high, chosen.shape)[chosen]
        if examples == 1:
            return sources
        other = (np.arange(examples)[:, None] + random.integers(1, examples, chosen.shape)) % examples
        flat = sources.flatten(0, 1)
        added = flat[numbers((other * count + np.arange(count))[chosen], sources)]
        added *= factors(weights, sources)
        return flat.index_add(0, numbers(np.flatnonzero(chosen), sources), added).reshape(sources.shape)


@dataclass(frozen=True)
class TimeShift:
    """Shift each source in time by a random amount, independently of the other sources.

    The shift is circular: samples that are shifted out at one end of the chunk are inserted at the other end. If silence were
    inserted, a model would learn that sources are silent near the ends of a chunk.

    Args:
        seconds: largest shift in either direction, in seconds, in [0, 60].
    """

    seconds: float

    def __post_init__(self) -> None:
        check("seconds", self.seconds, 0, 60)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Shift each source of a batch by its own random time. Shape: [B, S, C, T] -> [B, S, C, T]."""
        max_shift = round(self.seconds * sample_rate)
        shifts = numbers(random.integers(-max_shift, max_shift + 1, sources.shape[:2]), sources)
        origin = (torch.arange(sources.shape[-1], device=sources.device) - shifts[:, None]) % sources.shape[-1]
        return sources.gather(3, origin.view(*sources.shape[:2], 1, -1).expand_as(sources))
