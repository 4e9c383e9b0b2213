"""Buffer pool: memory is used again, but never while an array or a tensor refers to it."""

import numpy as np
import torch

from unbraid.audio.buffers import BufferPool


def address(array):
    return array.__array_interface__["data"][0]


def test_free_memory_is_used_again():
    memory = BufferPool(kept=2)
    first = address(memory.take((2, 500), np.float32))
    assert address(memory.take((10, 3), np.float32)) == first


def test_memory_in_use_is_never_given_again():
    memory = BufferPool(kept=8)
    array = memory.take((2, 500), np.float32)
    view = array[1:, :3]
    tensor = torch.from_numpy(memory.take((2, 500), np.float32))[0]
    array_address, tensor_address = address(array), tensor.data_ptr()
    del array
    taken = [memory.take((2, 500), np.float32) for _ in range(4)]
    assert {array_address, tensor_address}.isdisjoint(map(address, taken))
    del view, tensor, taken
    again = [memory.take((2, 500), np.float32) for _ in range(6)]
    assert {array_address, tensor_address} <= {*map(address, again)}


def test_shape_and_type_are_as_requested():
    memory = BufferPool(kept=1)
    memory.take((100,), np.float32)
    assert memory.take((5, 4), np.int16).dtype == np.int16 and memory.take((5, 4), np.int16).shape == (5, 4)
    assert memory.take((200,), np.float32).shape == (200,)


def test_the_largest_arrays_are_kept():
    memory = BufferPool(kept=2)
    held = [memory.take((size,), np.float32) for size in (10, 30, 20, 5)]
    assert [array.size for array in memory.arrays] == [30, 20] and len(held) == 4
