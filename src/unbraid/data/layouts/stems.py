"""Any data set with a folder per track and a file per stem, or with a table that says where the files lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unbraid.data.layouts.folders import audio_files, by_name, found_in, must_be_there, split_folders, subfolders
from unbraid.data.layouts.manifest import Row, read_manifest, splits_of
from unbraid.data.tracks import AudioStream, Choice, Listing, Split, Track
from unbraid.errors import InputError


@dataclass(frozen=True)
class Stems:
    """`{train,valid,test}/<track>/<stem>.<any audio suffix>`, the same without split folders, or a manifest.

    Args:
        mixture: the stem (or column of the manifest) that is the mixture; tracks without it have the sum of their stems.
        missing: what to do where a track lacks a stem that others have: an error, or a stem of silence.
        manifest: a CSV or JSONL file (see `manifest.py`) to read instead of folders, relative to the root.
        valid: names of the validation tracks, or their share; not used where there are split folders or a column `split`.
        test: names of the test tracks, or their share; not used where there are split folders or a column `split`.
    """

    mixture: str
    missing: Literal["error", "silence"]
    manifest: str | None
    valid: Choice
    test: Choice

    def tracks(self, root: Path) -> Listing:
        rows, left_out = _read_folders(root) if self.manifest is None else (read_manifest(root / self.manifest), {})
        sources = sorted({name for row in rows for name in row.files} - {self.mixture})
        if not sources:
            raise InputError(f"{rows[0].where}: has no stem but '{self.mixture}', expected one for each source")
        whole = [row for row in rows if self._is_whole(row, sources)]
        splits = splits_of(whole, self.valid, self.test)
        left_out |= {row.track: "has no stem but the mixture" for row in rows if row.track not in splits}
        return Listing([self._track(row, splits[row.track], sources) for row in whole], left_out)

    def fetch(self, root: Path) -> None:
        must_be_there(root, f"there is nothing to download for a data set of your own; put its tracks at {root}")

    def _is_whole(self, row: Row, sources: Sequence[str]) -> bool:
        """Whether a track has enough stems to be used."""
        missing = [name for name in sources if not row.files.get(name)]
        if missing and self.missing == "error":
            raise InputError(
                f"{row.where}: has no stem '{missing[0]}', which other tracks have; expected a file, or "
                "data.layout.missing=silence"
            )
        return len(missing) < len(sources)

    def _track(self, row: Row, split: Split, sources: Sequence[str]) -> Track:
        mixture = row.one(self.mixture)
        streams = {name: tuple(AudioStream(path) for path in row.files.get(name, ())) for name in sources}
        return Track(row.track, split, streams, AudioStream(mixture) if mixture else None)


def _read_folders(root: Path) -> tuple[list[Row], dict[str, str]]:
    """The tracks' folders, and the names of those that are none with the reason."""
    splits = split_folders(root)
    left_out = (
        {path.name: "lies beside the split folders" for path in subfolders(root) if path.name not in splits} if splits else {}
    )
    places: list[tuple[Split | None, Path]] = [*splits.items()] or [(None, root)]
    rows: dict[str, Row] = {}
    for split, place in places:
        for folder in subfolders(place):
            stems = {name: (path,) for name, path in by_name(audio_files(folder), folder).items()}
            if not stems:
                left_out[folder.name] = "holds no audio file"
            elif folder.name in rows:
                raise InputError(f"{folder}: {rows[folder.name].where} has the same name, expected each track in one split")
            else:
                rows[folder.name] = Row(folder.name, split, stems, str(folder))
    if not rows:
        raise InputError(f"{root}: expected a folder of audio files for each track, found {found_in(root)}")
    return list(rows.values()), left_out
