"""Lock files, so that only one process at a time trains a run or makes an entry of a cache.

`lock` and `is_held` concern the file `.lock` in a run folder. `FileLock` waits until another process has made its part of a
cache. The kernel releases the locks when the process ends, even after `kill -9`. On Windows, files are locked with a function
of the C runtime (not tested).
"""

import errno
import os
import sys
import time
from pathlib import Path
from typing import IO, Any, NoReturn

from unbraid.runs.documents import open_regular
from unbraid.runs.errors import InputError
from unbraid.runs.files import NO_LINKS, NO_WAIT
from unbraid.runs.text import echo

LOCK = ".lock"
LONGEST_SECONDS = 6 * 3600.0  # longest wait for another process, which may compute the statistics of a large data set
NOTICE_SECONDS = 20.0  # after this time, a message names the lock
POLL_SECONDS = 0.05
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)  # errors of file systems without locks


class FileLock:
    """Lock a file for one process, and wait while another process holds the lock. Use it in a `with` block.

    The lock belongs to the open file, so it also excludes other threads and other objects of this process.

    Args:
        path: path of the lock file. A missing file is made. Its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor: int | None = None

    def acquire(self) -> None:
        """Lock the file. If another process holds the lock, wait, and print a message after 20 seconds.

        Raises:
            InputError: another process has held the lock for 6 hours.
        """
        started, noticed = time.monotonic(), False
        while not self.try_acquire():
            waited = time.monotonic() - started
            if waited >= LONGEST_SECONDS:
                problem = f"another process has held this lock for {LONGEST_SECONDS / 3600:g} hours"
                raise InputError(self.path, problem, hint="If a process of unbraid hangs, end it. Then type the command again")
            if waited >= NOTICE_SECONDS and not noticed:
                noticed = True
                echo(f"waits for another process, which holds the lock {self.path}", file=sys.stderr, flush=True)
            time.sleep(POLL_SECONDS)

    def try_acquire(self) -> bool:
        """Lock the file without waiting. A file system without locks raises InputError.

        Returns:
            True if this object holds the lock now; False if another process holds it.
        """
        if self.descriptor is not None:
            return True
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | NO_LINKS | NO_WAIT, 0o666)
        try:
            if _locked(descriptor, self.path):
                self.descriptor, descriptor = descriptor, -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return self.descriptor is not None

    def release(self) -> None:
        """Release the lock. The lock file remains, because another process may wait for it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def __enter__(self) -> "FileLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _locked(descriptor: int, path: Path) -> bool:
    """Try once to lock an open file, and return whether it is locked now."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # file systems differ in the error
        return False
    except OSError as error:
        raise_unsupported(error, path)
    return True


def raise_unsupported(error: OSError, path: Path) -> NoReturn:
    """Raise the error for a failed call that locks a file.

    Args:
        error: error of the operating system.
        path: path of the lock file.

    Raises:
        InputError: the file system does not support locks.
        OSError: the call failed for another reason.
    """
    if error.errno not in UNSUPPORTED:
        raise OSError(error.errno, error.strerror, str(path)) from error
    problem = f"the file system of this file does not support locks ({error.strerror})"
    hint = "Choose a folder on a disk that supports locks, such as a local disk, or mount the shared disk with locks"
    raise InputError(path, problem, hint=hint) from error


def is_held(folder: Path) -> bool:
    """Return whether another process, on this machine or on a machine that shares the disk, is training in a run folder."""
    try:
        with open_regular(folder / LOCK) as file:
            return not lock(file, folder / LOCK, shared=True)
    except FileNotFoundError:
        return False


def open_lock(folder: Path) -> IO[Any]:
    """Open the lock file `.lock` of a run folder. A missing lock file is created."""
    return open(folder / LOCK, "a", opener=_open_own)


def _open_own(path: str, flags: int) -> int:
    """Open a file in an untrusted run folder. A symbolic link raises an error, and a named pipe is opened without waiting."""
    return os.open(path, flags | NO_LINKS | NO_WAIT, 0o666)


def lock(file: IO[Any], path: Path, shared: bool = False) -> bool:
    """Try to lock an open file.

    The lock is made with `lockf`, because child processes do not inherit locks of `lockf`. After the training process was
    killed, the worker processes of a data loader may still run, but must not keep the run folder locked. A file system without
    locks raises InputError.

    Args:
        file: open file.
        path: path of the file, for the error message.
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
    except OSError as error:
        raise_unsupported(error, path)
    return True
