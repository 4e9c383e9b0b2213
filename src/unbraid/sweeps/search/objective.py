"""The objective of a trial, read from the folder of its run: the same under every launcher."""

from pathlib import Path

from unbraid.runs.errors import InputError, unknown
from unbraid.runs.metrics_reader import epochs, figures, number_in
from unbraid.runs.scores import read_scores
from unbraid.sweeps.search.options import OBJECTIVE, SCORED


class UndefinedError(InputError):
    """The run has the objective, but not one number of it."""


def objective_of(folder: Path, name: str, direction: str) -> float:
    """Of a run that is done: the best value over its epochs, or a score of its test data.

    Raises:
        InputError: the run has no such objective; known ones are listed.
        UndefinedError: it has no number of it.
    """
    return _score(folder, name) if name.startswith(SCORED) else _best_epoch(folder, name, direction)


def _best_epoch(folder: Path, name: str, direction: str) -> float:
    path, rows = folder / "metrics.csv", epochs(folder)
    if not rows or name not in rows[0]:
        raise InputError(f"{OBJECTIVE}={name}: is no column of {path}; {unknown(name, rows[0] if rows else ())}")
    values = [value for row in rows if (value := number_in(row[name])) is not None]
    if not values:
        raise UndefinedError(f"{OBJECTIVE}={name}: has no value in any epoch of {path}")
    return min(values) if direction == "minimize" else max(values)


def _score(folder: Path, name: str) -> float:
    path = folder / "scores.json"
    found = figures(read_scores(path))
    known = {f"{SCORED}{measure}/{target}": value for (target, measure), value in found.items()}
    if name not in known:
        raise InputError(f"{OBJECTIVE}={name}: is no score of {path}; {unknown(name, known)}")
    if (value := known[name]) is None:
        raise UndefinedError(f"{OBJECTIVE}={name}: is undefined in {path}")
    return float(value)
