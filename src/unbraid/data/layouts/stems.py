"""Any data set with a folder per track: files named after their stems, files with free names and patterns, or a table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from unbraid.data.layouts.folders import (
    audio_files,
    audio_files_below,
    found_in,
    must_be_there,
    normalised,
    preferred,
    split_folders,
    subfolders,
)  # fmt: skip
from unbraid.data.layouts.manifest import ManifestRow, read_manifest, splits_of
from unbraid.data.layouts.patterns import Assignment, Patterns, SourcePatterns, read_patterns
from unbraid.data.tracks import AudioStream, Choice, Lengths, Listing, Split, Track, few
from unbraid.runs.errors import InputError

EMPTY = "holds no audio file"


@dataclass(frozen=True)
class Stems:
    """`{train,valid,test}/<track>/<stem>.<any audio suffix>`, the same without split folders, or a manifest.

    Args:
        mixture: the stem (or column of the manifest) that is the mixture; tracks without it have the sum of their stems.
        missing: handling of a stem that a track lacks and others have: an error, or a stem of silence.
        lengths: handling of files of unequal length within a track, see `Track`.
        sources: patterns of file names by source (see `patterns.py`), or a yaml file with them, relative to the root. Several
            files of one source are summed. None: each file is a source, named after the file.
        manifest: a CSV or JSONL file (see `manifest.py`) to read instead of folders, relative to the root.
        valid: names of the validation tracks, or their share; not used if there are split folders or a column `split`.
        test: names of the test tracks, or their share; not used if there are split folders or a column `split`.
    """

    mixture: str
    missing: Literal["error", "silence"]
    lengths: Lengths
    sources: Patterns | str | None
    manifest: str | None
    valid: Choice
    test: Choice

    def __post_init__(self) -> None:
        if self.sources is not None and self.manifest is not None:
            raise InputError(
                "sources", "maps the files of folders, and a manifest names its files", expected="only one of them"
            )

    def tracks(self, root: Path) -> Listing:
        found = self._read(root)
        sources = sorted({name for row in found.rows for name in row.files} - {self.mixture})
        if not sources:
            raise InputError(f"{found.rows[0].where}: has no stem but '{self.mixture}', expected one for each source")
        refused = [*found.refused, *self._missing(found.rows, sources), *self._mixtures(found.rows)]
        whole = [row for row in found.rows if any(row.files.get(name) for name in sources)]
        splits = splits_of(whole, self.valid, self.test)
        left_out = found.left_out | {row.track: "has no stem but the mixture" for row in found.rows if row.track not in splits}
        tracks = [self._track(row, splits[row.track], sources) for row in whole]
        return Listing(tracks, left_out, found.messages, refused, any(row.split for row in found.rows))

    def fetch(self, root: Path) -> None:
        must_be_there(root, f"there is nothing to download for a data set of your own; put its tracks at {root}")

    def _read(self, root: Path) -> "_Found":
        if self.manifest is not None:
            return _Found(read_manifest(root / self.manifest))
        if self.sources is None:
            return _with_one_spelling(_read_folders(root, None), self.mixture)
        patterns = read_patterns(root / self.sources) if isinstance(self.sources, str) else self.sources
        return self._checked(_read_folders(root, SourcePatterns(patterns)), patterns)

    def _checked(self, found: "_Found", patterns: Patterns) -> "_Found":
        """Add what is known of sources without a file in any track: a mixture is then the sum, another source is an error."""
        undecided = bool(found.refused)  # such as a file that two sources match, which neither has yet
        for name in patterns:
            if any(row.files.get(name) for row in found.rows):
                continue
            if name == self.mixture:
                found.messages.append(f"{name}: matches no file of any track, mixtures are the sums of their sources")
            elif not undecided:
                found.refused.append(InputError(f"sources.{name}", "matches no file of any track", found=f"{patterns[name]}"))
        return found

    def _missing(self, rows: Sequence[ManifestRow], sources: Sequence[str]) -> list[InputError]:
        """Return an error for each source that some tracks lack, unless it is silent there."""
        lacking = {name: [row for row in rows if not row.files.get(name)] for name in sources}
        return [
            InputError(
                without[0].where,
                f"has no stem '{name}', which other tracks have",
                found=f"{len(without)} of {len(rows)} tracks without it: {few(row.track for row in without)}",
                expected="a file in each track",
                hint="data.layout.missing=silence makes it silent, data.layout.sources maps file names to sources",
            )
            for name, without in lacking.items()
            if self.missing == "error" and 0 < len(without) < len(rows)
        ]

    def _mixtures(self, rows: Sequence[ManifestRow]) -> list[InputError]:
        """Return an error for each track with several files of its mixture."""
        files = {row.where: row.files.get(self.mixture, ()) for row in rows}
        return [
            InputError(where, f"has several files of '{self.mixture}'", found=few(path.name for path in paths), expected="one")
            for where, paths in files.items()
            if len(paths) > 1
        ]

    def _track(self, row: ManifestRow, split: Split, sources: Sequence[str]) -> Track:
        mixture = row.files.get(self.mixture, ())
        streams = {name: tuple(AudioStream(path) for path in row.files.get(name, ())) for name in sources}
        return Track(row.track, split, streams, AudioStream(mixture[0]) if mixture else None, lengths=self.lengths)


@dataclass
class _Found:
    """The rows that were read, and what was noticed."""

    rows: list[ManifestRow]
    left_out: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    refused: list[InputError] = field(default_factory=list)


def _read_folders(root: Path, patterns: SourcePatterns | None) -> _Found:
    """Read the folder of each track; with patterns, the folders in it too."""
    found = _Found([], _beside_the_splits(root))
    for name, split, folder in _track_folders(root):
        try:
            candidates = (audio_files if patterns is None else audio_files_below)(folder)
            files, messages = preferred(candidates, folder, ignore_case=True)
        except InputError as error:
            found.refused.append(error)
            continue
        found.messages += messages
        if not files:
            inner = patterns is None and audio_files_below(folder)
            found.left_out[name] = "has audio files in subfolders only; name them in data.layout.sources" if inner else EMPTY
        elif patterns is None:
            found.rows.append(ManifestRow(name, split, {stem: (path,) for stem, path in files.items()}, str(folder)))
        else:
            assigned = patterns.assign(files.values(), folder)
            found.rows.append(ManifestRow(name, split, assigned.files, str(folder)))
            found.messages += [f"{path}: matches no source and is left out" for path in assigned.unmatched]
            found.refused += _ambiguous(assigned)
    if not found.rows:
        if found.refused:
            raise found.refused[0]
        raise InputError(f"{root}: expected a folder of audio files for each track, found {found_in(root)}")
    return found


def _track_folders(root: Path) -> list[tuple[str, Split | None, Path]]:
    """Return name, split and folder of each track. A name that several splits have gets its split in front."""
    places: list[tuple[Split | None, Path]] = [*split_folders(root).items()] or [(None, root)]
    folders = [(normalised(folder.name), split, folder) for split, place in places for folder in subfolders(place)]
    counts = Counter(name for name, _, _ in folders)
    named = [(f"{split} - {name}" if split and counts[name] > 1 else name, split, folder) for name, split, folder in folders]
    seen: dict[str, Path] = {}
    for name, _, folder in named:
        if name in seen:
            raise InputError(folder, "would have the name of another track", found=f"'{name}' as {seen[name]}")
        seen[name] = folder
    return named


def _beside_the_splits(root: Path) -> dict[str, str]:
    splits = split_folders(root)
    return {path.name: "lies beside the split folders" for path in subfolders(root) if splits and path.name not in splits}


def _with_one_spelling(found: _Found, mixture: str) -> _Found:
    """Give stems whose names differ in case only one name: that of the mixture, or the one in lower case."""
    spellings: dict[str, set[str]] = {mixture.casefold(): {mixture}}
    for row in found.rows:
        for stem in row.files:
            spellings.setdefault(stem.casefold(), set()).add(stem)
    names = {folded: mixture if folded == mixture.casefold() else folded for folded, of in spellings.items() if len(of) > 1}
    for folded, name in names.items():
        found.messages.append(f"{', '.join(sorted(spellings[folded]))}: spellings of one stem, '{name}'")
    found.rows = [
        replace(row, files={names.get(stem.casefold(), stem): paths for stem, paths in row.files.items()}) for row in found.rows
    ]
    return found


def _ambiguous(assigned: Assignment) -> list[InputError]:
    return [
        InputError(
            path,
            "matches several sources",
            found=" and ".join(f"{name} ('{text}')" for name, text in texts.items()),
            expected="one",
            hint="Make a pattern narrower, or exclude files from a source with a pattern such as '!*vox*'",
        )
        for path, texts in assigned.ambiguous.items()
    ]
