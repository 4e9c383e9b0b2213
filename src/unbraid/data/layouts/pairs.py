"""Songs in two versions: the mixture and its instrumental; the vocals are what the one has more than the other.

Files are paired by name, never by their order. Both versions must be aligned sample for sample, as they are where they come
from one session; a difference of two differently mastered releases is no voice. The store measures it (see `health`) and pairs
that are not aligned are left out; of unequal lengths the shorter one counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unbraid.data.layouts.folders import audio_files, audio_files_below, found_in, must_be_there, normalised, preferred
from unbraid.data.layouts.manifest import ManifestRow, read_manifest, splits_of
from unbraid.data.layouts.patterns import Pattern
from unbraid.data.tracks import AudioStream, Choice, Listing, Split, Track
from unbraid.runs.errors import InputError, unknown

SHORT = {"mixture": ("mix",), "instrumental": ("instr", "inst")}  # what people write for the defaults
SEPARATORS = "_", "-", " ", ".", "/"  # the last one: a folder for each pair


@dataclass(frozen=True)
class Pairs:
    """Two folders with files of the same names, files in one folder with two endings, or a table of pairs.

    Args:
        mixture: how mixtures are found. A text with `*` is a pattern (see `patterns.py`) of files anywhere below the root, in
            which `*` stands for the name of the pair. Any other text is a folder, or if there is no such folder the ending of
            file names such as `<name>_mixture.wav`. With `pairs` it is a column.
        instrumental: the same for instrumental versions.
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
        sides = (self.mixture, self.instrumental)
        rows, messages = self._read_files(root) if self.pairs is None else (self._read_table(root / self.pairs), [])
        left_out = {row.track: f"has no {side}" for side in sides for row in rows if not row.files.get(side)}
        whole = [row for row in rows if row.track not in left_out]
        if not whole:
            raise InputError(f"{root}: holds no pair, expected files of the same name as {sides[0]} and as {sides[1]}")
        splits = splits_of(whole, self.valid, self.test)
        tracks = [self._track(row, splits[row.track]) for row in whole]
        return Listing(tracks, left_out, messages, own_splits=any(row.split for row in rows))

    def fetch(self, root: Path) -> None:
        must_be_there(root, f"there is nothing to download for pairs of your own; put the two folders at {root}")

    def _read_files(self, root: Path) -> tuple[Sequence[ManifestRow], list[str]]:
        """Return the files of each pair by side, and messages."""
        sides = (self.mixture, self.instrumental)
        in_folders = all((root / side).is_dir() for side in sides)
        files: dict[str, dict[str, Path]] = {}
        messages = []
        if in_folders:
            for side in sides:
                files[side], of_side = preferred(audio_files(root / side), root / side)
                messages += of_side
        else:
            candidates, messages = preferred(audio_files_below(root), root)
            files = {side: _ending_in(candidates.values(), side, root) for side in sides}
            used = {path for named in files.values() for path in named.values()}
            unused = [path for path in candidates.values() if path not in used]
            messages += [f"{path}: is left out, it is named like neither side" for path in unused]
        if not any(files.values()):
            raise InputError(root, found=found_in(root), expected=_expected(sides))
        names = sorted({name for named in files.values() for name in named})
        return [
            ManifestRow(name, None, {side: (files[side][name],) for side in sides if name in files[side]}, f"{root}, '{name}'")
            for name in names
        ], messages

    def _read_table(self, path: Path) -> Sequence[ManifestRow]:
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

    def _track(self, row: ManifestRow, split: Split) -> Track:
        mixture = row.one(self.mixture)
        assert mixture, "rows without one are left out"
        instrumental = tuple(AudioStream(path) for path in row.files[self.instrumental])
        return Track(row.track, split, {"accompaniment": instrumental}, AudioStream(mixture), "vocals", lengths="trim")


def _ending_in(files: Iterable[Path], side: str, root: Path) -> dict[str, Path]:
    """Return the files of one side by the name of their pair.

    Raises:
        InputError: two files are the same side of one pair.
    """
    endings = (side, *SHORT.get(side, ()))
    texts = [side] if "*" in side else [f"*{separator}{ending}" for ending in endings for separator in SEPARATORS]
    patterns = [Pattern(text) for text in texts]
    named: dict[str, Path] = {}
    for path in files:
        name = next((name for pattern in patterns if (name := _pair_name(pattern, path, root))), None)
        if name is None:
            continue
        if name in named:
            raise InputError(path, f"is the {side} of '{name}', as {named[name].name} is", expected="one file")
        named[name] = path
    return named


def _pair_name(pattern: Pattern, path: Path, root: Path) -> str | None:
    """Return what the first `*` of a pattern stands for, below the folders of the file unless the pattern names these."""
    match = pattern.match(path, root)
    if match is None:
        return None
    parts = match[1].split("/") if pattern.whole_path else (*path.parent.relative_to(root).parts, match[1])
    return normalised(" - ".join(parts))


def _expected(sides: tuple[str, str]) -> str:
    if any("*" in side for side in sides):
        return f"files named {sides[0]} and {sides[1]}"
    return f"the folders {sides[0]} and {sides[1]}, or files <name>_{sides[0]}.* and <name>_{sides[1]}.*"
