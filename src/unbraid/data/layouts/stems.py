"""List data sets with a folder for each track.

The files of a track are named after the stems, or patterns assign the files to sources. A table of tracks (see `manifest.py`)
can replace the folders.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from unbraid.data.excluded_tracks import AUDIO_IN_SUBFOLDERS, NO_AUDIO_FILE, ONLY_A_MIXTURE, outside_splits
from unbraid.data.layouts.folders import (
    audio_files,
    audio_files_below,
    list_contents,
    normalised,
    preferred,
    require_files,
    split_folders,
    subfolders,
)  # fmt: skip
from unbraid.data.layouts.manifest import ManifestRow, read_manifest, splits_of
from unbraid.data.layouts.patterns import Assignment, Patterns, SourcePatterns, proposed, read_patterns
from unbraid.data.tracks import AudioStream, Choice, Lengths, Listing, Split, Track, few
from unbraid.runs.errors import InputError, unknown


@dataclass(frozen=True)
class Stems:
    """List the tracks in `{train,valid,test}/<track>/<stem>.<audio suffix>`, in `<track>/<stem>.<audio suffix>` or in a table.

    Args:
        mixture: name of the stem (or table column) that contains the mixture. If a track lacks a file of this stem, the
            mixture is the sum of all stems of the track.
        missing: handling of a stem that only some tracks have. `error`: an error is raised; `silence`: a missing stem is
            silent; `unknown`: the mixture may contain the missing stem, so losses and scores leave out the targets with this
            stem. If a track lacks a mixture file, its mixture is the sum of its stems, and a missing stem is silent.
        absent: for `missing=unknown`: dictionary from a stem to the names of the tracks that do not contain the stem. In these
            tracks, the stem is silent. None: every missing stem is unknown.
        lengths: handling of files of unequal length in a track: `auto`, `pad`, `trim` or `error`, see `Track`.
        sources: patterns of file names by source (see `patterns.py`), or a yaml file with these patterns, relative to the root.
            Several files of one source are summed. None: each file is a source, named after the file.
        manifest: CSV or JSONL file (see `manifest.py`) that is read instead of folders, relative to the root.
        valid: list of the names of the validation tracks, or the share of all tracks that is drawn for validation. Unused if
            the data set has the folders `train`, `valid` and `test`, or if the table has a column `split`.
        test: list of the names of the test tracks, or the share of all tracks that is drawn for testing. If `valid` is
            unused, `test` is unused too.

    Raises:
        InputError: both `sources` and `manifest` are set, or `absent` is set without `missing=unknown`.
    """

    mixture: str
    missing: Literal["error", "silence", "unknown"]
    lengths: Lengths
    sources: Patterns | str | None
    manifest: str | None
    valid: Choice
    test: Choice
    absent: dict[str, list[str]] | None = None

    def __post_init__(self) -> None:
        if self.absent and self.missing != "unknown":
            raise InputError("absent", "this option needs missing=unknown", found=f"missing={self.missing}")
        if self.sources is not None and self.manifest is not None:
            hint = "Remove `sources`, because the table `manifest` already lists the files of each source."
            raise InputError("sources", "`sources` and `manifest` cannot be used together", hint=hint)

    def tracks(self, root: Path) -> Listing:
        """List the tracks under the root. Errors that the user must resolve are in `Listing.refused`.

        Args:
            root: folder of the data set.

        Returns:
            The tracks, excluded tracks with their reasons, messages, and errors that the user must resolve.

        Raises:
            InputError: the root has neither track folders nor a valid table, or its tracks have only mixtures.
        """
        listed = self._read(root)
        sources = sorted({name for row in listed.rows for name in row.files} - {self.mixture})
        if not sources:
            problem = f"the tracks lack a stem other than '{self.mixture}'"
            raise InputError(listed.rows[0].where, problem, expected="one file for each source")
        self._check_absent(listed.rows, sources)
        refused = [*listed.refused, *self._missing(listed.rows, sources), *self._mixtures(listed.rows)]
        absent = {stem: frozenset(tracks) for stem, tracks in (self.absent or {}).items()}
        listed.messages += self._not_unknown(listed.rows, sources, absent)
        used = [row for row in listed.rows if any(row.files.get(name) for name in sources)]
        splits = splits_of(used, self.valid, self.test)
        left_out = listed.left_out | {row.track: ONLY_A_MIXTURE for row in listed.rows if row.track not in splits}
        tracks = [self._track(row, splits[row.track], sources, absent) for row in used]
        return Listing(tracks, left_out, listed.messages, refused, any(row.split for row in listed.rows))

    def fetch(self, root: Path) -> None:
        """Raise an InputError if the root is missing or empty: the data set is the user's own and cannot be downloaded."""
        require_files(root, "a data set of your own cannot be downloaded", f"Put its tracks into {root}.")

    def _read(self, root: Path) -> "_Listed":
        if self.manifest is not None:
            return _Listed(read_manifest(root / self.manifest))
        if self.sources is None:
            return _with_one_spelling(_read_folders(root, None), self.mixture)
        patterns = read_patterns(root / self.sources) if isinstance(self.sources, str) else self.sources
        return self._check_matches(_read_folders(root, SourcePatterns(patterns)), patterns)

    def _check_matches(self, listed: "_Listed", patterns: Patterns) -> "_Listed":
        """Add an error for each source whose patterns match no file. For the mixture, add a message instead of an error."""
        has_errors = bool(listed.refused)  # such as a file that matches two sources and is not yet assigned to either
        for name in patterns:
            if any(row.files.get(name) for row in listed.rows):
                continue
            if name == self.mixture:
                listed.messages.append(
                    f"{name}: the patterns match no file of any track, each mixture is the sum of its sources"
                )
            elif not has_errors:
                error = InputError(f"sources.{name}", "the patterns match no file of any track", found=f"{patterns[name]}")
                listed.refused.append(error)
        return listed

    def _missing(self, rows: Sequence[ManifestRow], sources: Sequence[str]) -> list[InputError]:
        """Return one error if only some tracks have a stem; none if the option `missing` is not `error`."""
        lacking = {name: [row for row in rows if not row.files.get(name)] for name in sources}
        lacking = {name: without for name, without in lacking.items() if 0 < len(without) < len(rows)}
        if self.missing != "error" or not lacking:
            return []
        name, without = next(iter(lacking.items()))
        where, problem = without[0].where, f"the track lacks the stem '{name}', but other tracks have this stem"
        found = f"{len(without)} of {len(rows)} tracks without it: {few(row.track for row in without)}"
        if len(lacking) > 1:
            where, problem = "missing", f"some tracks lack stems that other tracks have ({len(lacking)} stems)"
            found = few(
                (f"'{name}' in {len(rows) - len(without)} of {len(rows)} tracks" for name, without in lacking.items()), 6
            )
        is_free = len(lacking) > 1 and self.sources is None and self.manifest is None
        patterns = proposed([name for row in rows for name in row.files]) if is_free else ""
        hint = (
            "data.layout.missing=silence makes missing stems silent, data.layout.missing=unknown leaves them out of losses and "
            "scores, data.layout.sources assigns file names to sources"
        )
        hint += f', for example "data.layout.sources={patterns}"' if patterns else ""
        return [InputError(where, problem, found=found, expected="a file in each track", hint=hint)]

    def _not_unknown(self, rows: Sequence[ManifestRow], sources: Sequence[str], absent: Mapping[str, Set[str]]) -> list[str]:
        """Return a message about tracks whose missing stems are silent, because the tracks lack a mixture file."""
        lacking = {
            row.track: [name for name in sources if not row.files.get(name) and row.track not in absent.get(name, ())]
            for row in rows
            if self.missing == "unknown" and not row.files.get(self.mixture)
        }
        texts = [f"{track} ({', '.join(names)})" for track, names in lacking.items() if names]
        problem = "no mixture file, so the mixture is the sum of the stems, and missing stems are silence, not unknown"
        return [f"{problem}: {len(texts)} tracks: {few(texts)}"] if texts else []

    def _check_absent(self, rows: Sequence[ManifestRow], sources: Sequence[str]) -> None:
        """Check the stems and the tracks in the option `absent`. The tracks must exist, and must lack a file of the stem."""
        files = {row.track: row.files for row in rows}
        for stem, tracks in (self.absent or {}).items():
            if stem not in sources:
                raise InputError("absent", f"the data set lacks the stem '{stem}'", hint=unknown(stem, sources))
            for track in tracks:
                if track not in files:
                    raise InputError(f"absent.{stem}", f"the data set lacks the track '{track}'", hint=unknown(track, files))
                if paths := files[track].get(stem):
                    problem = f"the track '{track}' has a file of the stem '{stem}'"
                    raise InputError(f"absent.{stem}", problem, found=paths[0], expected="a track without this file")

    def _mixtures(self, rows: Sequence[ManifestRow]) -> list[InputError]:
        """Return an error for each track that has several mixture files."""
        files = {row.where: row.files.get(self.mixture, ()) for row in rows}
        return [
            InputError(
                where,
                f"the track has several files of '{self.mixture}'",
                found=few(path.name for path in paths),
                expected="one",
            )
            for where, paths in files.items()
            if len(paths) > 1
        ]

    def _track(self, row: ManifestRow, split: Split, sources: Sequence[str], absent: Mapping[str, Set[str]]) -> Track:
        mixture = row.files.get(self.mixture, ())
        # With missing=error, a track without a file of each source is refused, and the dry run lists only its files.
        listed = [name for name in sources if self.missing != "error" or row.files.get(name)]
        streams = {name: tuple(AudioStream(path) for path in row.files.get(name, ())) for name in listed}
        missing = [name for name, parts in streams.items() if not parts and row.track not in absent.get(name, ())]
        unknown = tuple(missing) if self.missing == "unknown" and mixture else ()
        known = {name: parts for name, parts in streams.items() if name not in unknown}
        file = AudioStream(mixture[0]) if mixture else None
        return Track(row.track, split, known, file, lengths=self.lengths, unknown=unknown)


