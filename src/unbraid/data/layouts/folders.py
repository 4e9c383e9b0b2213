"""What layouts find in folders: audio files by their suffix, folders of splits, and sentences about what is not there.

Hidden files and the `._x` files of macOS count as nothing. Links count as what they lead to.
"""

import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from unbraid.data.tracks import SPLITS, Split
from unbraid.errors import InputError

AUDIO_SUFFIXES = (
    ".wav", ".wave", ".w64", ".flac", ".aif", ".aiff", ".aifc", ".caf", ".mp3", ".mp4", ".m4a", ".aac", ".ogg", ".oga",
    ".opus", ".wma", ".wv", ".ape", ".ac3", ".mka", ".webm",
)  # fmt: skip


def audio_files(folder: Path) -> list[Path]:
    """The audio files that lie in a folder."""
    return sorted(path for path in folder.iterdir() if _is_audio(path))


def audio_files_below(folder: Path) -> list[Path]:
    """The audio files of a folder and of all folders in it, each folder once however many links lead to it."""
    seen: set[str] = set()
    files = []
    for place, folders, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += audio_files(Path(place))
    return sorted(files)


def _is_audio(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix.lower() not in AUDIO_SUFFIXES:
        return False
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path}: is a link to nothing, expected it to lead to an audio file")
    return path.is_file()


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def split_folders(root: Path) -> dict[Split, Path]:
    """The folders named train, valid and test that `root` has."""
    return {split: root / split for split in SPLITS if (root / split).is_dir()}


def unpacked_folder(root: Path, holds: Callable[[Path], bool]) -> Path:
    """Return the folder that holds a data set: `root` itself, or the one folder in it that an archive was unpacked to.

    Args:
        root: folder that the user named.
        holds: whether a folder holds the data set.

    Returns:
        The folder, or `root` if neither holds the data set.

    Raises:
        InputError: several folders in `root` hold one.
    """
    found = [root] if holds(root) else [folder for folder in subfolders(root) if holds(folder)]
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise InputError(root, "holds several data sets", found=names, expected="one", hint=f"Set data.root={found[0]}.")
    return found[0] if found else root


def by_name(files: Iterable[Path], below: Path) -> dict[str, Path]:
    """Files by their names below a folder without suffix; InputError where two have the same one.

    Names are put in one Unicode form, since macOS spells an umlaut in two code points and others in one.
    """
    named: dict[str, Path] = {}
    for path in files:
        parts = path.relative_to(below).with_name(path.stem).parts
        name = unicodedata.normalize("NFC", " - ".join(parts))
        if name in named:
            raise InputError(f"{path}: has the same name as {named[name].relative_to(below)}, expected one file '{name}'")
        named[name] = path
    return named


def found_in(folder: Path) -> str:
    """The end of a sentence about a folder that holds something else."""
    if not folder.is_dir():
        return "no such folder"
    return ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"


def must_be_there(root: Path, how: str) -> None:
    """For what cannot be downloaded: an InputError that says how to get it, unless `root` holds something."""
    if not (root.is_dir() and any(root.iterdir())):
        raise InputError(f"data.download=true: {how}")
