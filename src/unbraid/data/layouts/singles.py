"""Recordings of single sources that do not belong together: voices here, pianos there. Mixtures are made of any of them.

In training each file is a track of one source, for the sampler to mix. Validation and test are songs that stay fixed as long as
the files are the same.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from unbraid.data.layouts.folders import audio_files_below, found_in, must_be_there, preferred, split_folders, subfolders
from unbraid.data.tracks import SPLITS, AudioStream, Choice, Listing, Split, Track, refuse_ids, split_of
from unbraid.runs.errors import InputError, unknown

Files = dict[str, dict[str, Path]]  # by source, then by name


@dataclass(frozen=True)
class Singles:
    """`{train,valid,test}/<source>/**/<any audio file>`, or the same without split folders.

    Args:
        valid: names of the validation files, or their share of each source; not used where there are split folders.
        test: names of the test files, or their share of each source; not used where there are split folders.
    """

    valid: Choice
    test: Choice

    def tracks(self, root: Path) -> Listing:
        folders = split_folders(root)
        if folders:
            refuse_ids(self.valid, self.test)
        messages: list[str] = []
        by_split = {split: _files(folder, messages) for split, folder in folders.items()}
        files = by_split or self._choose(_files(root, messages))
        sources = sorted({source for split in files.values() for source in split})
        if not sources:
            raise InputError(f"{root}: expected a folder of audio files for each source, found {found_in(root)}")
        for split, found in files.items():
            for source in sources:
                if found and not found.get(source):
                    raise InputError(
                        f"{root}: the {split} split has no file of '{source}', expected at least one of each source"
                    )
        stray = [path.name for path in subfolders(root) if folders and path.name not in folders]
        tracks = _single_tracks(files.get("train", {})) + _songs("valid", files.get("valid", {}))
        tracks += _songs("test", files.get("test", {}))
        return Listing(tracks, dict.fromkeys(stray, "lies beside the split folders"), messages, own_splits=bool(folders))

    def fetch(self, root: Path) -> None:
        must_be_there(root, f"there is nothing to download for a data set of your own; put a folder per source at {root}")

    def _choose(self, files: Files) -> dict[Split, Files]:
        """Files by split; each source gives its own share."""
        names = {name for found in files.values() for name in found}
        for option, choice in (("valid", self.valid), ("test", self.test)):
            for name in choice if isinstance(choice, list) else []:
                if name not in names:
                    raise InputError(f"{option}: the data has no file '{name}'; {unknown(name, names)}")
        chosen: dict[Split, Files] = {split: {} for split in SPLITS}
        for source, found in files.items():
            splits = split_of(found, _of(self.valid, found), _of(self.test, found))
            for name, split in splits.items():
                chosen[split].setdefault(source, {})[name] = found[name]
        return chosen


def _of(choice: Choice, names: Mapping[str, Path]) -> Choice:
    return [name for name in choice if name in names] if isinstance(choice, list) else choice


def _files(folder: Path, messages: list[str]) -> Files:
    """Return the files in the folder of each source, and add messages on those that are not used."""
    found: Files = {}
    for source in subfolders(folder):
        files, unused = preferred(audio_files_below(source), source)
        messages += unused
        found |= {source.name: files} if files else {}
    return found


def _single_tracks(files: Files) -> list[Track]:
    return [
        Track(f"{source} - {name}", "train", {source: (AudioStream(path),)})
        for source, found in files.items()
        for name, path in found.items()
    ]


def _songs(split: Split, files: Files) -> list[Track]:
    """As many songs as the source with most files has; the others begin again.

    The order is that of a hash, since in that of the names files of the same number might meet.
    """
    count = max((len(found) for found in files.values()), default=0)
    shuffled = {source: sorted(found, key=lambda name: _hash(source, name)) for source, found in files.items()}
    picked = {source: list(islice(cycle(names), count)) for source, names in shuffled.items()}
    return [
        Track(
            f"{split} {k + 1:04d}",
            split,
            {source: (AudioStream(files[source][names[k]]),) for source, names in picked.items()},
            lengths="trim",
        )
        for k in range(count)
    ]


def _hash(source: str, name: str) -> bytes:
    return hashlib.sha256(f"{source}/{name}".encode()).digest()
