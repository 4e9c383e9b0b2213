"""Files that are whole or not there, after a kill and after a power cut."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EEXIST, EOPNOTSUPP, EPERM
from pathlib import Path


@contextmanager
def written_whole(path: Path, new: bool = False) -> Iterator[Path]:
    """A name beside `path` to write to: it becomes `path` when the block ends well, and is removed when it does not.

    Args:
        path: replaced if it is there.
        new: not replaced, but `FileExistsError`, even where another process comes first by a moment.
    """
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        _settled(partial)
        _put(partial, path) if new else partial.replace(path)
        _settled(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _put(partial: Path, path: Path) -> None:
    """By a name that may not be there yet, as a link; file systems without links, as on many a stick, get a look before."""
    try:
        path.hardlink_to(partial)
    except FileExistsError as error:
        raise FileExistsError(error.errno, error.strerror, str(path)) from error
    except OSError as error:
        if error.errno not in (EPERM, EOPNOTSUPP):
            raise
        if path.exists():
            raise FileExistsError(EEXIST, os.strerror(EEXIST), str(path)) from error
        partial.replace(path)


def _settled(path: Path) -> None:
    """What lies at the path is on the disk itself, before anything builds on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
