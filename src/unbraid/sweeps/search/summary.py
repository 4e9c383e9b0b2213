"""What a search has found: `search.csv`, and the words at its end."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from unbraid.runs.files import atomic_write
from unbraid.runs.text import write_csv
from unbraid.sweeps.search.options import Options


def state_of(trial: FrozenTrial) -> str:
    """In the words of runs: to Optuna one that has failed and is tried again is running."""
    if trial.state == TrialState.RUNNING:
        return "failed" if trial.user_attrs.get("error") else "running"
    return {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned"}[trial.state]


def write_table(path: Path, trials: Sequence[FrozenTrial]) -> None:
    """One row for each trial: number, state, value, its parameters, folder, and what went wrong."""
    keys = dict.fromkeys(key for trial in trials for key in trial.params)
    with atomic_write(path) as partial, partial.open("w", newline="") as file:
        write_csv(file, ["trial", "state", "value", *keys, "folder", "error"], map(_row, trials))


def _row(trial: FrozenTrial) -> dict[str, Any]:
    summary_text = {name: trial.user_attrs.get(name, "") for name in ("folder", "error")}
    return {"trial": trial.number, "state": state_of(trial), "value": trial.value, **trial.params, **summary_text}


def trial_text(trial: FrozenTrial, objective: str) -> str:
    """One line when a trial ends."""
    state = state_of(trial)
    outcome = {"done": f"{objective} {trial.value}", "pruned": f"pruned at {trial.value}"}.get(state)
    return f"trial {trial.number}: {' '.join(trial.user_attrs['overrides'])}: {outcome or trial.user_attrs['error']}"


def summary_text(trials: Sequence[FrozenTrial], options: Options, table: Path) -> str:
    """The best trial, its overrides and its folder, and how many there were."""
    counts = Counter(state_of(trial) for trial in trials)
    lines = [f"trials  {', '.join(f'{count} {state}' for state, count in counts.items())}", f"table   {table}"]
    values = {trial.value: trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None}
    if values:
        value = min(values) if options.direction == "minimize" else max(values)
        best = values[value]
        lines = [
            f"best    {options.objective} {value:.6g} in trial {best.number}",
            f"        {' '.join(best.user_attrs['overrides'])}",
            f"run     {best.user_attrs['folder']}",
            *lines,
        ]
    return "\n".join(lines)
