"""Songs in two versions: the mixture and its instrumental; the vocals are what the one has more than the other.

Files are paired by name, never by their order. Both versions must be aligned sample for sample, as they are where they come
from one session; a difference of two differently mastered releases is no voice. The store measures it (see `health`) and pairs
that are not aligned are left out; of unequal lengths the shorter one counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unbraid.data.layouts.folders import audio_files, by_name, found_in, must_be_there
from unbraid.data.layouts.manifest import Row, read_manifest, splits_of
from unbraid.data.tracks import AudioStream, Choice, Listing, Split, Track
from unbraid.errors import InputError, unknown


@dataclass(frozen=True)
class Pairs:
    """Two folders with files of the same names, or a table of pairs.

    Args:
        mixture: folder of the mixtures, or column of `pairs`.
        instrumental: folder of the instrumental versions, or column of `pairs`.
        pairs: a CSV or JSONL file (see `manifest.py`) to read instead of folders, relative to the root.
        valid: names of the validation pairs, or their share; not used where `pairs` has a column `split`.
        test: names of the test pairs, or their share; not used where `pairs` has a column `split`.
    """

    mixture: str
    instrumental: str
    pairs: str | None
    valid: Choice
    test: Choice

    def __post_init__(self) -> None:
        if self.mixture == self.instrumental:
            raise InputError(f"mixture and instrumental are both '{self.mixture}', expected two names")

    def tracks(self, root: Path) -> Listing:
        rows = self._read_folders(root) if self.pairs is None else self._read_table(root / self.pairs)
        sides = (self.mixture, self.instrumental)
        left_out = {row.track: f"has no {side}" for side in sides for row in rows if not row.files.get(side)}
        whole = [row for row in rows if row.track not in left_out]
        if not whole:
            raise InputError(f"{root}: holds no pair, expected files of the same name as {sides[0]} and as {sides[1]}")
        splits = splits_of(whole, self.valid, self.test)
        return Listing([self._track(row, splits[row.track]) for row in whole], left_out)

    def fetch(self, root: Path) -> None:
        must_be_there(root, f"there is nothing to download for pairs of your own; put the two folders at {root}")

    def _read_folders(self, root: Path) -> list[Row]:
        sides = {side: root / side for side in (self.mixture, self.instrumental)}
        for folder in sides.values():
            if not folder.is_dir():
                raise InputError(f"{root}: expected the folders {' and '.join(sides)}, found {found_in(root)}")
        files = {side: by_name(audio_files(folder), folder) for side, folder in sides.items()}
        names = sorted({name for side in files.values() for name in side})
        return [
            Row(name, None, {side: (files[side][name],) for side in sides if name in files[side]}, f"{root}, '{name}'")
            for name in names
        ]

    def _read_table(self, path: Path) -> Sequence[Row]:
        rows = read_manifest(path)
        columns = (self.mixture, self.instrumental)
        for row in rows:
            for name in row.files:
                if name not in columns:
                    raise InputError(
                        f"{row.where}: there is no use for '{name}'; {unknown(name, ('track', 'split', *columns))}"
                    )
        for name in columns:
            if not any(name in row.files for row in rows):
                raise InputError(f"{path}: has no column '{name}', expected track, {', '.join(columns)}")
        return rows

    def _track(self, row: Row, split: Split) -> Track:
        mixture = row.one(self.mixture)
        assert mixture, "rows without one are left out"
        instrumental = tuple(AudioStream(path) for path in row.files[self.instrumental])
        return Track(row.track, split, {"accompaniment": instrumental}, AudioStream(mixture), "vocals", lengths="trim")
