"""Write files atomically, and turn untrusted names into safe file names.

`atomic_write` never leaves an incomplete file, even if the process is killed or the power fails. Names of targets,
tracks, measures and protocols can come from untrusted files. `below` turns such names into a path, and `file_name` turns any
text into a file name.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EEXIST, EOPNOTSUPP, EPERM
from pathlib import Path
from typing import Any, NoReturn

from unbraid.runs.errors import InputError, closest

FORBIDDEN = re.compile(r"[/\x00-\x1f\x7f]|^\.|^$")  # in file names
MAX_NAME_BYTES = 200  # file systems allow 255; prefixes and suffixes need the rest
LONGEST = 60  # characters of a name that `file_name` returns
# Flags of `os.open`. Windows has none of them.
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)  # symbolic links are not followed
NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)  # pipes do not block; child processes do not inherit


def is_name(text: object) -> bool:
    """Return whether a text is a safe file name: 1 to 200 bytes, no slash, no control character, no dot at the start."""
    if not isinstance(text, str) or FORBIDDEN.search(text):
        return False
    return len(text.encode(errors="replace")) <= MAX_NAME_BYTES


def check_name(where: object, text: object) -> None:
    """Check that a name from an untrusted file is a safe file name, see `is_name`.

    Args:
        where: file and key of the name, for the error message.
        text: name from an untrusted file.

    Raises:
        InputError: the name is not a safe file name.
    """
    if not is_name(text):
        expected = f"1 to {MAX_NAME_BYTES} bytes, without '/' and control characters, and no '.' at the start"
        raise InputError(where, "this name is not a safe file name", found=repr(text)[:80], expected=expected)


def check_folder(where: str, folder: Path) -> None:
    """Check that a folder exists.

    Args:
        where: key and value that name the folder, such as `data.root=songs`, for the error message.
        folder: path of the folder.

    Raises:
        InputError: the folder does not exist, or the path is a file.
    """
    if not folder.exists():
        refuse_missing(where, folder, expected="a folder")
    if not folder.is_dir():
        raise InputError(where, "the path is a file", expected="a folder")


def refuse_missing(where: object, path: Path, expected: str = "", hint: str = "") -> NoReturn:
    """Raise the error about a path that does not exist. The error suggests the existing path with the most similar name.

    Args:
        where: key and value that name the path, such as `run=outputs/unet`.
        path: path that does not exist.
        expected: kind of path that would be accepted.
        hint: action that the user can take if no existing path is similar, as a sentence.

    Raises:
        InputError: always.
    """
    similar = _similar_path(path)
    hint = f"did you mean '{similar}'?" if similar else hint
    raise InputError(where, "this path does not exist", expected=expected, hint=hint)


def _similar_path(path: Path) -> Path | None:
    """Correct the first part of a path that does not exist. Return None if the folder contains no similar name."""
    wrong = next((part for part in (*reversed(path.parents), path) if not part.exists()), path)
    try:
        name = closest(wrong.name, [entry.name for entry in wrong.parent.iterdir()])
    except OSError:  # the folder is a file, or must not be listed
        return None
    if name is None:
        return None
    corrected = wrong.with_name(name)
    whole = corrected / path.relative_to(wrong)
    return whole if whole.exists() else corrected


def below(folder: Path, *names: str) -> Path:
    """Join a folder and names from an untrusted file, and check that the resulting path is below the folder.

    Args:
        folder: trusted folder, for example a run folder.
        *names: parts of the path below `folder`. The path need not exist.

    Returns:
        The joined path.

    Raises:
        InputError: a name is not a safe file name, or a symbolic link leads out of the folder.
    """
    for name in names:
        check_name(folder, name)
    path = folder.joinpath(*names)
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # symbolic links that form a loop
        raise InputError(path, f"the path cannot be resolved: {error}") from error
    if not inside:
        raise InputError(
            path, "a symbolic link leads out of the folder", found=path.resolve(), expected=f"a path below {folder}"
        )
    return path


def file_name(text: str, distinct: bool = False) -> str:
    """Turn any text into a file name that is safe in paths and web addresses.

    Args:
        text: any text, for example a track name from an untrusted file.
        distinct: True to add a hash if the file name differs from the text, so that two texts never get the same file name.

    Returns:
        A file name of ASCII letters, digits and `.`, `-`, `_`.
    """
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", text)[:LONGEST].lstrip(".") or "_"
    if plain == text or not distinct:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"


def distinct_name(path: Path) -> str:
    """Return the name of a file or folder with a hash of its path, so that `a/model.ckpt` and `b/model.ckpt` differ.

    Args:
        path: path of the file or folder. The same file has the same name from every working directory.

    Returns:
        A name such as `model-1a2b3c4d`, without the suffix of a file.
    """
    resolved = path.resolve()
    name = resolved.stem if resolved.is_file() else resolved.name
    return f"{name}-{hashlib.sha256(os.fsencode(resolved)).hexdigest()[:8]}"


@contextmanager
def atomic_write(path: Path, new: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename the temporary file to `path` at the end of the `with` block.

    The data are on the disk before the file is renamed. If the `with` block raises an exception, the temporary file is removed
    instead.

    Args:
        path: path of the file; an existing file is replaced.
        new: True to raise `FileExistsError` at the end of the `with` block if the file exists.

    Yields:
        The temporary path.
    """
    with atomic_writes([path], new) as (partial,):
        yield partial


