"""Display the progress of a sweep: as a live table in a terminal, otherwise as one line for each start or end of a run."""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from omegaconf import DictConfig
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from unbraid.runs.errors import InputError
from unbraid.runs.metrics_reader import epoch_numbers, figures
from unbraid.runs.records import ENDED, Run, State, read_record
from unbraid.runs.scores import read_scores
from unbraid.runs.text import echo, one_line
from unbraid.sweeps.launchers.jobs import Job
from unbraid.sweeps.launchers.processes import duration
from unbraid.sweeps.ledger import Ledger
from unbraid.training.callbacks.last_checkpoint import LAST

REFRESH_SECONDS = 1.0
COLUMNS = ("run", "state", "on", "done", "loss", "best", "left", "score")


class ProgressTable:
    """Display the start and the end of each run of a sweep, and write both events to the ledger. A launcher reports the events.

    Args:
        runs: one pair for each run: the job that the launcher starts, and an object `Run` (folder and config of the run).
        ledger: writer of the ledger of the sweep.
    """

    def __init__(self, runs: Sequence[tuple[Job, Run]], ledger: Ledger) -> None:
        self.configs = {job: run.config for job, run in runs}
        self.ledger = ledger
        self.places: dict[Job, str] = {}
        self.states: dict[Job, tuple[State, str]] = {}
        self.began: dict[Job, float] = {}
        # Console.is_terminal is also true if FORCE_COLOR is set, for example in a notebook.
        self.live = Live(console=Console(), auto_refresh=False) if sys.stdout.isatty() else None
        self.last_update = 0.0

    def __enter__(self) -> "ProgressTable":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.vertical_overflow = "visible"
            self.live.update(self._table(), refresh=True)
            self.live.stop()
        states = [state for state, _ in self.states.values()]
        counts = {state: states.count(state) for state in dict.fromkeys(states)}
        left = len(self.configs) - len(states)
        totals = [f"{count} {state}" for state, count in counts.items()] + [f"{left} not started"] * bool(left)
        echo(f"sweep   {', '.join(totals)}")
        if offline := {path.parents[1] for path in self.ledger.folder.glob("*/wandb/offline-run-*")}:
            files = f"{shlex.quote(str(self.ledger.folder))}/*/wandb/offline-run-*"
            echo(f"wandb   {len(offline)} run{'s' * (len(offline) > 1)} offline; to upload later: wandb sync {files}")

    def started(self, job: Job, where: str) -> None:
        """Write the start of a job to the ledger, and print that the job has started, or has resumed from a checkpoint."""
        self.places[job], self.began[job] = where, time.monotonic()
        self.states.pop(job, None)
        self.ledger.record(job.folder, {**(read_record(job.folder) or {}), "state": "running"}, where=where)
        begun = "resumed" if (job.folder / "checkpoints" / LAST).is_file() else "started"
        self._print(f"{begun} {job.folder.name} on {where}")

    def ended(self, job: Job, state: State, error: str | None) -> None:
        """Write the end of a job to the ledger, and print the final state with the error message or the main score."""
        where = self.places.pop(job, None)
        score = main_score(job.folder) if state in ENDED else {}
        words = error or "".join(f"{name} {value:.2f}" for name, value in score.items())
        self.states[job] = state, words
        self.ledger.record(job.folder, {**(read_record(job.folder) or {}), "state": state}, where=where, score=score)
        took = f" after {duration(time.monotonic() - self.began[job])}" if job in self.began else ""
        self._print(f"{state:<7} {job.folder.name}{took}{': ' if words else ''}{words}")

    def tick(self) -> None:
        """Update the live table in the terminal, at most once per second."""
        if self.live and time.monotonic() - self.last_update > REFRESH_SECONDS:
            self.live.update(self._table(), refresh=True)
            self.last_update = time.monotonic()

    def _print(self, line: str) -> None:
        if self.live is None:
            echo(line, flush=True)

    def _table(self) -> Table:
        """Return the table of the sweep: running jobs, number of waiting jobs, and ended jobs.

        The running jobs come first, because a small screen shows only the top of the table.
        """
        table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
        for job, place in self.places.items():
            table.add_row(*_plain(job.folder.name, "running", place, *progress(job.folder, self.configs[job]), ""))
        if waiting := len(self.configs) - len(self.places) - len(self.states):
            table.add_row(f"{waiting} waiting")
        for job in sorted(self.states, key=lambda job: job.number):
            state, words = self.states[job]
            done, loss, best, _ = progress(job.folder, self.configs[job])
            table.add_row(*_plain(job.folder.name, state, "", done, loss, best, "", words))
        return table


def _plain(*cells: str) -> list[Text]:
    """Convert texts to table cells without control characters. The library Rich does not interpret markup in these cells."""
    return [Text(one_line(cell)) for cell in cells]


def progress(folder: Path, config: DictConfig) -> tuple[str, str, str, str]:
    """Return the progress of a run as four texts: finished part, latest loss, best loss, and remaining time.

    The first text is, for example, `epoch 3, 30%`. The losses are validation losses, or training losses if the run has no
    validation. Before the end of the first epoch, all texts are empty.

    Args:
        folder: run folder.
        config: config of the run.

    Returns:
        The four texts.
    """
    try:
        rows = epoch_numbers(folder)
    except InputError:  # a damaged metrics.csv must not stop the display
        rows = []
    if not rows:
        return "", "", "", ""
    losses = [row[name] for row in rows if (name := _loss_of(row))]
    epoch, step = max(int(rows[-1]["epoch"]) + 1, 1), int(rows[-1].get("step", 0))
    limits = config.trainer.max_epochs, config.trainer.max_steps
    share = max((done / limit for done, limit in zip((epoch, step), limits, strict=True) if limit and limit > 0), default=1.0)
    seconds = sum(row.get("seconds", 0.0) for row in rows) * (1 / share - 1)
    last_and_best = (f"{losses[-1]:.4g}", f"{min(losses):.4g}") if losses else ("", "")
    return f"epoch {epoch}, {share:.0%}", *last_and_best, duration(seconds)


def _loss_of(row: dict[str, float]) -> str | None:
    return next((name for name in ("valid/loss", "train/loss") if name in row), None)


def main_score(folder: Path) -> dict[str, float]:
    """Return a dictionary with the name and the value of the first defined score in `scores.json`.

    If no score is defined, the dictionary is empty.
    """
    try:
        scores = figures(read_scores(folder / "scores.json"))
    except (FileNotFoundError, InputError):
        return {}
    return next(({f"{target} {measure}": value} for (target, measure), value in scores.items() if value is not None), {})
