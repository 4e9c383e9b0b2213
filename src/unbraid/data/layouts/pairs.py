"""List songs in two versions, the mixture and its instrumental. The vocals are the mixture minus the instrumental.

Files are paired by name, not by their order. Both versions must be aligned exactly, to the sample. The
difference of two differently mastered releases does not contain a clean voice. `data/health/alignment.py` measures the
alignment after decoding; pairs that are not aligned are excluded. If the lengths of the two versions differ, the longer version
is cut.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unbraid.data.excluded_tracks import missing
from unbraid.data.layouts.folders import audio_files, audio_files_below, list_contents, normalised, preferred, require_files
from unbraid.data.layouts.manifest import ManifestRow, read_manifest, splits_of
from unbraid.data.layouts.patterns import Pattern
from unbraid.data.tracks import AudioStream, Choice, Listing, Split, Track
from unbraid.runs.errors import InputError, unknown

SHORT = {"mixture": ("mix",), "instrumental": ("instr", "inst")}  # common abbreviations of the default names
SEPARATORS = "_", "-", " ", ".", "/"  # the last one is for a folder per pair


@dataclass(frozen=True)
class Pairs:
    """List songs that have two files each: the mixture and its instrumental version.

    The two files of a song are called a pair.

    Args:
        mixture: where the mixtures are. If `pairs` is set: name of a column of the table. Otherwise, a text with `*` is a
            pattern (see `patterns.py`) for files in any folder below the root; `*` stands for the name of the pair. A text
            without `*` is the name of a folder. If this folder does not exist, the text is the ending of file names such as
            `<name>_mixture.wav`.
        instrumental: where the instrumental versions are, in the same form as `mixture`.
        pairs: CSV or JSONL file (see `manifest.py`) that is read instead of folders, relative to the root.
        valid: list of the names of the validation pairs, or the share of all pairs that is drawn for validation. Unused if the
            table has a column `split`.
        test: list of the names of the test pairs, or the share of all pairs that is drawn for testing. Unused if the table has
            a column `split`.

    Raises:
        InputError: `mixture` and `instrumental` are equal.
    """

    mixture: str
    instrumental: str
    pairs: str | None
    valid: Choice
    test: Choice

    def __post_init__(self) -> None:
        if self.mixture == self.instrumental:
            raise InputError(
                "mixture",
                "`mixture` and `instrumental` have the same value",
                found=self.mixture,
                expected="two different names",
            )

    def tracks(self, root: Path) -> Listing:
        """List the pairs under the root. A pair is excluded if one of its two files is missing.

        Args:
            root: folder of the data set.

        Returns:
            The tracks, excluded tracks with their reasons, and messages about unused files.

        Raises:
            InputError: the root contains no pair, the table is invalid, or a pair has two mixtures or two instrumentals.
        """
        sides = (self.mixture, self.instrumental)
        rows, messages = self._read_files(root) if self.pairs is None else (self._read_table(root / self.pairs), [])
        left_out = {row.track: missing(side) for side in sides for row in rows if not row.files.get(side)}
        complete = [row for row in rows if row.track not in left_out]
        if not complete:
            columns = f"a line with files in the columns '{sides[0]}' and '{sides[1]}'"
            expected = _expected(sides) if self.pairs is None else columns
            raise InputError(root, "the data set contains no complete pair", expected=expected)
        splits = splits_of(complete, self.valid, self.test)
        tracks = [self._track(row, splits[row.track]) for row in complete]
        return Listing(tracks, left_out, messages, own_splits=any(row.split for row in rows))

    def fetch(self, root: Path) -> None:
        """Raise an InputError if the root is missing or empty: the pairs are the user's own and cannot be downloaded."""
        require_files(root, "pairs of your own cannot be downloaded", f"Put the two folders into {root}.")

    def _read_files(self, root: Path) -> tuple[Sequence[ManifestRow], list[str]]:
        """Return the files of each pair (mixture and instrumental), and messages about files that are not used."""
        sides = (self.mixture, self.instrumental)
        files: dict[str, dict[str, Path]] = {}
        messages = []
        if all((root / side).is_dir() for side in sides):
            for side in sides:
                files[side], side_messages = preferred(audio_files(root / side), root / side)
                messages += side_messages
        else:
            candidates, messages = preferred(audio_files_below(root), root)
            files = {side: _ending_in(candidates.values(), side, root) for side in sides}
            used = {path for named in files.values() for path in named.values()}
            unused = [path for path in candidates.values() if path not in used]
            messages += [f"{path}: is not used, its name is neither a mixture's nor an instrumental's" for path in unused]
        if not any(files.values()):
            raise InputError(root, "the folder contains no pair", found=list_contents(root), expected=_expected(sides))
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
                    hint = unknown(name, ("track", "split", *columns))
                    raise InputError(row.where, "the table of pairs has an unknown column", found=name, hint=hint)
        for name in columns:
            if not any(name in row.files for row in rows):
                raise InputError(path, f"the table lacks column '{name}'", expected=f"the columns track, {', '.join(columns)}")
        return rows

    def _track(self, row: ManifestRow, split: Split) -> Track:
        mixture = row.single_file(self.mixture)
        assert mixture, "rows without a mixture are excluded"
        instrumental = tuple(AudioStream(path) for path in row.files[self.instrumental])
        return Track(row.track, split, {"accompaniment": instrumental}, AudioStream(mixture), "vocals", lengths="trim")


def _ending_in(files: Iterable[Path], side: str, root: Path) -> dict[str, Path]:
    """Find one of the two files of each pair: the mixture or the instrumental version. Return a dictionary from pair to file.

    `side` is the option `mixture` or `instrumental` of `Pairs`. An InputError is raised if a pair has two files of this kind.
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
            raise InputError(
                path, f"the pair '{name}' already has the {side} file {named[name].name}", hint="Remove one of the two files"
            )
        named[name] = path
    return named


def _pair_name(pattern: Pattern, path: Path, root: Path) -> str | None:
    """Return the name of the pair to which a file belongs, or None if the pattern does not match the file.

    The name is the text that the first `*` of the pattern matches. If the pattern lacks a `/`, the names of the file's folders
    are put before this text.
    """
    match = pattern.match(path, root)
    if match is None:
        return None
    parts = match[1].split("/") if pattern.whole_path else (*path.parent.relative_to(root).parts, match[1])
    return normalised(" - ".join(parts))


def _expected(sides: tuple[str, str]) -> str:
    if any("*" in side for side in sides):
        return f"pairs of files named {sides[0]} and {sides[1]}, where * is the name of the pair"
    a, b = sides
    return f"files with the same names in the folders '{a}' and '{b}', or pairs of files <name>_{a}.* and <name>_{b}.*"
