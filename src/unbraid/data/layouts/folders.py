"""What layouts find in folders: audio files by their suffix, folders of splits, and sentences about what is not there.

Hidden files and the `._x` files of macOS count as nothing. Links count as what they lead to.
"""

import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from unbraid.data.tracks import SPLITS, Split
from unbraid.runs.errors import InputError

AUDIO_SUFFIXES = (  # by preference: lossless formats first
    ".wav", ".wave", ".w64", ".flac", ".aif", ".aiff", ".aifc", ".au", ".caf", ".wv", ".tta", ".tak", ".ape", ".dsf", ".mka",
    ".m4a", ".mp4", ".aac", ".opus", ".ogg", ".oga", ".mp3", ".mp2", ".wma", ".ac3", ".eac3", ".dts", ".webm", ".mkv", ".mov",
    ".avi", ".ts",
)  # fmt: skip
STEM = ".stem"  # of names of files that hold all stems of a song, before their suffix


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
    """Return files by their names below a folder, see `name_of`; InputError if two have the same name."""
    named: dict[str, Path] = {}
    for path in files:
        name = name_of(path, below)
        if name in named:
            raise InputError(f"{path}: has the same name as {named[name].relative_to(below)}, expected one file '{name}'")
        named[name] = path
    return named


def preferred(files: Iterable[Path], below: Path, ignore_case: bool = False) -> tuple[dict[str, Path], list[str]]:
    """Return files by name as `by_name` does. Of one name in several formats the first in `AUDIO_SUFFIXES` is used.

    Args:
        files: audio files below a folder.
        below: folder that names start from.
        ignore_case: whether names that differ in case only are one name.

    Returns:
        the files that are used, and a message for each that is not.

    Raises:
        InputError: two files have one name and one format.
    """
    groups: dict[str, list[Path]] = {}
    for path in sorted(files):
        name = name_of(path, below)
        groups.setdefault(name.casefold() if ignore_case else name, []).append(path)
    messages = []
    for group in groups.values():
        group.sort(key=lambda path: AUDIO_SUFFIXES.index(path.suffix.lower()))
        for other in group[1:]:
            if other.suffix.lower() == group[0].suffix.lower():
                raise InputError(other, f"has the name and format of {group[0].name}", expected="one file", hint="Rename one")
            messages.append(f"{other}: is not used, {group[0].name} is preferred")
    return {name_of(group[0], below): group[0] for group in groups.values()}, messages


def without_stem(name: str) -> str:
    """Return the name of a stem file, whose suffix is `.stem.mp4`, without the part `.stem`."""
    return name[: -len(STEM)] if name.lower().endswith(STEM) else name


def name_of(path: Path, below: Path) -> str:
    """Return the path below a folder without suffix, its parts joined by ` - `.

    Names are put in one Unicode form, since macOS spells an umlaut in two code points and others in one.
    """
    return normalised(" - ".join(path.relative_to(below).with_name(path.stem).parts))


def normalised(text: str) -> str:
    """Return text in the Unicode form NFC."""
    return unicodedata.normalize("NFC", text)


def found_in(folder: Path) -> str:
    """The end of a sentence about a folder that holds something else."""
    if not folder.is_dir():
        return "no such folder"
    return ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"


def must_be_there(root: Path, how: str) -> None:
    """For what cannot be downloaded: an InputError that says how to get it, unless `root` holds something."""
    if not (root.is_dir() and any(root.iterdir())):
        raise InputError(f"data.download=true: {how}")
