"""Metadata files of data sets, YAML or JSON: typed values by key, and the files that they name.

Every error names the file and the key. A name in a metadata file never leads outside of the folder of its track.
"""

import reprlib
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, TypeVar

from unbraid.runs.documents import read_json, read_yaml
from unbraid.runs.errors import InputError

T = TypeVar("T")


class Metadata:
    """A mapping in a metadata file.

    Args:
        file: path of the file.
        tree: parsed value, expected to be a mapping.
        place: keys from the top of the file to the mapping, each followed by a dot.

    Raises:
        InputError: the value is not a mapping.
    """

    def __init__(self, file: Path, tree: object, place: str = "") -> None:
        self.file, self.place = file, place
        if not isinstance(tree, dict):
            where = f"{file}, {place.removesuffix('.')}" if place else file
            raise InputError(where, found=_shorten(tree), expected="keys with values")
        self.tree: dict[Any, Any] = tree

    def where(self, key: object) -> str:
        """Return the file and the full key, for an error."""
        return f"{self.file}, {self.place}{key}"

    def get(self, key: object, kind: type[T], expected: str) -> T:
        """Return a value of one type.

        Args:
            key: name of the value.
            kind: type of the value.
            expected: description of valid values, for the error.

        Raises:
            InputError: the key is missing, or its value has another type.
        """
        if key not in self.tree:
            raise InputError(self.where(key), "missing", expected=expected)
        if not isinstance(self.tree[key], kind):
            raise self.wrong(key, expected)
        return self.tree[key]

    def wrong(self, key: object, expected: str) -> InputError:
        """Return the error of a value that cannot be used.

        Args:
            key: name of the value.
            expected: description of valid values.
        """
        return InputError(self.where(key), found=_shorten(self.tree[key]), expected=expected)

    def text(self, key: str) -> str:
        """Return a text.

        Raises:
            InputError: the key is missing, or its value is not a text or is empty.
        """
        value = self.get(key, str, "a text").strip()
        if not value:
            raise InputError(self.where(key), "empty", expected="a text")
        return value

    def node(self, key: object) -> "Metadata":
        """Return the mapping under a key.

        Raises:
            InputError: the key is missing, or its value is not a mapping.
        """
        return Metadata(self.file, self.get(key, object, "keys with values"), f"{self.place}{key}.")

    def nodes(self, key: str) -> Iterator["Metadata"]:
        """Yield the mappings of a list.

        Raises:
            InputError: the key is missing, or its value is not a list of mappings.
        """
        for number, tree in enumerate(self.get(key, list, "a list")):
            yield Metadata(self.file, tree, f"{self.place}{key}[{number}].")

    def inside(self, folder: Path, name: str, key: str) -> Path:
        """Return the path of a file or folder that the metadata name.

        Args:
            folder: folder that the name is relative to.
            name: file or folder name.
            key: key that the name comes from, for the error.

        Raises:
            InputError: the name leads outside of the folder, or there is no such file.
        """
        parts = PurePath(name).parts
        if not parts or PurePath(name).is_absolute() or ".." in parts:
            expected = f"a file in {folder}"
            raise InputError(self.where(key), "leads outside of the folder", found=_shorten(name), expected=expected)
        if not _exists(folder / name):
            raise InputError(self.where(key), "no such file", found=folder / name)
        return folder / name


def read_metadata(file: Path) -> Metadata:
    """Read a YAML file, or a JSON file if its name ends in `.json`.

    Raises:
        InputError: the file is missing, cannot be parsed, or does not hold a mapping.
    """
    read, language = (read_json, "JSON") if file.suffix == ".json" else (read_yaml, "YAML")
    try:
        return Metadata(file, read(file, finite=False))  # data sets may hold NaN in keys that nobody reads
    except FileNotFoundError as error:
        raise InputError(file, "no such file", expected=f"metadata in {language}") from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for the file system
        return False


def _shorten(value: object) -> str:
    """Return a text of bounded size."""
    shortener = reprlib.Repr()
    shortener.maxlevel, shortener.maxstring = 2, 60
    return shortener.repr(value)
