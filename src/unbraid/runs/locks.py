"""Lock a run folder, so that one process at a time trains in it.

The lock is a lock of the kernel on the file `.lock` in the folder. The kernel releases it when the process ends, also after
`kill -9`.
"""

import fcntl
import os
from pathlib import Path
from typing import IO, Any

from unbraid.runs.documents import open_regular

LOCK = ".lock"


def is_held(folder: Path) -> bool:
    """Return whether another process is training in a run folder, on this machine or on a machine that shares the disk."""
    try:
        with open_regular(folder / LOCK) as file:
            return not lock(file, fcntl.LOCK_SH)  # a shared lock needs no permission to write
    except FileNotFoundError:
        return False


def open_lock(folder: Path) -> IO[Any]:
    """Open the lock file of a run folder, which is created if it is missing."""
    return open(folder / LOCK, "a", opener=_open_own)


def _open_own(path: str, flags: int) -> int:
    """Open a file in an untrusted run folder. Symbolic links are not followed, and opening a pipe does not block."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def lock(file: IO[Any], kind: int = fcntl.LOCK_EX) -> bool:
    """Try to lock an open file, and return whether this process has the lock now.

    The function `lockf` is used, because forked processes do not inherit the lock. Workers of a data loader can outlive a
    killed run, and must not keep the lock.
    """
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # file systems differ in the error
        return False
    return True
