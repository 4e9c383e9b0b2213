"""Lock a run folder, so that one process at a time trains in it.

The lock is a lock of the kernel on the file `.lock` in the folder. The kernel releases it when the process ends, also after
`kill -9`. On Windows, which is untested, the lock is a lock of the C runtime.
"""

import os
import sys
from pathlib import Path
from typing import IO, Any

from unbraid.runs.documents import open_regular
from unbraid.runs.files import NO_LINKS, NO_WAIT

LOCK = ".lock"


def is_held(folder: Path) -> bool:
    """Return whether another process is training in a run folder, on this machine or on a machine that shares the disk."""
    try:
        with open_regular(folder / LOCK) as file:
            return not lock(file, shared=True)
    except FileNotFoundError:
        return False


def open_lock(folder: Path) -> IO[Any]:
    """Open the lock file of a run folder, which is created if it is missing."""
    return open(folder / LOCK, "a", opener=_open_own)


def _open_own(path: str, flags: int) -> int:
    """Open a file in an untrusted run folder. Symbolic links are not followed, and opening a pipe does not block."""
    return os.open(path, flags | NO_LINKS | NO_WAIT, 0o666)


def lock(file: IO[Any], shared: bool = False) -> bool:
    """Try to lock an open file.

    The function `lockf` is used, because forked processes do not inherit the lock. Workers of a data loader can outlive a
    killed run, and must not keep the lock.

    Args:
        file: open file.
        shared: True for a lock that several processes can have. It needs no permission to write. Windows has no such lock.

    Returns:
        Whether this process has the lock now.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # file systems differ in the error
        return False
    return True