@dataclass
class _Listed:
    """Result of reading the folder of a data set: the files of each track (`rows`), excluded tracks, messages and errors."""

    rows: list[ManifestRow]
    left_out: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    refused: list[InputError] = field(default_factory=list)


def _read_folders(root: Path, patterns: SourcePatterns | None) -> _Listed:
    """List the audio files of each track folder. With patterns, the subfolders of a track folder are searched too."""
    listed = _Listed([], outside_splits(root))
    for name, split, folder in _track_folders(root):
        try:
            candidates = (audio_files if patterns is None else audio_files_below)(folder)
            files, messages = preferred(candidates, folder, ignore_case=True)
        except InputError as error:
            listed.refused.append(error)
            continue
        listed.messages += messages
        if not files:
            in_subfolders = patterns is None and audio_files_below(folder)
            listed.left_out[name] = AUDIO_IN_SUBFOLDERS if in_subfolders else NO_AUDIO_FILE
        elif patterns is None:
            listed.rows.append(ManifestRow(name, split, {stem: (path,) for stem, path in files.items()}, str(folder)))
        else:
            assigned = patterns.assign(files.values(), folder)
            listed.rows.append(ManifestRow(name, split, assigned.files, str(folder)))
            listed.messages += [f"{path}: matches no source and is not used" for path in assigned.unmatched]
            listed.refused += _ambiguous(assigned)
    if not listed.rows:
        if listed.refused:
            raise listed.refused[0]
        raise InputError(
            root, "the folder contains no tracks", found=list_contents(root), expected="a folder of audio files for each track"
        )
    return listed


