"""Read tables of tracks in CSV or JSONL: each row lists the files of one track.

The first line of a CSV file contains the column names. Each line of a JSONL file is a JSON object. The keys of the object are
the column names. A value in a JSONL file may be a list of files. The files of a list are summed. The column `track` contains
the name of the track. The optional column `split` contains the split of the track. All other columns contain paths of files,
relative to the folder of the table.
"""

import csv
import io
import json
import os
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
    """Row of a table of tracks: the name, the split and the files of one track.

    Args:
        track: name of the track.
        split: split of the track, None if the table lacks a column `split`.
        files: dictionary from the name of each column (the mixture or a source) to the paths of the files in this column.
        where: file and line of the row, for error messages.
    """

    track: str
    split: Split | None
    files: Mapping[str, tuple[Path, ...]]
    where: str

    def single_file(self, column: str) -> Path | None:
        """Return the file of a column that must not contain more than one file.

        Args:
            column: name of the column.

        Returns:
            The file, or None if the cell is empty.

        Raises:
            InputError: the cell lists several files.
        """
        files = self.files.get(column, ())
        if len(files) > 1:
            raise InputError(self.where, f"column '{column}' lists several files", found=len(files), expected="one file")
        return files[0] if files else None


def splits_of(rows: Sequence[ManifestRow], valid: Choice, test: Choice) -> dict[str, Split]:
    """Return the split of each track. Without a column `split` in the table, `valid` and `test` define the splits.

    If the table has the column `split`, and `valid` or `test` is a list, an `InputError` is raised.

    Args:
        rows: rows of all tracks.
        valid: list of the names of the validation tracks, or the share of all tracks that is drawn for validation.
        test: list of the names of the test tracks, or the share of all tracks that is drawn for testing.

    Returns:
        A dictionary from the name of each track to its split.
    """
    given = {row.track: row.split for row in rows if row.split}
    if given:
        refuse_ids(valid, test)
    return given or split_of([row.track for row in rows], valid, test)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read all rows of a table of tracks.

    Args:
        path: path of a CSV or JSONL file.

    Returns:
        The rows in the order of the file.

    Raises:
        InputError: the file cannot be read, is empty, or has an invalid line.
    """
    readers = {".csv": _csv_lines, ".jsonl": _jsonl_lines}
    if path.suffix.lower() not in readers:
        raise InputError(path, "the table of tracks has an unknown format", expected="a file name that ends in .csv or .jsonl")
    cells = dict(readers[path.suffix.lower()](path, _text(path)))
    if not cells:
        raise InputError(path, "the table of tracks is empty", expected="one line for each track")
    with_splits = any("split" in row for row in cells.values())
    rows: dict[str, ManifestRow] = {}
    for where, row in cells.items():
        track = _track(row, where)
        if track in rows:
            raise InputError(
                where, f"the track is already listed in {rows[track].where}", found=track, expected="each track once"
            )
        split = _split(row, where) if with_splits else None
        files = {name: _files(path.parent, name, row[name], where) for name in row if name not in ("track", "split")}
        rows[track] = ManifestRow(track, split, files, where)
    return list(rows.values())


def read_recordings(path: Path) -> dict[str, list[Path]]:
    """Read a CSV file with one recording in each line. The column `instrum` is the instrument, the column `path` is the file.

    Args:
        path: path of the CSV file. The paths in the file are relative to the folder of the file.

    Returns:
        A dictionary from the name of each instrument to its files.

    Raises:
        InputError: the file is empty or has an invalid line.
    """
    recordings: dict[str, list[Path]] = {}
    for where, row in _csv_lines(path, _text(path), ("instrum", "path")):
        files = _files(path.parent, "path", (_single(row, "path", where),), where)
        recordings.setdefault(_single(row, "instrum", where), []).extend(files)
    if not recordings:
        raise InputError(path, "the table of recordings is empty", expected="one line for each recording")
    return recordings


def _text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read()
    except FileNotFoundError as error:
        raise InputError(path, "no such file", expected="a table of tracks") from error
    try:
        return data.decode("utf-8-sig")  # spreadsheets write a byte order mark at the start
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}", "the line is not encoded in UTF-8", expected="a text file in UTF-8") from error


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
                expected = f"one cell for each of the {len(columns)} columns {', '.join(columns)}"
                raise InputError(where, "the line has the wrong number of cells", found=len(cells), expected=expected)
            else:
                yield where, {name: (cell,) if cell else () for name, cell in zip(columns, cells, strict=True)}
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}", f"the line is not valid CSV: {error}") from error


def _columns(names: list[str], where: str, required: Sequence[str]) -> list[str]:
    for name in required:
        if name not in names:
            raise InputError(where, f"the table lacks column '{name}'", found=", ".join(names))
    if "" in names:
        raise InputError(
            where, f"column {names.index('') + 1} lacks a name", expected="'track', 'split' or the name of a source"
        )
    for name in names:
        if names.count(name) > 1:
            raise InputError(where, f"several columns have the name '{name}'", found=names.count(name), expected="one column")
    return names


def _jsonl_lines(path: Path, text: str) -> Iterator[tuple[str, Cells]]:
    for number, line in ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()):
        where = f"{path}, line {number}"
        value = parse_json(line.encode(), where)
        if not isinstance(value, dict):
            raise InputError(
                where, "the line is not a JSON object", found=line.strip()[:40], expected='an object such as {"track": …}'
            )
        yield where, {name: _strings(cell, name, where) for name, cell in value.items()}


def _strings(cell: Any, name: str, where: str) -> tuple[str, ...]:
    parts = cell if isinstance(cell, list) else [] if cell is None or cell == "" else [cell]
    if not all(isinstance(part, str) and part for part in parts):
        expected = "a text, a list of texts or null"
        raise InputError(where, f"column '{name}' has an invalid value", found=json.dumps(cell), expected=expected)
    return tuple(parts)


def _single(row: Cells, name: str, where: str) -> str:
    values = row.get(name, ())
    if len(values) != 1:
        raise InputError(where, f"column '{name}' has the wrong number of values", found=len(values), expected="one value")
    return values[0]


def _track(row: Cells, where: str) -> str:
    track = _single(row, "track", where)
    if Path(track).name != track or track == "..":  # scores and audio are written to folders with this name
        raise InputError(
            where,
            "the name of the track cannot be the name of a folder",
            found=track,
            expected="a name without '/', and not '..'",
        )
    return track


def _split(row: Cells, where: str) -> Split:
    name = _single(row, "split", where)
    split = next((split for split in SPLITS if split == name), None)
    if split is None:
        raise InputError(where, "the split is unknown", found=name, hint=unknown(name, SPLITS))
    return split


def _files(folder: Path, name: str, cells: tuple[str, ...], where: str) -> tuple[Path, ...]:
    files = tuple(folder / cell for cell in cells)
    for path in files:
        if not os.path.isfile(path):  # noqa: PTH113  # `Path.is_file` raises OSError for a name that is too long
            raise InputError(where, f"column '{name}' contains the path of a missing file", found=path)
    return files
