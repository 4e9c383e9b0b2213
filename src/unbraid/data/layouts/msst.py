"""List data sets in the formats of Music-Source-Separation-Training (MSST), types 1 to 4 of MSST's `docs/dataset_types.md`.

Training data are folders of songs (types 1 and 4), folders of instruments (type 2) or CSV files (type 3). In type 4, all
stems of a training chunk come from the same song. In the other types, the stems of a chunk come from different songs. Each
validation song is a folder with `mixture.wav`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from unbraid.data.excluded_tracks import NO_CHOSEN_STEM
from unbraid.data.layouts.folders import by_name, list_contents, require_files
from unbraid.data.layouts.grouping import Sources
from unbraid.data.layouts.manifest import read_recordings
from unbraid.data.layouts.singles import Singles
from unbraid.data.layouts.stems import Stems
from unbraid.data.tracks import MIXTURE, AudioStream, Choice, Listing, Split, Track, split_of
from unbraid.runs.errors import InputError, unknown


@dataclass(frozen=True)
class MSST:
    """List training data in one of the four MSST formats, and the folders of validation and test songs.

    Args:
        type: number of the MSST format: folders of songs (1 and 4), folders of instruments (2) or CSV files (3).
        remix: value of `data.sampling.remix`. It must be above 0 for type 1. It must be 0 for type 4.
        train: folders of training data, or CSV files for type 3, relative to the root.
        valid: folders of validation songs, relative to the root.
        test: folders of test songs, or the share of the songs in `valid` that is used for testing instead of validation.
        instruments: stems that are used; all others are ignored. None: all stems.
        missing: handling of a song that lacks a stem. `error`: an error is raised; `silence`: the missing stem is silent.

    Raises:
        InputError: `remix` is 0 for type 1, or above 0 for type 4.
    """

    type: Literal[1, 2, 3, 4]
    remix: float
    train: list[str]
    valid: list[str]
    test: Choice
    instruments: list[str] | None
    missing: Literal["error", "silence"]

    def __post_init__(self) -> None:
        expected = {1: "a value above 0", 4: "0"}.get(self.type)
        if expected and (self.remix > 0) != (self.type == 1):
            hint = "Format 1 mixes stems of different songs. Format 4 takes all stems from one song."
            problem = f"MSST format {self.type} requires another value of data.sampling.remix"
            raise InputError("type", problem, found=f"{self.remix:g}", expected=expected, hint=hint)

    def tracks(self, root: Path) -> Listing:
        """List the training data and the songs under the root. A song without any stem of `instruments` is excluded.

        An `InputError` is raised if a folder is missing or listed twice, a CSV file is invalid, or a stem is unknown or lacks
        training data. With `missing=error`, an `InputError` is also raised if a song lacks a stem that other songs have.

        Args:
            root: folder to which the folders and CSV files are relative.

        Returns:
            The tracks, and the excluded tracks with their reasons.
        """
        listings = [self._read(split, root, name) for split, names in self._places(root).items() for name in names]
        left_out = {name: reason for listing in listings for name, reason in listing.left_out.items()}
        tracks = [track for listing in listings for track in listing.tracks]
        if not isinstance(self.test, list):
            drawn = split_of((track.name for track in tracks if track.split == "valid"), 0.0, self.test)
            tracks = [replace(track, split="test") if drawn.get(track.name) == "test" else track for track in tracks]
        instruments = self._instruments(tracks)
        used = {track.name: self._sources(track, instruments) for track in tracks}
        left_out |= dict.fromkeys((name for name, sources in used.items() if not any(sources.values())), NO_CHOSEN_STEM)
        tracks = [replace(track, sources=used[track.name]) for track in tracks if track.name not in left_out]
        messages = [message for listing in listings for message in listing.messages]
        return Listing(tracks, left_out, messages, [error for listing in listings for error in listing.refused])

    def fetch(self, root: Path) -> None:
        """Raise an InputError if the root is missing or empty: the data set is the user's own and cannot be downloaded."""
        require_files(root, "a data set of your own cannot be downloaded", f"Put its folders into {root}.")

    def _places(self, root: Path) -> dict[Split, list[str]]:
        """Return the folders and CSV files of each split. Check that each folder and file exists and is listed only once."""
        places: dict[Split, list[str]] = {"train": self.train, "valid": self.valid}
        if isinstance(self.test, list):
            places["test"] = self.test
        used: set[Path | tuple[str, ...]] = set()
        for split, names in places.items():
            for name in names:
                place, is_table = root / name, split == "train" and self.type == 3
                if not (place.is_file() if is_table else place.is_dir()):
                    kind = "CSV file" if is_table else "folder"
                    problem = f"{root} contains no {kind} '{name}'"
                    raise InputError(
                        split,
                        problem,
                        found=list_contents(root),
                        expected=f"an existing {kind}",
                    )
                identity: set[Path | tuple[str, ...]] = {place.resolve(), _label(Path(name))}
                if identity & used:
                    raise InputError(
                        split, "a folder or CSV file is listed twice", found=name, expected="each folder or file once"
                    )
                used |= identity
        return places

    def _read(self, split: Split, root: Path, name: str) -> Listing:
        """Return the tracks of one folder or CSV file. Each track name begins with the name of this folder or file."""
        listing = (READERS[self.type] if split == "train" else _songs)(root / name)
        label = _label(Path(name))
        tracks = [
            replace(
                track,
                name=" - ".join([*label, track.name]),
                split=split,
                mixture=None if split == "train" else track.mixture,
                lengths="trim",  # MSST also cuts all stems to the shortest
            )
            for track in listing.tracks
        ]
        left_out = {" - ".join([*label, name]): reason for name, reason in listing.left_out.items()}
        return replace(listing, tracks=tracks, left_out=left_out)

    def _instruments(self, tracks: Sequence[Track]) -> Sequence[str]:
        """Return the names of the stems that are used. Check that each of these stems has training data."""
        present = {name for track in tracks for name in track.sources}
        trained = {name for track in tracks if track.split == "train" for name, streams in track.sources.items() if streams}
        instruments = sorted(present) if self.instruments is None else self.instruments
        for name in instruments:
            if name not in present:
                raise InputError("instruments", "the list contains an unknown stem", found=name, hint=unknown(name, present))
            if trained and name not in trained:
                hint = f"Set data.layout.instruments=[{','.join(sorted(trained))}]."
                raise InputError("instruments", f"the stem '{name}' lacks training data", hint=hint)
        return instruments

    def _sources(self, track: Track, instruments: Sequence[str]) -> Sources:
        """Return the audio streams of a track by stem. A missing stem is silent, or raises an InputError if `missing=error`."""
        if track.split == "train" and self.type in (2, 3):
            return {name: streams for name, streams in track.sources.items() if name in instruments}
        sources = {name: track.sources.get(name, ()) for name in instruments}
        lacking = [name for name, streams in sources.items() if not streams]
        if lacking and self.missing == "error" and len(lacking) < len(sources):
            hint = "Set data.layout.missing=silence, or set data.layout.instruments to the stems that all songs have."
            problem = f"the song lacks the stem '{lacking[0]}', but other songs have this stem"
            raise InputError(track.name, problem, expected="the same stems in all songs", hint=hint)
        return sources


