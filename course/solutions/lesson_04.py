"""Answers of lesson 4."""

from torch import Tensor
from torch.nn import functional

# The copies are 2, 8, 4 from place 0 and 3, 12, 6 from place 2. Their sum is 2, 8, 7, 12, 6. Padding 1 removes both ends.
exercise_1 = [8, 7, 12]


def exercise_2(x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
    """Compute a transposed convolution as a convolution with inserted zeros."""
    spread = x.new_zeros(1, 1, (x.shape[-1] - 1) * stride + 1)
    spread[..., ::stride] = x
    return functional.conv1d(spread, kernel.flip(-1), padding=kernel.shape[-1] - 1 - padding)


# Multiples of the stride.
exercise_3 = {3, 6, 9}
