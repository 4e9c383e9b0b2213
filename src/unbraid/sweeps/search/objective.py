"""Read the objective of a trial (the value that a search optimizes) from `metrics.csv` or `scores.json` in the run folder."""

from pathlib import Path

from unbraid.runs.errors import InputError, unknown
from unbraid.runs.metrics_reader import epochs, figures, number_in
from unbraid.runs.scores import read_scores
from unbraid.sweeps.search.options import OBJECTIVE, SCORED


class UndefinedError(InputError):
    """Report that the objective of a run (the value to optimize) has no finite value."""


def objective_of(folder: Path, name: str, direction: str) -> float:
    """Read the objective of a finished run: the best value in a column of `metrics.csv`, or a test score in `scores.json`.

    A missing column or score raises `InputError`. A column or score without a finite value raises `UndefinedError`.

    Args:
        folder: run folder.
        name: column of `metrics.csv`, or `test/<measure>/<target>` for a score in `scores.json`.
        direction: `minimize` (the lowest value is the best) or `maximize`.

    Returns:
        The value of the objective.
    """
    return _score(folder, name) if name.startswith(SCORED) else _best_epoch(folder, name, direction)


def _best_epoch(folder: Path, name: str, direction: str) -> float:
    path, rows = folder / "metrics.csv", epochs(folder)
    if not rows or name not in rows[0]:
        raise InputError(
            f"{OBJECTIVE}={name}", f"this column is missing in {path}", hint=unknown(name, rows[0] if rows else ())
        )
    values = [value for row in rows if (value := number_in(row[name])) is not None]
    if not values:
        raise UndefinedError(f"{OBJECTIVE}={name}", f"this column contains no finite value in {path}")
    return min(values) if direction == "minimize" else max(values)


def _score(folder: Path, name: str) -> float:
    path = folder / "scores.json"
    scores = figures(read_scores(path))
    known = {f"{SCORED}{measure}/{target}": value for (target, measure), value in scores.items()}
    if name not in known:
        raise InputError(f"{OBJECTIVE}={name}", f"this score is missing in {path}", hint=unknown(name, known))
    if (value := known[name]) is None:
        raise UndefinedError(f"{OBJECTIVE}={name}", f"this score is undefined in {path}")
    return float(value)
