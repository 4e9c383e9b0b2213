"""What a sweep shows while it runs: a live table in a terminal, a line for each event elsewhere; both enter the ledger."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from omegaconf import DictConfig
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from unbraid.errors import InputError
from unbraid.launchers.arms import Arm
from unbraid.launchers.processes import duration
from unbraid.ledger import Ledger
from unbraid.records import ENDED, Run, State, epoch_numbers, figures, read_record
from unbraid.scores import read_scores
from unbraid.text import echo, one_line

REFRESH_SECONDS = 1.0
COLUMNS = ("run", "state", "on", "done", "loss", "best", "left", "score")


class Board:
    """The `Watch` of a sweep.

    Args:
        runs: those that are started, with their arms.
        ledger: of the sweep.
    """

    def __init__(self, runs: Sequence[tuple[Arm, Run]], ledger: Ledger) -> None:
        self.configs = {arm: run.config for arm, run in runs}
        self.ledger = ledger
        self.places: dict[Arm, str] = {}
        self.said: dict[Arm, tuple[State, str]] = {}
        self.began: dict[Arm, float] = {}
        self.console = Console()
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self.shown = 0.0

    def __enter__(self) -> "Board":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.vertical_overflow = "visible"
            self.live.update(self._table(), refresh=True)
            self.live.stop()
        states = [state for state, _ in self.said.values()]
        counts = {state: states.count(state) for state in dict.fromkeys(states)}
        left = len(self.configs) - len(states)
        said = [f"{count} {state}" for state, count in counts.items()] + [f"{left} not started"] * bool(left)
        echo(f"sweep   {', '.join(said)}")

    def started(self, arm: Arm, where: str) -> None:
        self.places[arm], self.began[arm] = where, time.monotonic()
        self.said.pop(arm, None)
        self.ledger.note(arm.folder, {**(read_record(arm.folder) or {}), "state": "running"}, where=where)
        self._say(f"started {arm.folder.name} on {where}")

    def ended(self, arm: Arm, state: State, error: str | None) -> None:
        where = self.places.pop(arm, None)
        found = main_score(arm.folder) if state in ENDED else {}
        words = error or "".join(f"{name} {value:.2f}" for name, value in found.items())
        self.said[arm] = state, words
        self.ledger.note(arm.folder, {**(read_record(arm.folder) or {}), "state": state}, where=where, score=found)
        took = f" after {duration(time.monotonic() - self.began[arm])}" if arm in self.began else ""
        self._say(f"{state:<7} {arm.folder.name}{took}{': ' if words else ''}{words}")

    def tick(self) -> None:
        if self.live and time.monotonic() - self.shown > REFRESH_SECONDS:
            self.live.update(self._table(), refresh=True)
            self.shown = time.monotonic()

    def _say(self, line: str) -> None:
        if self.live is None:
            echo(line, flush=True)

    def _table(self) -> Table:
        """Of the runs that have a state, and the number of those that wait: running ones first, as a screen has an end."""
        table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
        for arm, place in self.places.items():
            table.add_row(*_plain(arm.folder.name, "running", place, *progress(arm.folder, self.configs[arm]), ""))
        if waiting := len(self.configs) - len(self.places) - len(self.said):
            table.add_row(f"{waiting} waiting")
        for arm in sorted(self.said, key=lambda arm: arm.number):
            state, words = self.said[arm]
            done, loss, best, _ = progress(arm.folder, self.configs[arm])
            table.add_row(*_plain(arm.folder.name, state, "", done, loss, best, "", words))
        return table


def _plain(*cells: str) -> list[Text]:
    """Return cells in which rich finds no markup and a terminal no control characters."""
    return [Text(one_line(cell)) for cell in cells]


def progress(folder: Path, config: DictConfig) -> tuple[str, str, str, str]:
    """How far a run is: what is done, the last loss, the best one, and the time that is left if it goes on to its end.

    Losses are those of the validation where there was one.
    """
    try:
        rows = epoch_numbers(folder)
    except InputError:  # the table of the other runs is shown
        rows = []
    if not rows:
        return "", "", "", ""
    losses = [row[name] for row in rows if (name := _loss_of(row))]
    epoch, step = max(int(rows[-1]["epoch"]) + 1, 1), int(rows[-1].get("step", 0))
    limits = config.trainer.max_epochs, config.trainer.max_steps
    share = max((done / limit for done, limit in zip((epoch, step), limits, strict=True) if limit and limit > 0), default=1.0)
    seconds = sum(row.get("seconds", 0.0) for row in rows) * (1 / share - 1)
    shown = (f"{losses[-1]:.4g}", f"{min(losses):.4g}") if losses else ("", "")
    return f"epoch {epoch}, {share:.0%}", *shown, duration(seconds)


def _loss_of(row: dict[str, float]) -> str | None:
    return next((name for name in ("valid/loss", "train/loss") if name in row), None)


def main_score(folder: Path) -> dict[str, float]:
    """The first measure of the first target in `scores.json`, by name; empty if it is missing or damaged."""
    try:
        found = figures(read_scores(folder / "scores.json"))
    except (FileNotFoundError, InputError):
        return {}
    return next(({f"{target} {measure}": value} for (target, measure), value in found.items() if value is not None), {})