@contextmanager
def atomic_writes(paths: Sequence[Path], new: bool = False) -> Iterator[list[Path]]:
    """Write several files that belong together, see `atomic_write`. After an error, none of them is written.

    The data of all files are on the disk before the first file is renamed. A process that is killed between two renames still
    writes a part of the files.

    Args:
        paths: paths of the files, all different.
        new: True to raise `FileExistsError` at the end of the `with` block if one of the files exists.

    Yields:
        One temporary path for each file.
    """
    partials = {path: path.with_name(f".partial-{os.getpid()}-{path.name}") for path in paths}
    renamed: list[Path] = []
    for partial in partials.values():
        partial.unlink(missing_ok=True)  # another user may have put a link there
    try:
        yield [*partials.values()]
        for partial in partials.values():
            _sync(partial)
        for path, partial in partials.items():
            _rename_new(partial, path) if new else partial.replace(path)
            renamed.append(path)
    finally:
        for path in renamed if new and len(renamed) < len(partials) else ():
            path.unlink()
        for partial in partials.values():
            partial.unlink(missing_ok=True)
    for folder in dict.fromkeys(path.parent for path in paths):
        _sync(folder)


def rename_synced(path: Path, target: Path, aside: Path | None = None) -> None:
    """Rename a file or folder after its data are on the disk, so that the new name is complete even if the power fails.

    After an error, `target` is unchanged. A process that is killed between two renames leaves an old folder at `aside`.

    Args:
        path: complete file or folder.
        target: new path on the same disk. An existing file is replaced.
        aside: new path of the folder `target`, if it exists. None: `target` is not an existing folder.

    Raises:
        OSError: the path cannot be renamed.
    """
    for part in (path, *path.rglob("*")):
        _sync(part)
    old = aside if aside is not None and target.is_dir() else None
    if old is not None:
        target.rename(old)
    try:
        path.replace(target)
    except OSError:
        if old is not None:
            old.rename(target)
        raise
    _sync(target.parent)


def _rename_new(partial: Path, path: Path) -> None:
    """Rename a file. If the new name already exists, raise `FileExistsError` instead.

    The file is renamed with a hard link, which fails if the name exists. On file systems without hard links, such as exFAT, the
    name is checked first.
    """
    try:
        path.hardlink_to(partial)
    except FileExistsError as error:
        raise os_error(EEXIST, path) from error
    except OSError as error:
        if error.errno not in (EPERM, EOPNOTSUPP):
            raise
        if path.exists():
            raise os_error(EEXIST, path) from error
        partial.replace(path)


def os_error(number: int, path: Path) -> OSError:
    """Return the OSError with an error number, such as `errno.EEXIST`, and the path of a file."""
    return OSError(number, os.strerror(number), str(path))


def _sync(path: Path) -> None:
    """Write the cached data of a file or folder to the disk."""
    windows = sys.platform == "win32"
    if windows and path.is_dir():
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def relative_path(path: Path) -> Path:
    """Return a path relative to the working directory. A path outside the working directory is returned unchanged."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, see `atomic_write`. NaN and infinity raise `ValueError`."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as partial:
        partial.write_text(text)
