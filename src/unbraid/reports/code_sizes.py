"""Write a table and a picture of a sweep (a group of training runs) of autoencoders with different code sizes.

The code is the bottleneck of an autoencoder, and the code size is the number of values in the code. For each code size, the
table and the picture show two test errors: the error of the autoencoder, and the error of PCA. The number of principal
components is equal to the code size.
"""

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from unbraid.evaluation import pictures
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.scores import read_scores
from unbraid.runs.text import echo, write_csv

Scores = dict[str, Any]
COLUMNS = ("code size", "error", "deviation", "PCA", "runs below PCA", "runs")


class CodeSizes(Callback):
    """When a sweep of autoencoders ends, write `code_sizes.csv` and `code_sizes.png` to the folder of the sweep."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Read the scores of all runs of the sweep, write `code_sizes.csv` and `code_sizes.png`, and print the table."""
        folder = Path(config.hydra.sweep.dir)
        runs_by_size: dict[int, dict[Path, Scores]] = {}
        for path in sorted(folder.glob("*/scores.json"), key=lambda path: int(path.parent.name.split("-")[0])):
            scores = read_scores(path)
            runs_by_size.setdefault(_code_size(scores, path), {})[path.parent] = scores
        if not runs_by_size:
            return
        rows = [_row(size, list(runs.values())) for size, runs in sorted(runs_by_size.items())]
        with atomic_write(folder / "code_sizes.csv") as partial, partial.open("w", newline="") as file:
            write_csv(file, COLUMNS, rows)
        first = {size: next(iter(runs)) / "pictures" / "reconstructions.png" for size, runs in sorted(runs_by_size.items())}
        pictures.code_sizes(folder / "code_sizes.png", rows, first)
        _print(rows)
        echo("\nerrors: squared error of a test image or spectrogram frame, mean ± standard deviation over runs")
        echo(f"picture: {folder / 'code_sizes.png'}")


def _code_size(scores: Scores, path: Path) -> int:
    size = scores.get("code_size")
    if not isinstance(size, int):
        problem, expected = "this value is not a code size, so the file does not contain scores of an autoencoder", "an integer"
        raise InputError(f"{path}, code_size", problem, found=repr(size)[:80], expected=expected)
    return size


def _print(rows: list[dict[str, Any]]) -> None:
    """Print a table with one row for each code size: error of the autoencoder, error of PCA, and relative difference."""
    echo(f"\n{'code size':>9}{'autoencoder':>22}{'PCA':>10}{'against PCA':>14}{'runs below PCA':>18}")
    for row in rows:
        share, below = row["error"] / row["PCA"] - 1, f"{row['runs below PCA']} of {row['runs']}"
        errors = f"{row['error']:>12.2f} ± {row['deviation']:<7.2f}{row['PCA']:>10.2f}{share:>+14.0%}"
        echo(f"{row['code size']:>9}{errors}{below:>18}")


def _row(size: int, scores: list[Scores]) -> dict[str, Any]:
    """Compute the table row of one code size: the mean errors of the autoencoder and of PCA.

    First, the error of each run is averaged over the sources. These averages are then averaged over all runs with this code
    size.
    """
    errors, pca_errors = (
        [fmean(s["error"]["mean"] for s in run[key].values()) for run in scores] for key in ("summary", "pca")
    )
    below = sum(error < pca_error for error, pca_error in zip(errors, pca_errors, strict=True))
    deviation = stdev(errors) if len(errors) > 1 else 0.0
    return dict(zip(COLUMNS, (size, fmean(errors), deviation, fmean(pca_errors), below, len(scores)), strict=True))
