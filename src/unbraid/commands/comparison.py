"""Separators of a sweep side by side: the mean over seeds of each choice, and how far the seeds lie apart."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from unbraid.files import written_whole
from unbraid.scoring.tables import refuse_mixed

COLUMNS = ("choice", "target", "measure", "mean", "deviation", "runs")


class Comparison(Callback):
    """When a sweep of separators ends, prints a table and leaves it as `comparison.csv` in its folder.

    Args:
        measures: that are shown, in this order; where the protocol has none of them, all of its own are.
    """

    def __init__(self, measures: Sequence[str]) -> None:
        self.measures = list(measures)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        paths = sorted(folder.glob("*/scores.json"), key=lambda path: int(path.parent.name.split("-")[0]))
        scores = {path.parent: json.loads(path.read_text()) for path in paths}
        if not scores:
            return
        refuse_mixed({run.name: one["protocol"] for run, one in scores.items()})
        choices: dict[str, list[dict[str, Any]]] = {}
        for run, one in scores.items():
            choices.setdefault(choice_of(run), []).append(one)
        measures = self._measures([*scores.values()])
        rows = [row for choice, found in choices.items() for row in _rows(choice, found, measures)]
        if not rows:
            return
        with written_whole(folder / "comparison.csv") as partial, partial.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(rows)
        print(f"\n{self._table(rows)}\n\ntable   {folder / 'comparison.csv'}")

    def _measures(self, scores: Sequence[dict[str, Any]]) -> list[str]:
        found = dict.fromkeys(measure for one in scores for target in one["summary"].values() for measure in target)
        return [measure for measure in self.measures if measure in found] or [*found]

    def _table(self, rows: Sequence[dict[str, Any]]) -> str:
        width = max(len(row["choice"]) for row in rows) + 2
        lines = []
        for target in dict.fromkeys(row["target"] for row in rows):
            own = [row for row in rows if row["target"] == target]
            shown = dict.fromkeys(row["measure"] for row in own)
            lines.append(f"{f'{target} (dB)':<{width}}" + "".join(f"{measure:>16}" for measure in shown) + f"{'runs':>7}")
            for choice in dict.fromkeys(row["choice"] for row in own):
                cells = {row["measure"]: row for row in own if row["choice"] == choice}
                figures = "".join(_spread(cells.get(measure)) for measure in shown)
                lines.append(f"{choice:<{width}}{figures}{max(row['runs'] for row in cells.values()):>7}")
        return "\n".join(lines)


def _rows(choice: str, scores: Sequence[dict[str, Any]], measures: Sequence[str]) -> list[dict[str, Any]]:
    """One for each target and measure; a measure that is undefined in all tracks of a run leaves that run out."""
    statistic = scores[0]["protocol"]["tracks"]
    rows = []
    for target in scores[0]["summary"]:
        for measure in measures:
            values = [one["summary"][target].get(measure, {}).get(statistic) for one in scores]
            if defined := [value for value in values if value is not None]:
                found = (choice, target, measure, fmean(defined), pstdev(defined), len(defined))
                rows.append(dict(zip(COLUMNS, found, strict=True)))
    return rows


def _spread(row: dict[str, Any] | None) -> str:
    return f"{row['mean']:.2f} ± {row['deviation']:.2f}".rjust(16) if row else "-".rjust(16)


def choice_of(run: Path) -> str:
    """What was typed for a run, less the seed."""
    typed = json.loads((run / "run.json").read_text())["overrides"]
    return " ".join(word for word in typed if not word.startswith(("seed=", "experiment="))) or "as it is"
