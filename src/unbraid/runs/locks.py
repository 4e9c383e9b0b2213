"""Lock a run folder, so that one process at a time trains in it.

A process locks the file `.lock` in the run folder with a file lock of the kernel. The kernel releases the lock when the process
ends, even after `kill -9`.
"""

import fcntl
import os
from pathlib import Path
from typing import IO, Any

from unbraid.runs.documents import open_regular

LOCK = ".lock"


def is_held(folder: Path) -> bool:
    """Return whether another process, on this machine or on a machine that shares the disk, is training in a run folder."""
    try:
        with open_regular(folder / LOCK) as file:
            return not lock(file, fcntl.LOCK_SH)  # a shared lock needs no permission to write
    except FileNotFoundError:
        return False


def open_lock(folder: Path) -> IO[Any]:
    """Open the lock file `.lock` of a run folder. A missing lock file is created."""
    return open(folder / LOCK, "a", opener=_open_own)


def _open_own(path: str, flags: int) -> int:
    """Open a file in an untrusted run folder. A symbolic link raises an error, and a named pipe is opened without waiting."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def lock(file: IO[Any], kind: int = fcntl.LOCK_EX) -> bool:
    """Try to lock an open file, and return whether this process has the lock now.

    The lock is made with `lockf`, because child processes do not inherit locks of `lockf`. After the training process was
    killed, the worker processes of a data loader may still run, but must not keep the run folder locked.
    """
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # file systems differ in the error
        return False
    return True
