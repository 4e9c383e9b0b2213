"""Pool of large arrays: when the program releases an array, the pool uses the memory of the array for the next array.

The pool makes the decoding of many audio files faster, because the operating system needs much time to provide new memory. Use
`numpy.empty` for small arrays and for arrays that are created once.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# References to an array that is free: the list, the loop variable and the argument of `getrefcount`.
FREE = 3


class BufferPool:
    """Provide arrays. When the program no longer refers to an array, the memory of the array is used for other arrays.

    Args:
        kept: maximum number of memory blocks that the pool keeps for later arrays. The pool keeps the largest blocks.
    """

    def __init__(self, kept: int) -> None:
        self.kept, self.arrays = kept, list[np.ndarray]()

    def take(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """Return an array with arbitrary content, like `numpy.empty`. The memory comes from the pool if possible.

        The pool uses the memory again after the program has released the array and all tensors with the same memory.

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
