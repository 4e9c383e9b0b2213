"""Large arrays that are used again: to get fresh memory from the kernel takes about as long as to fill it with samples."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# How many references a kept array has while nobody else holds it: the list, the loop and the call that counts.
FREE = 3


class BufferPool:
    """Gives out arrays, and the same memory again as soon as nothing holds a view of it.

    Args:
        kept: how many arrays at most wait for their next use.
    """

    def __init__(self, kept: int) -> None:
        self.kept, self.arrays = kept, list[np.ndarray]()

    def take(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """An array of any content, yours for as long as you or a tensor of it holds it. Shape: `shape`."""
        size = math.prod(shape)
        for flat in self.arrays:
            if flat.dtype == dtype and flat.size >= size and sys.getrefcount(flat) == FREE:
                return flat[:size].reshape(shape)
        flat = np.empty(size, dtype)
        self.arrays = sorted([flat, *self.arrays], key=lambda array: -array.nbytes)[: self.kept]
        return flat.reshape(shape)
