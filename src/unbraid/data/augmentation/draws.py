"""Interface of the augmentations, range checks of their arguments, and transfer of small random arrays to a device."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from unbraid.runs.errors import InputError


class Augmentation(Protocol):
    """Interface of the augmentations: a call returns a randomly changed copy of the sources of a training batch."""

    def __call__(self, sources: Tensor, sample_rate: int, random: np.random.Generator) -> Tensor:
        """Return augmented sources; the input tensor is not modified.

        Args:
            sources: waveforms of the sources of a batch.
            sample_rate: sample rate of the sources, in Hz.
            random: random generator of this augmentation and this training step.

        Shape:
            sources: [B, S, C, T] float32; the result has the same shape.

        Returns:
            The augmented sources, float32.
        """


def check(name: str, value: float, least: float, most: float) -> None:
    """Check that an argument is in its allowed range.

    Args:
        name: name of the argument, for the error message.
        value: value of the argument; NaN is outside every range.
        least: smallest allowed value.
        most: largest allowed value.

    Raises:
        InputError: the value is not in [least, most].
    """
    if not least <= value <= most:
        raise InputError(name, "out of range", found=value, expected=f"a number in [{least:g}, {most:g}]")


def check_pair(least: float, most: float, **pair: float) -> None:
    """Check two arguments that are the lower and the upper end of a range: least <= lower end <= upper end <= most.

    Args:
        least: smallest allowed value.
        most: largest allowed value.
        **pair: the lower end and the upper end, in this order, as keyword arguments.

    Raises:
        InputError: an end is outside [least, most], or the lower end is above the upper end.
    """
    (low_name, low), (high_name, high) = pair.items()
    check(high_name, high, least, most)
    if not least <= low <= high:
        raise InputError(
            low_name,
            "out of range",
            found=low,
            expected=f"a number in [{least:g}, {high:g}]",
            hint=f"{low_name} must not exceed {high_name}={high:g}",
        )


def chosen_sources(sources: Tensor, probability: float, random: np.random.Generator) -> np.ndarray:
    """Choose each source of a batch with the given probability. Return True for each chosen source.

    Shape: `sources` [B, S, C, T] -> bool [B, S].
    """
    return random.random(tuple(sources.shape[:2])) < probability


def floats(values: np.ndarray, like: Tensor) -> Tensor:
    """Copy an array to the device of `like` as a float32 tensor of the same shape, without waiting for the copy to finish."""
    return torch.from_numpy(values.astype(np.float32)).to(like.device, non_blocking=True)


def factors(values: np.ndarray, sources: Tensor) -> Tensor:
    """Copy an array to the device of `sources` as float32, and append two axes of length 1. Shape: [...] -> [..., 1, 1].

    The two new axes stand for channels and samples, so that the result can be multiplied by `sources`.
    """
    return floats(values, sources)[..., None, None]


def numbers(values: np.ndarray, sources: Tensor) -> Tensor:
    """Flatten an integer array, and copy the result to the device of `sources`. Shape: [...] -> [n], for n integers."""
    return torch.from_numpy(values.reshape(-1)).to(sources.device, non_blocking=True)
