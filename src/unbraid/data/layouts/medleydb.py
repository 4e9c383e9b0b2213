"""MedleyDB V1 and V2 as vocals and accompaniment: each the sum of the stems whose instruments say so.

The mixture is the mix that the data set has, which was mastered and is not the sum of the stems. Source: Bittner et al. 2014,
"MedleyDB: a multitrack dataset for annotation-intensive MIR research", and its instrument taxonomy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unbraid.data.layouts.folders import found_in, must_be_there
from unbraid.data.layouts.grouping import Sources
from unbraid.data.layouts.metadata import Metadata, read_metadata
from unbraid.data.tracks import AudioStream, Choice, Listing, Track, split_of
from unbraid.runs.errors import InputError

PLACES = ("", "Audio", "V1", "V2")
METADATA = "_METADATA.yaml"
VOICES = frozenset({
    "male singer", "female singer", "male speaker", "female speaker", "male rapper", "female rapper", "beatboxing", "vocalists",
})  # fmt: skip
SOURCES = ("vocals", "accompaniment")
YES_OR_NO, INSTRUMENTS = "'yes' or 'no'", "an instrument or a list of them"
YES_NO = {"yes": True, "no": False, True: True, False: False}  # yaml reads a yes without quotes as true


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
        metadata = read_metadata(file)
        if self.bleed == "leave_out" and _has_bleed(metadata):
            raise _CannotUse("its stems bleed into each other")
        stems = _stems(metadata)
        for stream, kinds in stems.items():
            if len(kinds) > 1:
                raise _CannotUse(f"{stream.path.name} holds voices and instruments")
        sources = {name: tuple(stream for stream, kinds in stems.items() if name in kinds) for name in SOURCES}
        for name, streams in sources.items():
            if not streams:
                raise _CannotUse(f"has no {name}")
        return sources, AudioStream(metadata.inside(file.parent, metadata.text("mix_filename"), "mix_filename"))


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


def _has_bleed(metadata: Metadata) -> bool:
    value = metadata.get("has_bleed", object, YES_OR_NO)
    if not isinstance(value, str | bool) or value not in YES_NO:
        raise metadata.wrong("has_bleed", YES_OR_NO)
    return YES_NO[value]


def _stems(metadata: Metadata) -> dict[AudioStream, set[str]]:
    """Return the stems, and which of `SOURCES` the instruments of each belong to."""
    folder = metadata.inside(metadata.file.parent, metadata.text("stem_dir"), "stem_dir")
    stems = metadata.node("stems")
    found = {}
    for key in sorted(stems.tree, key=str):
        stem = stems.node(key)
        found[AudioStream(stem.inside(folder, stem.text("filename"), "filename"))] = _kinds(stem)
    return found


def _kinds(stem: Metadata) -> set[str]:
    value = stem.get("instrument", object, INSTRUMENTS)
    instruments = value if isinstance(value, list) else [value]
    if not instruments or not all(isinstance(name, str) for name in instruments):
        raise stem.wrong("instrument", INSTRUMENTS)
    return {"vocals" if name in VOICES else "accompaniment" for name in instruments}
