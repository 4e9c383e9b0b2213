"""Read metadata files of data sets in YAML or JSON.

The type of each value is checked. Each error names the file and the key. File names in metadata must refer to files inside the
folder of the track.
"""

import reprlib
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, NoReturn, TypeVar

from unbraid.runs.documents import read_json, read_yaml
from unbraid.runs.errors import InputError

T = TypeVar("T")


class Metadata:
    """Read values from one mapping (keys with values) of a metadata file, and check the types of the values.

    Args:
        file: path of the file.
        tree: mapping to read: the parsed content of the file, or a part of this content.
        place: keys that lead from the top of the file to this mapping, with a dot after each key, such as `stems.S01.`.

    Raises:
        InputError: `tree` is not a mapping.
    """

    def __init__(self, file: Path, tree: object, place: str = "") -> None:
        self.file, self.place = file, place
        if not isinstance(tree, dict):
            where = f"{file}, {place.removesuffix('.')}" if place else file
            raise InputError(where, "the value is not a mapping", found=_shorten(tree), expected="keys with values")
        self.tree: dict[Any, Any] = tree

    def where(self, key: object) -> str:
        """Return the location of a key for error messages: the file and the full key."""
        return f"{self.file}, {self.place}{key}"

    def get(self, key: object, kind: type[T], expected: str) -> T:
        """Return the value of a key, after checking that the value has the type `kind`.

        Args:
            key: key of the value.
            kind: required type.
            expected: description of valid values, for the error message.

        Returns:
            The value.

        Raises:
            InputError: the key is missing, or the value has another type.
        """
        if key not in self.tree:
            raise InputError(self.where(key), "the key is missing", expected=expected)
        if not isinstance(self.tree[key], kind):
            self.refuse(key, expected)
        return self.tree[key]

    def refuse(self, key: object, expected: str) -> NoReturn:
        """Raise an `InputError` about a key with an invalid value.

        Args:
            key: key of the value.
            expected: description of valid values, for the error message.

        Raises:
            InputError: always.
        """
        raise InputError(self.where(key), "the value is invalid", found=_shorten(self.tree[key]), expected=expected)

    def text(self, key: str) -> str:
        """Return the value of a key that must be a text, without leading and trailing spaces.

        Args:
            key: key of the text.

        Returns:
            The text, which is not empty.

        Raises:
            InputError: the key is missing, or the value is empty or is not a text.
        """
        value = self.get(key, str, "a text").strip()
        if not value:
            raise InputError(self.where(key), "the value is empty", expected="a text")
        return value

    def node(self, key: object) -> "Metadata":
        """Return the mapping that is the value of a key.

        An `InputError` is raised if the key is missing, or if the value is not a mapping.
        """
        return Metadata(self.file, self.get(key, object, "keys with values"), f"{self.place}{key}.")

    def nodes(self, key: str) -> Iterator["Metadata"]:
        """Yield the mappings in a list. The list is the value of `key`.

        An `InputError` is raised if the key is missing, or if the value is not a list of mappings.
        """
        for number, tree in enumerate(self.get(key, list, "a list")):
            yield Metadata(self.file, tree, f"{self.place}{key}[{number}].")

    def inside(self, folder: Path, name: str, key: str) -> Path:
        """Return the path of a file or folder whose name is in the metadata.

        Args:
            folder: folder to which the name is relative.
            name: name of the file or folder.
            key: key that contains the name in the metadata, for the error message.

        Returns:
            The path of the existing file or folder.

        Raises:
            InputError: the path is outside `folder`, or nothing exists at this path.
        """
        parts = PurePath(name).parts
        if not parts or PurePath(name).is_absolute() or ".." in parts:
            expected = f"a file in {folder}"
            raise InputError(
                self.where(key), "the path is outside the folder of the track", found=_shorten(name), expected=expected
            )
        if not _exists(folder / name):
            raise InputError(self.where(key), "the metadata contain the path of a missing file", found=folder / name)
        return folder / name


def read_metadata(file: Path) -> Metadata:
    """Read a metadata file: JSON if its name ends in `.json`, else YAML.

    Args:
        file: path of the file.

    Returns:
        The mapping at the top of the file.

    Raises:
        InputError: the file is missing, cannot be parsed, or does not contain a mapping.
    """
    read, language = (read_json, "JSON") if file.suffix == ".json" else (read_yaml, "YAML")
    try:
        return Metadata(file, read(file, finite=False))  # published metadata may contain NaN under unused keys
    except FileNotFoundError as error:
        raise InputError(file, "the metadata file is missing", expected=f"a {language} file with this name") from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long for the file system
        return False


def _shorten(value: object) -> str:
    """Return a value as a text of limited length, for error messages."""
    shortener = reprlib.Repr()
    shortener.maxlevel, shortener.maxstring = 2, 60
    return shortener.repr(value)
