"""Lock a run folder, so that one process at a time trains in it.

The process locks the file `.lock` in the run folder with a file lock of the kernel. The kernel releases the lock when the
process ends, also after `kill -9`.
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
    """Open the lock file `.lock` of a run folder. A missing lock file is created."""
    return open(folder / LOCK, "a", opener=_open_own)


def _open_own(path: str, flags: int) -> int:
    """Open a file in an untrusted run folder. A symbolic link is not followed, and opening a named pipe does not wait."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def lock(file: IO[Any], kind: int = fcntl.LOCK_EX) -> bool:
    """Try to lock an open file, and return whether this process has the lock now.

    The function `lockf` is used because forked processes do not inherit its locks. The worker processes of a data loader can
    still run after the training process was killed, and they must not keep the run folder locked.
    """
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # file systems differ in the error
        return False
    return True
