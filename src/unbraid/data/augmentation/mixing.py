"""Augmentations that take whole sources and put them together otherwise: volume, sides, songs, time.

Gain, swap and remix: Uhlich et al. 2017; mix-up: Song et al. 2021 (see the package).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unbraid.data.augmentation.draws import check, check_pair, chosen_sources, factors, numbers


@dataclass(frozen=True)
class Gain:
    """Each source at another volume.

    Args:
        low: the least factor.
        high: the greatest factor; uniform between them.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_pair(low=self.low, high=self.high, least=0, most=10)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Shape: [B, S, C, T] -> the same."""
        return sources * factors(random.uniform(self.low, self.high, sources.shape[:2]), sources)


@dataclass(frozen=True)
class Polarity:
    """Some sources upside down: inaudible alone, but it changes how sources add up.

    Args:
        probability: per source and example.
    """

    probability: float

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Shape: [B, S, C, T] -> the same."""
        return sources * factors(np.where(chosen_sources(sources, self.probability, random), -1, 1), sources)


@dataclass(frozen=True)
class ChannelSwap:
    """Left for right in some sources; a mono source stays as it is.

    Args:
        probability: per source and example.
    """

    probability: float

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Shape: [B, S, C, T] -> the same."""
        chosen = chosen_sources(sources, self.probability, random)
        origin = np.arange(math.prod(sources.shape[:3])).reshape(sources.shape[:3])
        origin[chosen] = origin[chosen][:, ::-1]
        return sources.flatten(0, 2)[numbers(origin, sources)].reshape(sources.shape)


@dataclass(frozen=True)
class Remix:
    """Songs played by several bands: some sources of an example change places with those of other examples.

    Nothing is lost or doubled: what a source sounds like over the whole batch is only permuted, in a ring, so that each of the
    chosen gets another one's. The parts of such a mixture share neither key nor beat.

    Args:
        probability: per source and example; a source that is chosen in one example only stays where it is.
    """

    probability: float

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Shape: [B, S, C, T] -> the same."""
        chosen = chosen_sources(sources, self.probability, random)
        origin = np.arange(chosen.size).reshape(chosen.shape)
        for s in range(chosen.shape[1]):
            ring = random.permutation(np.flatnonzero(chosen[:, s]))
            origin[ring, s] = origin[np.roll(ring, 1), s]
        return sources.flatten(0, 1)[numbers(origin, sources)].reshape(sources.shape)


@dataclass(frozen=True)
class MixUp:
    """Two singers, two drummers: to some sources the same source of another example is added, x + g·x'.

    The level of the sum is left as it is, louder than x alone. A batch of one example has no other and stays as it is.

    Args:
        probability: per source and example.
        low: the least g.
        high: the greatest g; uniform between them.
    """

    probability: float
    low: float
    high: float

    def __post_init__(self) -> None:
        check("probability", self.probability, 0, 1)
        check_pair(low=self.low, high=self.high, least=0, most=10)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Shape: [B, S, C, T] -> the same."""
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
    """Each source earlier or later than the others.

    What leaves a chunk at one end comes in at the other. So all of the sound stays, and no model learns that sources fall
    silent near the ends of a chunk; the seam is one sudden change a source, no more than silence would make.

    Args:
        seconds: the farthest way, to either side.
    """

    seconds: float

    def __post_init__(self) -> None:
        check("seconds", self.seconds, 0, 60)

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Shape: [B, S, C, T] -> the same."""
        farthest = round(self.seconds * sample_rate)
        shifts = numbers(random.integers(-farthest, farthest + 1, sources.shape[:2]), sources)
        origin = (torch.arange(sources.shape[-1], device=sources.device) - shifts[:, None]) % sources.shape[-1]
        return sources.gather(3, origin.view(*sources.shape[:2], 1, -1).expand_as(sources))
