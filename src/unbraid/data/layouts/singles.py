"""List recordings of single sources from different songs, such as a folder of voices and a folder of pianos.

Each training file is a track of one source, and the sampler mixes files of different sources. Validation and test songs combine
one file of each source. The songs are the same in every run if the files do not change.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from unbraid.data.excluded_tracks import outside_splits
from unbraid.data.layouts.folders import audio_files_below, list_contents, preferred, require_files, split_folders, subfolders
from unbraid.data.tracks import SPLITS, AudioStream, Choice, Listing, Split, Track, refuse_ids, split_of
from unbraid.runs.errors import InputError, unknown

Files = dict[str, dict[str, Path]]  # by source, then by name


@dataclass(frozen=True)
class Singles:
    """List the files in `{train,valid,test}/<source>/**/<audio file>`, or in `<source>/**/<audio file>`.

    Args:
        valid: list of the names of the validation files, or the share of the files of each source that is used for validation.
            Unused if the data set has the folders `train`, `valid` and `test`.
        test: list of the names of the test files, or the share of the files of each source that is used for testing. Unused if
            the data set has the folders `train`, `valid` and `test`.
    """

    valid: Choice
    test: Choice

    def tracks(self, root: Path) -> Listing:
        """List the files under the root as tracks.

        Args:
            root: folder of the data set.

        Returns:
            The tracks, excluded tracks with their reasons, and messages about unused files.

        Raises:
            InputError: the root lacks folders of audio files, a split lacks a source, or `valid` or `test` is invalid.
        """
        folders = split_folders(root)
        if folders:
            refuse_ids(self.valid, self.test)
        messages: list[str] = []
        by_split = {split: _files(folder, messages) for split, folder in folders.items()}
        files = by_split or self._choose(_files(root, messages))
        sources = sorted({source for split in files.values() for source in split})
        if not sources:
            expected = "a folder of audio files for each source"
            raise InputError(root, "the folder contains no sources", found=list_contents(root), expected=expected)
        for split, split_files in files.items():
            for source in sources:
                if split_files and not split_files.get(source):
                    problem = f"the {split} split lacks a file of the source '{source}'"
                    raise InputError(root, problem, expected="at least one file of each source")
        tracks = _single_tracks(files.get("train", {})) + _songs("valid", files.get("valid", {}))
        tracks += _songs("test", files.get("test", {}))
        return Listing(tracks, outside_splits(root), messages, own_splits=bool(folders))

    def fetch(self, root: Path) -> None:
        """Raise an InputError if the root is missing or empty: the data set is the user's own and cannot be downloaded."""
        require_files(root, "a data set of your own cannot be downloaded", f"Put a folder for each source into {root}.")

    def _choose(self, files: Files) -> dict[Split, Files]:
        """Divide the files into splits, as `valid` and `test` determine. A share is drawn from each source separately."""
        names = {name for source_files in files.values() for name in source_files}
        for option, choice in (("valid", self.valid), ("test", self.test)):
            for name in choice if isinstance(choice, list) else []:
                if name not in names:
                    raise InputError(option, f"the data set contains no file named '{name}'", hint=unknown(name, names))
        chosen: dict[Split, Files] = {split: {} for split in SPLITS}
        for source, source_files in files.items():
            splits = split_of(source_files, _choice_among(self.valid, source_files), _choice_among(self.test, source_files))
            for name, split in splits.items():
                chosen[split].setdefault(source, {})[name] = source_files[name]
        return chosen


def _choice_among(choice: Choice, names: Mapping[str, Path]) -> Choice:
    return [name for name in choice if name in names] if isinstance(choice, list) else choice


def _files(folder: Path, messages: list[str]) -> Files:
    """Return the audio files of each source folder. If a name exists in several formats, add a message for each unused file."""
    by_source: Files = {}
    for source in subfolders(folder):
        files, unused = preferred(audio_files_below(source), source)
        messages += unused
        by_source |= {source.name: files} if files else {}
    return by_source


def _single_tracks(files: Files) -> list[Track]:
    return [
        Track(f"{source} - {name}", "train", {source: (AudioStream(path),)})
        for source, source_files in files.items()
        for name, path in source_files.items()
    ]


def _songs(split: Split, files: Files) -> list[Track]:
    """Make songs for validation or testing: each song combines one file of each source.

    The number of songs is the number of files of the source with the most files. The files of all other sources are used
    several times. Files are combined in the order of a hash, not in alphabetical order. Otherwise, files with similar names
    would often be in the same song.
    """
    count = max((len(source_files) for source_files in files.values()), default=0)
    picked: dict[str, list[str]] = {}
    for source, named in files.items():
        hashes = {name: hashlib.sha256(f"{source}/{name}".encode()).digest() for name in named}
        picked[source] = list(islice(cycle(sorted(named, key=hashes.__getitem__)), count))
    return [
        Track(
            f"{split} {k + 1:04d}",
            split,
            {source: (AudioStream(files[source][names[k]]),) for source, names in picked.items()},
            lengths="trim",
        )
        for k in range(count)
    ]
