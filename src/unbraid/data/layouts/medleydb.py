"""MedleyDB V1 and V2 as vocals and accompaniment: each the sum of the stems whose instruments say so.

The mixture is the mix that the data set has, which was mastered and is not the sum of the stems. Source: Bittner et al. 2014,
"MedleyDB: a multitrack dataset for annotation-intensive MIR research", and its instrument taxonomy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from unbraid.data.layouts.folders import found_in, must_be_there
from unbraid.data.tracks import AudioStream, Choice, Listing, Track, split_of
from unbraid.errors import InputError

PLACES = ("", "Audio", "V1", "V2")
METADATA = "_METADATA.yaml"
VOICES = frozenset({
    "male singer", "female singer", "male speaker", "female speaker", "male rapper", "female rapper", "beatboxing", "vocalists",
})  # fmt: skip
SOURCES = ("vocals", "accompaniment")
YES_NO = {"yes": True, "no": False, True: True, False: False}  # yaml reads a yes without quotes as true
Sources = dict[str, tuple[AudioStream, ...]]


@dataclass(frozen=True)
class MedleyDB:
    """Folders with stems, a mix and metadata; an artist, the part of a track's name before `_`, is in one split only.

    Args:
        bleed: what to do with tracks in whose stems other instruments can be heard.
        valid: artists of the validation split, or its share of the artists.
        test: artists of the test split, or its share of the artists.
    """

    bleed: Literal["leave_out", "keep"]
    valid: Choice
    test: Choice

    def tracks(self, root: Path) -> Listing:
        found: dict[str, tuple[Sources, AudioStream]] = {}
        left_out: dict[str, str] = {}
        for name, folder in _folders(root).items():
            try:
                found[name] = self._read(folder / f"{name}{METADATA}")
            except _CannotUse as reason:
                left_out[name] = str(reason)
        artists = {name: name.split("_")[0] for name in found}
        splits = split_of(artists.values(), self.valid, self.test)
        return Listing([Track(name, splits[artists[name]], *streams) for name, streams in found.items()], left_out)

    def fetch(self, root: Path) -> None:
        must_be_there(root, f"MedleyDB is given on request, see its home page; put its track folders at {root}")

    def _read(self, file: Path) -> tuple[Sources, AudioStream]:
        if not file.is_file():
            raise _CannotUse(f"has no {file.name}")
        metadata = _Metadata(file)
        if self.bleed == "leave_out" and metadata.has_bleed():
            raise _CannotUse("its stems bleed into each other")
        stems = metadata.stems()
        for stream, kinds in stems.items():
            if len(kinds) > 1:
                raise _CannotUse(f"{stream.path.name} holds voices and instruments")
        sources = {name: tuple(stream for stream, kinds in stems.items() if name in kinds) for name in SOURCES}
        for name, streams in sources.items():
            if not streams:
                raise _CannotUse(f"has no {name}")
        return sources, metadata.mixture()


class _CannotUse(Exception):  # noqa: N818  it is no error: the track is as it should be, and is left out
    """Why a track is left out."""


def _folders(root: Path) -> dict[str, Path]:
    """The tracks' folders by name: all that have metadata or stems."""
    found: dict[str, Path] = {}
    for place in PLACES:
        for path in sorted([*(root / place).glob(f"*/*{METADATA}"), *(root / place).glob("*/*_STEMS/")]):
            folder = path.parent
            if path.name.startswith(".") or not path.name.startswith(f"{folder.name}_"):
                continue
            if found.setdefault(folder.name, folder) != folder:
                raise InputError(f"{folder}: is in {found[folder.name].parent} too, expected each track once")
    if not any((folder / f"{name}{METADATA}").is_file() for name, folder in found.items()):
        raise InputError(
            f"{root}: is not MedleyDB: expected folders <Track>/ with <Track>{METADATA}, in it or in Audio/, V1/ or V2/, "
            f"found {found_in(root)}"
        )
    return found


class _Metadata:
    """What a track's metadata say; every accessor names file and key where it is not as expected."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(self.tree, dict):
            raise InputError(f"{file}: found {type(self.tree).__name__}, expected keys like stems and mix_filename")

    def has_bleed(self) -> bool:
        value = self._get(self.tree, "has_bleed", (str, bool), "'yes' or 'no'")
        if value not in YES_NO:
            raise InputError(f"{self.file}: has_bleed is {value!r}, expected 'yes' or 'no'")
        return YES_NO[value]

    def mixture(self) -> AudioStream:
        return self._stream(self.file.parent, self.tree, "mix_filename")

    def stems(self) -> dict[AudioStream, set[str]]:
        """The stems, and of which of `SOURCES` the instruments of each are."""
        folder = self.file.parent / self._get(self.tree, "stem_dir", str, "the name of a folder")
        stems = self._get(self.tree, "stems", dict, "stems like S01")
        found = {}
        for key in sorted(stems, key=str):
            stem, where = self._get(stems, key, dict, "filename and instrument", "stems."), f"stems.{key}."
            stream = self._stream(folder, stem, "filename", where)
            found[stream] = self._kinds(stem, where)
        return found

    def _kinds(self, stem: Mapping[str, Any], where: str) -> set[str]:
        value = self._get(stem, "instrument", (str, list), "an instrument or a list of them", where)
        instruments = value if isinstance(value, list) else [value]
        if not instruments or not all(isinstance(name, str) for name in instruments):
            raise InputError(f"{self.file}: {where}instrument is {value!r}, expected an instrument or a list of them")
        return {"vocals" if name in VOICES else "accompaniment" for name in instruments}

    def _stream(self, folder: Path, node: Mapping[str, Any], key: str, where: str = "") -> AudioStream:
        path = folder / self._get(node, key, str, "the name of a file", where)
        if not path.is_file():
            raise InputError(f"{self.file}: {where}{key} names {path}, and there is no such file")
        return AudioStream(path)

    def _get(self, node: Mapping[str, Any], key: str, kind: type | tuple[type, ...], expected: str, where: str = "") -> Any:
        if key not in node:
            raise InputError(f"{self.file}: has no {where}{key}, expected {expected}")
        if not isinstance(node[key], kind):
            raise InputError(f"{self.file}: {where}{key} is {node[key]!r}, expected {expected}")
        return node[key]