def _songs(place: Path) -> Listing:
    """Return one track for each song folder in the folder `place`. A song folder contains one file for each stem."""
    return Stems(MIXTURE, "silence", "trim", None, None, 0.0, 0.0).tracks(place)


def _singles(place: Path) -> Listing:
    """Return one track for each recording in the folder `place`. This folder has one subfolder for each instrument."""
    return Singles(0.0, 0.0).tracks(place)


def _recordings(place: Path) -> Listing:
    """Return one track for each line of a CSV file. A line contains the path of a recording and the instrument."""
    tracks = []
    for instrument, recordings in read_recordings(place).items():
        paths = [path.absolute() for path in recordings]
        common = Path(os.path.commonpath([path.parent for path in paths]))
        for name, path in by_name(paths, common).items():
            tracks.append(Track(f"{instrument} - {name}", "train", {instrument: (AudioStream(path),)}))
    return Listing(tracks)


READERS: dict[int, Callable[[Path], Listing]] = {1: _songs, 2: _singles, 3: _recordings, 4: _songs}


def _label(path: Path) -> tuple[str, ...]:
    """Return the prefix of the names of all tracks in a folder or CSV file, as a tuple of texts.

    The prefix consists of the parts of `path`. If `path` is absolute, the prefix is only the name of the folder or file.
    """
    stripped = path.with_suffix("") if path.suffix.lower() == ".csv" else path
    return (stripped.name,) if stripped.is_absolute() else stripped.parts
