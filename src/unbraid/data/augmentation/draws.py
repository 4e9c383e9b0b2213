"""What every augmentation needs: the interface, checks of ranges, and small arrays on their way to the device of a batch."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from unbraid.runs.errors import InputError


class Augmentation(Protocol):
    """What every class here does."""

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Sources as they might have been recorded as well; `sources` itself stays as it is.

        Args:
            sources: of a batch.
            sample_rate: of them, in Hz.
            random: counter-based, of this augmentation and step alone.

        Shape:
            [B, S, C, T] float32 -> the same.
        """


def check(name: str, value: float, least: float, most: float) -> None:
    """InputError where an argument lies outside of its range; NaN lies outside of every one."""
    if not least <= value <= most:
        raise InputError(f"{name} must lie in [{least:g}, {most:g}], found {value}")


def check_pair(least: float, most: float, **pair: float) -> None:
    """The same for the two ends of a range, by name, the lower one first."""
    (low_name, low), (high_name, high) = pair.items()
    check(high_name, high, least, most)
    if not least <= low <= high:
        raise InputError(f"{low_name} must lie in [{least:g}, {high_name}] = [{least:g}, {high:g}], found {low}")


def chosen_sources(sources: Tensor, probability: float, random: np.random.Generator) -> np.ndarray:
    """Which sources of which examples. Shape: [B, S] bool."""
    return random.random(tuple(sources.shape[:2])) < probability


def floats(values: np.ndarray, like: Tensor) -> Tensor:
    """What was drawn, on the device of `like`; the device is not waited for. Shape: kept."""
    return torch.from_numpy(values.astype(np.float32)).to(like.device, non_blocking=True)


def factors(values: np.ndarray, sources: Tensor) -> Tensor:
    """Factors for the samples of `sources`. Shape: [...] -> [..., 1, 1]."""
    return floats(values, sources)[..., None, None]


def numbers(values: np.ndarray, sources: Tensor) -> Tensor:
    """Whole numbers on the device of `sources`. Shape: [...] -> [n]."""
    return torch.from_numpy(values.reshape(-1)).to(sources.device, non_blocking=True)
