"""Lock a run folder, so that only one process at a time can train the run.

A process locks the file `.lock` in the run folder with a file lock of the kernel. The kernel releases the lock when the process
ends, even after `kill -9`. On Windows, the file is locked with a function of the C runtime (not tested).
"""

import os
import sys
from pathlib import Path
from typing import IO, Any

from unbraid.runs.documents import open_regular
from unbraid.runs.files import NO_LINKS, NO_WAIT

LOCK = ".lock"


def is_held(folder: Path) -> bool:
    """Return whether another process, on this machine or on a machine that shares the disk, is training in a run folder."""
    try:
        with open_regular(folder / LOCK) as file:
            return not lock(file, shared=True)
    except FileNotFoundError:
        return False


def open_lock(folder: Path) -> IO[Any]:
    """Open the lock file `.lock` of a run folder. A missing lock file is created."""
    return open(folder / LOCK, "a", opener=_open_own)


def _open_own(path: str, flags: int) -> int:
    """Open a file in an untrusted run folder. A symbolic link raises an error, and a named pipe is opened without waiting."""
    return os.open(path, flags | NO_LINKS | NO_WAIT, 0o666)


def lock(file: IO[Any], shared: bool = False) -> bool:
    """Try to lock an open file.

    The lock is made with `lockf`, because child processes do not inherit locks of `lockf`. After the training process was
    killed, the worker processes of a data loader may still run, but must not keep the run folder locked.

    Args:
        file: open file.
        shared: True for a shared lock, which several processes can hold at the same time. On Windows, `shared` is ignored.

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
