"""Small tools that make faults happen in tests: kills, full and read-only disks, I/O errors, damaged files, wrong clocks."""

from tests.faults.damage import cut, flip_bit

__all__ = ["cut", "flip_bit"]
