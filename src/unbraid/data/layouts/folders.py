"""Find audio files, find the folders of the splits (train, valid, test), and make track names from paths, for all layouts.

Hidden files are ignored, for example the `._x` files of macOS. Symbolic links are followed.
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
STEM = ".stem"  # precedes the suffix of a file that contains all stems of a song, such as `song.stem.mp4`


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files of a folder, sorted. Subfolders are not searched."""
    return sorted(path for path in folder.iterdir() if _is_audio(path))


def audio_files_below(folder: Path) -> list[Path]:
    """Return the audio files of a folder and its subfolders, sorted. A folder to which several links lead is read once."""
    visited: set[str] = set()
    files = []
    for place, folders, _ in os.walk(folder, followlinks=True):
        real_path = os.path.realpath(place)
        if real_path in visited:
            folders.clear()
            continue
        visited.add(real_path)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += audio_files(Path(place))
    return sorted(files)


def _is_audio(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix.lower() not in AUDIO_SUFFIXES:
        return False
    if path.is_symlink() and not path.exists():
        raise InputError(path, "the symbolic link leads to a missing file", expected="a link to an audio file")
    return path.is_file()


def subfolders(folder: Path) -> list[Path]:
    """Return the subfolders of a folder, sorted by name, without hidden folders."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def split_folders(root: Path) -> dict[Split, Path]:
    """Return a dictionary from split to folder, for each of the folders `train`, `valid` and `test` that exists in `root`."""
    return {split: root / split for split in SPLITS if (root / split).is_dir()}


def unpacked_folder(root: Path, holds: Callable[[Path], bool]) -> Path:
    """Find the folder that contains a data set: the root, or the subfolder into which an archive was unpacked.

    Args:
        root: folder that the user has set as `data.root`.
        holds: function that gets a folder, and returns True if the folder contains the data set.

    Returns:
        The folder that contains the data set; `root` if neither the root nor a subfolder contains the data set.

    Raises:
        InputError: several subfolders contain the data set.
    """
    matching = [root] if holds(root) else [folder for folder in subfolders(root) if holds(folder)]
    if len(matching) > 1:
        names = ", ".join(folder.name for folder in matching)
        raise InputError(
            root,
            "several subfolders contain the data set",
            found=names,
            expected="one",
            hint=f"Choose one of them, for example with data.root={matching[0]}.",
        )
    return matching[0] if matching else root


def by_name(files: Iterable[Path], below: Path) -> dict[str, Path]:
    """Return a dictionary from the name of each file to its path. The name is the relative path without suffix, see `name_of`.

    Args:
        files: files below a folder.
        below: folder to which the names are relative.

    Returns:
        The dictionary from name to path.

    Raises:
        InputError: two files have the same name.
    """
    named: dict[str, Path] = {}
    for path in files:
        name = name_of(path, below)
        if name in named:
            raise InputError(
                path,
                f"the file has the same name as {named[name].relative_to(below)}",
                expected=f"one file named '{name}'",
                hint="Rename or remove one of the two files",
            )
        named[name] = path
    return named


def preferred(files: Iterable[Path], below: Path, ignore_case: bool = False) -> tuple[dict[str, Path], list[str]]:
    """Choose one file for each name.

    If files differ only in their format (suffix), the file whose format comes first in `AUDIO_SUFFIXES` is chosen.

    Args:
        files: audio files below a folder.
        below: folder to which the names are relative.
        ignore_case: whether names that differ only in upper and lower case are the same name.

    Returns:
        A dictionary from name to the path of the chosen file, and a message for each file that is not used.

    Raises:
        InputError: two files get the same name and have the same format, such as `a.wav` and `a.WAV`.
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
                problem = f"the file has the same name as {group[0].name}, except for the case or the encoding of letters"
                raise InputError(other, problem, hint="Rename or remove one of the two files.")
            messages.append(f"{other}: is not used, because the format of {group[0].name} is preferred")
    return {name_of(group[0], below): group[0] for group in groups.values()}, messages


def without_stem(name: str) -> str:
    """Remove the ending `.stem` from a name, so that the name of `song.stem.mp4` is `song`."""
    return name[: -len(STEM)] if name.lower().endswith(STEM) else name


def name_of(path: Path, below: Path) -> str:
    """Return the name of a file: its path relative to the folder `below`, without suffix, with ` - ` instead of `/`.

    The name is in the Unicode form NFC, because macOS stores an umlaut as two code points and other systems as one.
    """
    return normalised(" - ".join(path.relative_to(below).with_name(path.stem).parts))


def normalised(text: str) -> str:
    """Return a text in the Unicode normal form NFC, in which a letter and its accent are one character if possible."""
    return unicodedata.normalize("NFC", text)


def list_contents(folder: Path) -> str | None:
    """Return the first five names of files and folders in a folder, separated by commas, for the field `found` of an error.

    If the folder is empty, return None.
    """
    if not folder.is_dir():
        return "no such folder"
    return ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or None


def require_files(root: Path, problem: str, hint: str) -> None:
    """Check that the folder of a data set contains files. If not, the error explains how the user gets the data set.

    Args:
        root: folder of the data set.
        problem: part of the error message that states why this program cannot download the data set.
        hint: part of the error message that states how the user gets the data set.

    Raises:
        InputError: the folder is missing or empty.
    """
    if not (root.is_dir() and any(root.iterdir())):
        raise InputError("data.download=true", f"the folder {root} is missing or empty, and {problem}", hint=hint)