def _track_folders(root: Path) -> list[tuple[str, Split | None, Path]]:
    """Return name, split and folder of each track. If a name occurs in several splits, the split is put before the name."""
    places: list[tuple[Split | None, Path]] = [*split_folders(root).items()] or [(None, root)]
    folders = [(normalised(folder.name), split, folder) for split, place in places for folder in subfolders(place)]
    counts = Counter(name for name, _, _ in folders)
    named = [(f"{split} - {name}" if split and counts[name] > 1 else name, split, folder) for name, split, folder in folders]
    used_names: dict[str, Path] = {}
    for name, _, folder in named:
        if name in used_names:
            raise InputError(
                folder,
                f"the track has the same name as {used_names[name]}",
                found=name,
                expected="different names",
                hint="Rename one of the two folders",
            )
        used_names[name] = folder
    return named


def _with_one_spelling(listed: _Listed, mixture: str) -> _Listed:
    """Rename stems whose names differ only in upper and lower case. A stem then has the same name in all tracks."""
    spellings: dict[str, set[str]] = {mixture.casefold(): {mixture}}
    for row in listed.rows:
        for stem in row.files:
            spellings.setdefault(stem.casefold(), set()).add(stem)
    names = {folded: mixture if folded == mixture.casefold() else folded for folded, same in spellings.items() if len(same) > 1}
    for folded, name in names.items():
        listed.messages.append(f"{', '.join(sorted(spellings[folded]))}: spellings of one stem, '{name}'")
    listed.rows = [
        replace(row, files={names.get(stem.casefold(), stem): paths for stem, paths in row.files.items()})
        for row in listed.rows
    ]
    return listed


def _ambiguous(assigned: Assignment) -> list[InputError]:
    return [
        InputError(
            path,
            "the file matches the patterns of several sources",
            found=" and ".join(f"{name} ('{text}')" for name, text in texts.items()),
            expected="one source",
            hint="Make a pattern narrower, or exclude files from a source with a pattern such as '!*vox*'.",
        )
        for path, texts in assigned.ambiguous.items()
    ]
