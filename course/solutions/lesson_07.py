"""Answers of lesson 7."""

from math import log10

from torch import Tensor

# Remains of another source; an error of the source itself; sounds that are in no source.
exercise_1 = ["SIR", "ISR", "SAR"]

# The error is half the source.
exercise_2 = 10 * log10(1 / 0.5**2)


def exercise_3(powers: Tensor, mixture: Tensor) -> Tensor:
    """Apply the Wiener filter of mono sources."""
    return powers / powers.sum(dim=0) * mixture
