"""Table and picture of a sweep over code sizes: test error of the autoencoder and of PCA."""

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
    """Writes `code_sizes.csv` and `code_sizes.png` into the folder of a sweep of autoencoders when the sweep ends."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        found: dict[int, dict[Path, Scores]] = {}
        for path in sorted(folder.glob("*/scores.json"), key=lambda path: int(path.parent.name.split("-")[0])):
            scores = read_scores(path)
            found.setdefault(_code_size(scores, path), {})[path.parent] = scores
        if not found:
            return
        rows = [_row(size, list(runs.values())) for size, runs in sorted(found.items())]
        with atomic_write(folder / "code_sizes.csv") as partial, partial.open("w", newline="") as file:
            write_csv(file, COLUMNS, rows)
        first = {row["code size"]: next(iter(found[row["code size"]])) / "pictures" / "reconstructions.png" for row in rows}
        pictures.code_sizes(folder / "code_sizes.png", rows, first)
        _print(rows)
        echo(f"\nsquared error of a test image or frame, mean and standard deviation of runs: {folder / 'code_sizes.png'}")


def _code_size(scores: Scores, path: Path) -> int:
    size = scores.get("code_size")
    if not isinstance(size, int):
        raise InputError(f"{path}, code_size", found=repr(size)[:80], expected="the scores of an autoencoder")
    return size


def _print(rows: list[dict[str, Any]]) -> None:
    """Print the measured errors."""
    echo(f"\n{'code size':>9}{'autoencoder':>22}{'PCA':>10}{'against PCA':>14}{'runs below PCA':>18}")
    for row in rows:
        share, below = row["error"] / row["PCA"] - 1, f"{row['runs below PCA']} of {row['runs']}"
        errors = f"{row['error']:>12.2f} ± {row['deviation']:<7.2f}{row['PCA']:>10.2f}{share:>+14.0%}"
        echo(f"{row['code size']:>9}{errors}{below:>18}")


def _row(size: int, scores: list[Scores]) -> dict[str, Any]:
    """Return the row of one code size: means over its runs, and over all sources of a run."""
    own, linear = ([fmean(s["error"]["mean"] for s in one[row].values()) for one in scores] for row in ("summary", "pca"))
    below = sum(error < other for error, other in zip(own, linear, strict=True))
    deviation = stdev(own) if len(own) > 1 else 0.0
    return dict(zip(COLUMNS, (size, fmean(own), deviation, fmean(linear), below, len(scores)), strict=True))
