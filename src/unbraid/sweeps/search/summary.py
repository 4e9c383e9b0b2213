"""Write the trials of a search to `search.csv`, and format the texts that a search prints."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from unbraid.runs.files import atomic_write
from unbraid.runs.text import write_csv
from unbraid.sweeps.search.options import Options


def state_of(trial: FrozenTrial) -> str:
    """Return the state of a trial: `done`, `pruned`, `running` or `failed`."""
    if trial.state == TrialState.RUNNING:
        return "failed" if trial.user_attrs.get("error") else "running"
    return {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned"}[trial.state]


def write_table(path: Path, trials: Sequence[FrozenTrial]) -> None:
    """Write `search.csv`: one row for each trial with its number, state, value, parameters, folder and error."""
    keys = dict.fromkeys(key for trial in trials for key in trial.params)
    with atomic_write(path) as partial, partial.open("w", newline="") as file:
        write_csv(file, ["trial", "state", "value", *keys, "folder", "error"], map(_row, trials))


def _row(trial: FrozenTrial) -> dict[str, Any]:
    summary_text = {name: trial.user_attrs.get(name, "") for name in ("folder", "error")}
    return {"trial": trial.number, "state": state_of(trial), "value": trial.value, **trial.params, **summary_text}


def trial_text(trial: FrozenTrial, objective: str) -> str:
    """Return the line that is printed when a trial ends: number, overrides, and the objective or the error message."""
    state = state_of(trial)
    outcome = {"done": f"{objective} {trial.value}", "pruned": f"pruned at {trial.value}"}.get(state)
    return f"trial {trial.number}: {' '.join(trial.user_attrs['overrides'])}: {outcome or trial.user_attrs['error']}"


def summary_text(trials: Sequence[FrozenTrial], options: Options, table: Path) -> str:
    """Return the text that is printed at the end of a search.

    Args:
        trials: trials of the search.
        options: options of the search.
        table: path of the table `search.csv`.

    Returns:
        Lines with the best trial (objective, overrides, run folder), the number of trials in each state, and the path of the
        table.
    """
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
