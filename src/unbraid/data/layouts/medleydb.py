"""List MedleyDB V1 and V2 with the sources vocals and accompaniment.

The metadata contain the instrument of each stem. The instrument decides to which of the two sources the stem belongs. The stems
of a source are summed. The mixture is the mastered mix of the data set, not the sum of the stems. Paper: Bittner
et al. 2014, "MedleyDB: a multitrack dataset for annotation-intensive MIR research".
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unbraid.data.excluded_tracks import BLEED, missing, voices_and_instruments
from unbraid.data.layouts.folders import list_contents, require_files
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
YES_NO = {"yes": True, "no": False, True: True, False: False}  # yaml parses `yes` without quotes as true


@dataclass(frozen=True)
class MedleyDB:
    """List the tracks of MedleyDB: folders with stems, a mix and metadata.

    All tracks of an artist are in the same split. The artist is the part of a track's name before the first `_`.

    Args:
        bleed: use of tracks whose stems also contain the sound of other instruments (bleed): `keep` or `leave_out`.
        valid: list of the artists of the validation split, or the share of all artists that is drawn for this split.
        test: list of the artists of the test split, or the share of all artists that is drawn for this split.
    """

    bleed: Literal["leave_out", "keep"]
    valid: Choice
    test: Choice

    def tracks(self, root: Path) -> Listing:
        """List the tracks under the root.

        A track is excluded if it lacks a metadata file, a vocal stem or an accompaniment stem, or if a stem contains both
        voices and instruments. With `bleed=leave_out`, tracks whose stems also contain the sound of other instruments (bleed)
        are excluded, too. An `InputError` is raised if the root does not contain MedleyDB, a track occurs twice, metadata are
        invalid or an artist is unknown.

        Args:
            root: folder with the folders of the tracks, or with `Audio/`, `V1/` or `V2/`.

        Returns:
            The tracks, and the excluded tracks with their reasons.
        """
        streams: dict[str, tuple[Sources, AudioStream]] = {}
        left_out: dict[str, str] = {}
        for name, folder in _folders(root).items():
            try:
                streams[name] = self._read(folder / f"{name}{METADATA}")
            except _ExcludedError as reason:
                left_out[name] = str(reason)
        artists = {name: name.split("_")[0] for name in streams}
        splits = split_of(artists.values(), self.valid, self.test)
        return Listing([Track(name, splits[artists[name]], *streams[name]) for name in streams], left_out)

    def fetch(self, root: Path) -> None:
        """Raise an InputError if the root is missing or empty: MedleyDB must be requested from its authors."""
        hint = f"Request it on its home page and put the folders of its tracks into {root}."
        require_files(root, "MedleyDB cannot be downloaded automatically", hint)

    def _read(self, file: Path) -> tuple[Sources, AudioStream]:
        if not file.is_file():
            raise _ExcludedError(missing(file.name))
        metadata = read_metadata(file)
        if self.bleed == "leave_out" and _has_bleed(metadata):
            raise _ExcludedError(BLEED)
        stems = _stems(metadata)
        for stream, kinds in stems.items():
            if len(kinds) > 1:
                raise _ExcludedError(voices_and_instruments(stream.path.name))
        sources = {name: tuple(stream for stream, kinds in stems.items() if name in kinds) for name in SOURCES}
        for name, streams in sources.items():
            if not streams:
                raise _ExcludedError(missing(name))
        return sources, AudioStream(metadata.inside(file.parent, metadata.text("mix_filename"), "mix_filename"))


class _ExcludedError(Exception):
    """Report that a track is excluded from the data set. The message is the reason."""


def _folders(root: Path) -> dict[str, Path]:
    """Return a dictionary from track name to the folder of the track. This folder contains a metadata file or stems."""
    folders: dict[str, Path] = {}
    for place in PLACES:
        for path in sorted([*(root / place).glob(f"*/*{METADATA}"), *(root / place).glob("*/*_STEMS/")]):
            folder = path.parent
            if path.name.startswith(".") or not path.name.startswith(f"{folder.name}_"):
                continue
            if folders.setdefault(folder.name, folder) != folder:
                raise InputError(
                    folder, f"the same track is also in {folders[folder.name].parent}", expected="each track in one folder"
                )
    if not any((folder / f"{name}{METADATA}").is_file() for name, folder in folders.items()):
        expected = f"folders <Track>/ with <Track>{METADATA}, in the root or in Audio/, V1/ or V2/"
        raise InputError(root, "the folder does not contain MedleyDB", found=list_contents(root), expected=expected)
    return folders


def _has_bleed(metadata: Metadata) -> bool:
    value = metadata.get("has_bleed", object, YES_OR_NO)
    if not isinstance(value, str | bool) or value not in YES_NO:
        metadata.refuse("has_bleed", YES_OR_NO)
    return YES_NO[value]


def _stems(metadata: Metadata) -> dict[AudioStream, set[str]]:
    """Return a dictionary from each stem of a track to the sources in this stem: `vocals`, `accompaniment` or both."""
    folder = metadata.inside(metadata.file.parent, metadata.text("stem_dir"), "stem_dir")
    stems = metadata.node("stems")
    kinds = {}
    for key in sorted(stems.tree, key=str):
        stem = stems.node(key)
        kinds[AudioStream(stem.inside(folder, stem.text("filename"), "filename"))] = _kinds(stem)
    return kinds


def _kinds(stem: Metadata) -> set[str]:
    value = stem.get("instrument", object, INSTRUMENTS)
    instruments = value if isinstance(value, list) else [value]
    if not instruments or not all(isinstance(name, str) for name in instruments):
        stem.refuse("instrument", INSTRUMENTS)
    return {"vocals" if name in VOICES else "accompaniment" for name in instruments}
