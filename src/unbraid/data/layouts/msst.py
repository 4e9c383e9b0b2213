"""Data sets for Music-Source-Separation-Training (MSST), types 1 to 4 of its `docs/dataset_types.md`.

Training data are folders of songs (types 1 and 4), folders of instruments (type 2) or CSV files (type 3). In type 4 all stems
of a chunk come from one song; in the others they come from different songs. Validation songs are folders with `mixture.wav`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from unbraid.data.layouts.folders import by_name, found_in, must_be_there
from unbraid.data.layouts.grouping import Sources
from unbraid.data.layouts.manifest import read_recordings
from unbraid.data.layouts.singles import Singles
from unbraid.data.layouts.stems import Stems
from unbraid.data.tracks import MIXTURE, AudioStream, Choice, Listing, Split, Track, split_of
from unbraid.runs.errors import InputError, unknown


@dataclass(frozen=True)
class MSST:
    """Training data of one type, and folders of validation and test songs.

    Args:
        type: data set type of MSST.
        remix: value of `data.sampling.remix`, which must be above 0 for type 1 and 0 for type 4.
        train: folders of training data, or CSV files for type 3, relative to the root.
        valid: folders of validation songs, relative to the root.
        test: folders of test songs, or the share of the validation songs that are for testing.
        instruments: stems to use; all others are ignored. None: all stems.
        missing: whether a stem that a song lacks is an error or silent.
    """

    type: Literal[1, 2, 3, 4]
    remix: float
    train: list[str]
    valid: list[str]
    test: Choice
    instruments: list[str] | None
    missing: Literal["error", "silence"]

    def __post_init__(self) -> None:
        expected = {1: "above 0", 4: "0"}.get(self.type)
        if expected and (self.remix > 0) != (self.type == 1):
            hint = "Type 1 mixes stems of different songs, type 4 takes them from one song."
            raise InputError("type", f"{self.type} with data.sampling.remix={self.remix:g}", expected=expected, hint=hint)

    def tracks(self, root: Path) -> Listing:
        listings = [self._read(split, root, name) for split, names in self._places(root).items() for name in names]
        left_out = {name: reason for listing in listings for name, reason in listing.left_out.items()}
        tracks = [track for listing in listings for track in listing.tracks]
        if not isinstance(self.test, list):
            tracks = _draw_test(tracks, self.test)
        instruments = self._instruments(tracks)
        used = {track.name: self._sources(track, instruments) for track in tracks}
        left_out |= dict.fromkeys((name for name, sources in used.items() if not any(sources.values())), "has no chosen stem")
        kept = [replace(track, sources=used[track.name]) for track in tracks if track.name not in left_out]
        messages = [message for listing in listings for message in listing.messages]
        return Listing(kept, left_out, messages, [error for listing in listings for error in listing.refused])

    def fetch(self, root: Path) -> None:
        must_be_there(root, f"there is nothing to download for a data set of your own; put its folders at {root}")

    def _places(self, root: Path) -> dict[Split, list[str]]:
        """Return the folders and CSV files of each split."""
        places: dict[Split, list[str]] = {"train": self.train, "valid": self.valid}
        if isinstance(self.test, list):
            places["test"] = self.test
        seen: set[Path | tuple[str, ...]] = set()
        for split, names in places.items():
            for name in names:
                place, is_table = root / name, split == "train" and self.type == 3
                if not (place.is_file() if is_table else place.is_dir()):
                    expected = "a CSV file" if is_table else "a folder"
                    raise InputError(split, f"'{name}' is not there", found=found_in(root), expected=f"{expected} in {root}")
                same: set[Path | tuple[str, ...]] = {place.resolve(), _label(Path(name))}
                if same & seen:
                    raise InputError(split, "listed twice", found=name, expected="each folder once, in one split")
                seen |= same
        return places

    def _read(self, split: Split, root: Path, name: str) -> Listing:
        """Return the tracks of a folder or CSV file, named after it."""
        listing = (READERS[self.type] if split == "train" else _songs)(root / name)
        label = _label(Path(name))
        tracks = [
            replace(
                track,
                name=" - ".join([*label, track.name]),
                split=split,
                mixture=None if split == "train" else track.mixture,
                lengths="trim",  # MSST takes the shortest stem, too
            )
            for track in listing.tracks
        ]
        left_out = {" - ".join([*label, name]): reason for name, reason in listing.left_out.items()}
        return replace(listing, tracks=tracks, left_out=left_out)

    def _instruments(self, tracks: Sequence[Track]) -> Sequence[str]:
        """Return the stems to use; each has training data."""
        present = {name for track in tracks for name in track.sources}
        trained = {name for track in tracks if track.split == "train" for name, streams in track.sources.items() if streams}
        instruments = sorted(present) if self.instruments is None else self.instruments
        for name in instruments:
            if name not in present:
                raise InputError("instruments", found=name, expected="stems of the data", hint=unknown(name, present))
            if trained and name not in trained:
                hint = f"Set data.layout.instruments=[{','.join(sorted(trained))}]."
                raise InputError("instruments", f"no training data of '{name}'", expected="some of each stem", hint=hint)
        return instruments

    def _sources(self, track: Track, instruments: Sequence[str]) -> Sources:
        """Return the streams of a track by instrument."""
        if track.split == "train" and self.type in (2, 3):
            return {name: streams for name, streams in track.sources.items() if name in instruments}
        sources = {name: track.sources.get(name, ()) for name in instruments}
        lacking = [name for name, streams in sources.items() if not streams]
        if lacking and self.missing == "error" and len(lacking) < len(sources):
            hint = "Set data.layout.missing=silence, or choose data.layout.instruments."
            raise InputError(track.name, f"has no stem '{lacking[0]}'", expected="the stems of all songs", hint=hint)
        return sources


def _songs(place: Path) -> Listing:
    """Return a track for each folder of a folder."""
    return Stems(MIXTURE, "silence", "trim", None, None, 0.0, 0.0).tracks(place)


def _singles(place: Path) -> Listing:
    """Return a track for each file in the folders of instruments."""
    return Singles(0.0, 0.0).tracks(place)


def _recordings(place: Path) -> Listing:
    """Return a track for each line of a CSV file."""
    tracks = []
    for instrument, recordings in read_recordings(place).items():
        paths = [path.absolute() for path in recordings]
        common = Path(os.path.commonpath([path.parent for path in paths]))
        for name, path in by_name(paths, common).items():
            tracks.append(Track(f"{instrument} - {name}", "train", {instrument: (AudioStream(path),)}))
    return Listing(tracks)


READERS: dict[int, Callable[[Path], Listing]] = {1: _songs, 2: _singles, 3: _recordings, 4: _songs}


def _label(path: Path) -> tuple[str, ...]:
    """Return the first parts of track names, which do not depend on where a folder outside of the root is."""
    plain = path.with_suffix("") if path.suffix.lower() == ".csv" else path
    return (plain.name,) if plain.is_absolute() else plain.parts


def _draw_test(tracks: Sequence[Track], share: float) -> list[Track]:
    """Return the tracks with a share of the validation songs as test songs."""
    drawn = split_of((track.name for track in tracks if track.split == "valid"), 0.0, share)
    return [replace(track, split="test") if drawn.get(track.name) == "test" else track for track in tracks]
