"""Tracks as rows of a table: which files each has, from a CSV or JSONL file.

CSV: the first line names the columns. JSONL: one object per line with the same keys, where a list of files is their sum. The
column `track` is the name and `split`, which may be absent, the split; all others hold files, relative to the table's folder.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unbraid.data.tracks import SPLITS, Choice, Split, refuse_ids, split_of
from unbraid.runs.documents import open_regular, parse_json
from unbraid.runs.errors import InputError, unknown

Cells = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class ManifestRow:
    """A track's files by column, none where the cell is empty; `where` begins a sentence about it."""

    track: str
    split: Split | None
    files: Mapping[str, tuple[Path, ...]]
    where: str

    def one(self, column: str) -> Path | None:
        """The file of a column that cannot be a sum."""
        files = self.files.get(column, ())
        if len(files) > 1:
            raise InputError(f"{self.where}: '{column}' has {len(files)} files, expected one")
        return files[0] if files else None


def splits_of(rows: Sequence[ManifestRow], valid: Choice, test: Choice) -> dict[str, Split]:
    """The split of each track: its own, or drawn where rows have none."""
    own = {row.track: row.split for row in rows if row.split}
    if own:
        refuse_ids(valid, test)
    return own or split_of([row.track for row in rows], valid, test)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Every row of a CSV or JSONL file; InputError with file and line where one cannot be used."""
    readers = {".csv": _csv_lines, ".jsonl": _jsonl_lines}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: expected a manifest that ends in .csv or .jsonl")
    cells = dict(readers[path.suffix.lower()](path, _text(path)))
    if not cells:
        raise InputError(f"{path}: is empty, expected one line for each track")
    with_splits = any("split" in row for row in cells.values())
    rows: dict[str, ManifestRow] = {}
    for where, row in cells.items():
        track = _track(row, where)
        if track in rows:
            raise InputError(f"{where}: the track '{track}' stands in {rows[track].where} too, expected each once")
        split = _split(row, where) if with_splits else None
        files = {name: _files(path.parent, name, row[name], where) for name in row if name not in ("track", "split")}
        rows[track] = ManifestRow(track, split, files, where)
    return list(rows.values())


def read_recordings(path: Path) -> dict[str, list[Path]]:
    """Return the files of each instrument in a CSV file with the columns `instrum` and `path`.

    Args:
        path: path of the CSV file; paths in it are relative to its folder.

    Raises:
        InputError: a line cannot be used, or there is none.
    """
    recordings: dict[str, list[Path]] = {}
    for where, row in _csv_lines(path, _text(path), ("instrum", "path")):
        files = _files(path.parent, "path", (_single(row, "path", where),), where)
        recordings.setdefault(_single(row, "instrum", where), []).extend(files)
    if not recordings:
        raise InputError(path, "empty", expected="one line for each recording")
    return recordings


def _text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read()
    except FileNotFoundError as error:
        raise InputError(path, "no such file", expected="a manifest") from error
    try:
        return data.decode("utf-8-sig")  # spreadsheets put a mark in front
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: is not UTF-8, expected a text file in UTF-8") from error


def _csv_lines(path: Path, text: str, required: Sequence[str] = ("track",)) -> Iterator[tuple[str, Cells]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    try:
        for line in reader:
            where, cells = f"{path}, line {reader.line_num}", [cell.strip() for cell in line]
            if not any(cells):
                continue
            if not columns:
                columns = _columns(cells, where, required)
            elif len(cells) != len(columns):
                raise InputError(f"{where}: has {len(cells)} cells, expected {len(columns)}: {', '.join(columns)}")
            else:
                yield where, {name: (cell,) if cell else () for name, cell in zip(columns, cells, strict=True)}
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: is not CSV: {error}") from error


def _columns(names: list[str], where: str, required: Sequence[str]) -> list[str]:
    for name in required:
        if name not in names:
            raise InputError(f"{where}: has no column '{name}'; found {', '.join(names)}")
    if "" in names:
        raise InputError(f"{where}: column {names.index('') + 1} has no name, expected a source, track or split")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where}: has {names.count(name)} columns '{name}', expected one")
    return names


def _jsonl_lines(path: Path, text: str) -> Iterator[tuple[str, Cells]]:
    for number, line in ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()):
        where = f"{path}, line {number}"
        value = parse_json(line.encode(), where)
        if not isinstance(value, dict):
            raise InputError(f'{where}: found {line.strip()[:40]}, expected an object {{"track": …}}')
        yield where, {name: _strings(cell, name, where) for name, cell in value.items()}


def _strings(cell: Any, name: str, where: str) -> tuple[str, ...]:
    parts = cell if isinstance(cell, list) else [] if cell is None or cell == "" else [cell]
    if not all(isinstance(part, str) and part for part in parts):
        raise InputError(f"{where}: '{name}' is {json.dumps(cell)}, expected text, a list of texts or null")
    return tuple(parts)


def _single(row: Cells, name: str, where: str) -> str:
    values = row.get(name, ())
    if len(values) != 1:
        raise InputError(f"{where}: '{name}' has {len(values)} values, expected one")
    return values[0]


def _track(row: Cells, where: str) -> str:
    track = _single(row, "track", where)
    if Path(track).name != track or track == "..":  # scores and audio lie in folders of that name
        raise InputError(f"{where}: the track is '{track}', expected a name that a folder can have")
    return track


def _split(row: Cells, where: str) -> Split:
    found = _single(row, "split", where)
    split = next((split for split in SPLITS if split == found), None)
    if split is None:
        raise InputError(f"{where}: there is no split '{found}'; {unknown(found, SPLITS)}")
    return split


def _files(folder: Path, name: str, cells: tuple[str, ...], where: str) -> tuple[Path, ...]:
    files = tuple(folder / cell for cell in cells)
    for path in files:
        if not path.is_file():
            raise InputError(f"{where}: '{name}' names {path}, and there is no such file")
    return files
