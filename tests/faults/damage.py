"""Damage files as disks and interrupted copies do."""

import os
from pathlib import Path
from random import Random


def flip_bit(path: Path, chance: Random) -> None:
    """Flip one bit of a file. Size and modification time stay the same, as after a fault of the disk."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut(path: Path, chance: Random) -> None:
    """Truncate a file at a random byte, as after an interrupted copy."""
    os.truncate(path, chance.randrange(path.stat().st_size))
