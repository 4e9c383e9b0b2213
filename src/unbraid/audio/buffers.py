"""Pool of large arrays: when the program releases an array, the pool uses the memory of the array for the next array.

The pool makes the decoding of many audio files faster.

The operating system needs about as long to provide new memory as a program needs to fill this memory with samples. Use
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
        kept: maximum number of arrays whose memory the pool keeps for later use. The largest arrays are kept.
    """

    def __init__(self, kept: int) -> None:
        self.kept, self.arrays = kept, list[np.ndarray]()

    def take(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """Return an array with arbitrary content, like `numpy.empty`, in memory of the pool if possible.

        The pool uses the memory for another array only when the returned array, and all tensors that share its memory, are
        deleted.

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
