"""Files that are whole or not there, after a kill and after a power cut; names of files that come from data.

Names of targets, tracks, measures and protocols come from files that somebody else may have written. `below` turns them into
paths, `file_name` turns any text into one file name.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EEXIST, EOPNOTSUPP, EPERM
from pathlib import Path

from unbraid.runs.errors import InputError

FORBIDDEN = re.compile(r"[/\x00-\x1f\x7f]|^\.|^$")  # in names that files are called by
MAX_NAME_BYTES = 200  # 255 less what is added to it
LONGEST = 60  # letters of a name that is made


def is_name(text: object) -> bool:
    """Return whether files can be called by a name: not a path, not hidden, without control characters, not too long."""
    if not isinstance(text, str) or FORBIDDEN.search(text):
        return False
    return len(text.encode(errors="replace")) <= MAX_NAME_BYTES


def check_name(where: object, text: object) -> None:
    """Raise InputError if files cannot be called by a name from data, see `is_name`."""
    if not is_name(text):
        expected = f"a name without / and control characters, not hidden, of at most {MAX_NAME_BYTES} bytes"
        raise InputError(where, "not a name that files can have", found=repr(text)[:80], expected=expected)


def below(folder: Path, *names: str) -> Path:
    """Return the path below a folder to which names from data lead.

    Args:
        folder: folder that the user has named.
        names: names of folders, and last of a file or a folder, which need not exist.

    Raises:
        InputError: a name is not one that files can have, or links lead out of the folder.
    """
    for name in names:
        check_name(folder, name)
    path = folder.joinpath(*names)
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # links that go in circles
        raise InputError(path, f"cannot be resolved: {error}") from error
    if not inside:
        raise InputError(path, "a link leads out of the folder", found=path.resolve(), expected=f"a path below {folder}")
    return path


def file_name(text: str, distinct: bool = False) -> str:
    """Return a file name for any text, safe in paths and addresses.

    Args:
        text: name from data.
        distinct: add a hash to a name that differs from its text, so that two texts never share a name.
    """
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", text)[:LONGEST].lstrip(".") or "_"
    if plain == text or not distinct:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"


@contextmanager
def atomic_write(path: Path, new: bool = False) -> Iterator[Path]:
    """A name beside `path` to write to: it becomes `path` when the block ends well, and is removed when it does not.

    Args:
        path: replaced if it is there.
        new: not replaced, but `FileExistsError`, even where another process comes first by a moment.
    """
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    partial.unlink(missing_ok=True)  # it may be a link that somebody left there
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


def relative_path(path: Path) -> Path:
    """Return a path relative to the working directory if it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
