"""Read the numbers of a run: `metrics.csv`, a row per epoch, and the summary of its scores."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unbraid.runs.documents import read_regular
from unbraid.runs.errors import InputError
from unbraid.runs.scores import LARGEST

MAX_CELLS = 4_000_000  # of a table of epochs


def epochs(folder: Path) -> list[dict[str, str]]:
    """Return the rows of `metrics.csv`, one for each epoch; none before the first has ended.

    Raises:
        InputError: the file is not regular, is too large, or is not a table in UTF-8.
    """
    path = folder / "metrics.csv"
    try:
        text = read_regular(path).decode()
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns, lines = len(reader.fieldnames or ()), text.count("\n")
        if columns * lines > MAX_CELLS:
            raise InputError(path, "too large", found=f"{columns} columns and {lines} lines", expected=f"{MAX_CELLS} cells")
        return list(reader)
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"not a table of epochs: {error}") from error


def number_in(cell: Any) -> float | None:
    """Return the number in a cell of `metrics.csv`, None if it is empty, garbled, not finite or so large that sums are not."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if abs(number) <= LARGEST else None  # NaN is not


def epoch_numbers(folder: Path) -> list[dict[str, float]]:
    """Return the numbers of each epoch in `metrics.csv`; rows without a number of the epoch are left out.

    Raises:
        InputError: see `epochs`.
    """
    read = [{name: number_in(text) for name, text in row.items()} for row in epochs(folder)]
    rows = [{name: number for name, number in row.items() if name and number is not None} for row in read]
    return [row for row in rows if "epoch" in row]


def figures(scores: Mapping[str, Any]) -> dict[tuple[str, str], float | None]:
    """Of each target and measure of a `scores.json`, in the statistic of its protocol; None where it is undefined."""
    statistic = scores.get("protocol", {}).get("tracks", "mean")  # autoencoders have no protocol of tracks
    return {
        (target, measure): values.get(statistic)
        for target, measures in scores["summary"].items()
        for measure, values in measures.items()
    }
