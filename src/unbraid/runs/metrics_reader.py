"""Read the results of a run: `metrics.csv`, with one row for each epoch, and the summary scores from `scores.json`.

`training/callbacks/metrics_csv.py` writes `metrics.csv`.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unbraid.runs.documents import read_regular
from unbraid.runs.errors import InputError
from unbraid.runs.scores import LARGEST

MAX_CELLS = 4_000_000  # of `metrics.csv`


def epochs(folder: Path) -> list[dict[str, str]]:
    """Read the rows (epochs) of `metrics.csv` as texts.

    Args:
        folder: run folder.

    Returns:
        A list of dictionaries from column to cell, one for each epoch; an empty list if the file does not exist yet.

    Raises:
        InputError: the file is not regular, is too large, is not CSV, or is not in UTF-8.
    """
    path = folder / "metrics.csv"
    try:
        text = read_regular(path).decode()
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns, lines = len(reader.fieldnames or ()), text.count("\n")
        if columns * lines > MAX_CELLS:
            raise InputError(
                path,
                "the table is too large",
                found=f"{columns} columns and {lines} lines",
                expected=f"at most {MAX_CELLS} cells",
            )
        return list(reader)
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"the file is not a CSV table: {error}") from error


def number_in(cell: Any) -> float | None:
    """Return the number in a cell of `metrics.csv`; None if the cell is not a finite number up to 1e100."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if abs(number) <= LARGEST else None  # false for NaN


def epoch_numbers(folder: Path) -> list[dict[str, float]]:
    """Read the rows (epochs) of `metrics.csv` as numbers. An invalid file raises `InputError`, see `epochs`.

    Args:
        folder: run folder.

    Returns:
        A list of dictionaries from column to number, one for each epoch. Cells without a finite number, and rows without an
        epoch, are left out.
    """
    cells = [{name: number_in(text) for name, text in row.items()} for row in epochs(folder)]
    rows = [{name: number for name, number in row.items() if name and number is not None} for row in cells]
    return [row for row in rows if "epoch" in row]


def figures(scores: Mapping[str, Any]) -> dict[tuple[str, str], float | None]:
    """Return the summary score of each target and measure: the mean or median over the test tracks, as the protocol states.

    Args:
        scores: content of `scores.json`.

    Returns:
        A dictionary from the pair (target, measure) to the score. An undefined score is None.
    """
    statistic = scores.get("protocol", {}).get("tracks", "mean")  # scores of autoencoders lack this key
    return {
        (target, measure): values.get(statistic)
        for target, measures in scores["summary"].items()
        for measure, values in measures.items()
    }
