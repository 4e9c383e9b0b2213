"""Pool of large arrays whose memory is used again.

Requesting fresh memory from the kernel takes about as long as filling it with samples. Use `numpy.empty` for small arrays and
for arrays that are made once.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# References to an array that is free: the list, the loop variable and the argument of `getrefcount`.
FREE = 3


class BufferPool:
    """Provide arrays, and use the memory of an array again when no view of it exists any more.

    Args:
        kept: maximum number of arrays that the pool keeps for later use; the largest are kept.
    """

    def __init__(self, kept: int) -> None:
        self.kept, self.arrays = kept, list[np.ndarray]()

    def take(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """Return an array with arbitrary content. Its memory is not used again while the array or a tensor of it exists.

        Args:
            shape: shape of the array.
            dtype: NumPy dtype of the array.

        Returns:
            A contiguous array.
        """
        size = math.prod(shape)
        for flat in self.arrays:
            if flat.dtype == dtype and flat.size >= size and sys.getrefcount(flat) == FREE:
                return flat[:size].reshape(shape)
        flat = np.empty(size, dtype)
        self.arrays = sorted([flat, *self.arrays], key=lambda array: -array.nbytes)[: self.kept]
        return flat.reshape(shape)
