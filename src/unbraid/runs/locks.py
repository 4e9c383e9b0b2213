"""Lock a run folder, so that one process at a time trains in it.

The process locks the file `.lock` in the run folder with a file lock of the kernel. The kernel releases the lock when the
process ends, also after `kill -9`. On Windows, which is untested, it is a lock of the C runtime.
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
    """Open the lock file `.lock` of a run folder. A missing lock file is created."""
    return open(folder / LOCK, "a", opener=_open_own)


def _open_own(path: str, flags: int) -> int:
    """Open a file in an untrusted run folder. A symbolic link is not followed, and opening a named pipe does not wait."""
    return os.open(path, flags | NO_LINKS | NO_WAIT, 0o666)


def lock(file: IO[Any], shared: bool = False) -> bool:
    """Try to lock an open file.

    The function `lockf` is used because forked processes do not inherit its locks. The worker processes of a data loader can
    still run after the training process was killed, and they must not keep the run folder locked.

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
