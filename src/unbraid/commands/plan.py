"""`plan=true`: what runs would take, each tried for some steps in a process of its own, and nothing started.

`power=0.5` adds how many seeds and test songs a difference of 0.5 dB between arms needs.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unbraid.reports.power import deviations_of, power_text
from unbraid.runs.errors import InputError
from unbraid.runs.records import Run
from unbraid.runs.text import echo
from unbraid.sweeps.launchers.processes import duration

COLUMNS = ("run", "parameters", "memory", "steps/s", "steps", "training", "disk")


def plan(runs: Sequence[Run]) -> None:
    """Print a row for each run: parameters, peak memory, speed, how many steps and how long at most, and checkpoints on disk.

    The time is that of training steps at this speed, one run at a time, without validation, early stopping and tests.

    With `power` in their config, print the seeds and songs that this difference needs.

    Raises:
        InputError: some of them cannot be run, or the sweep of `power_from` has too few scores.
    """
    difference = runs[0].config.power
    deviations = {} if difference is None else deviations_of(runs[0].config.power_from)
    table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    probes: list[dict[str, Any]] = []
    for run in runs:
        found = _probe(run)
        probes.append(found)
        table.add_row(run.folder.name, *(_cells(found) if "error" not in found else [found["error"]]))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    possible = [found for found in probes if "error" not in found]
    echo(
        f"in all {duration(sum(map(_seconds, possible)))} of training at most, {_bytes(sum(f['disk'] for f in possible))} of "
        "checkpoints; nothing was started"
    )
    seeds = len({run.config.seed for run in runs})
    songs = min((found["songs"] for found in possible if found["songs"] is not None), default=None)
    for name, measured in deviations.items():
        echo(f"\n{power_text(difference, name, measured, seeds, songs)}")
    if len(possible) < len(runs):
        refused = [run.folder.name for run, found in zip(runs, probes, strict=True) if "error" in found]
        raise InputError(f"cannot be run: {', '.join(refused)}")


def _probe(run: Run) -> dict[str, Any]:
    """What `unbraid.commands.probe` finds out, or an error."""
    with tempfile.TemporaryDirectory() as folder:
        own = replace(run, folder=Path(folder, run.folder.name))
        own.freeze()
        result = subprocess.run(
            [sys.executable, "-m", "unbraid.commands.probe", str(own.folder)],
            capture_output=True, text=True, env=os.environ | {"TQDM_DISABLE": "1"},
        )  # fmt: skip
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"ended with status {result.returncode}, as for lack of memory"]
        return {"error": lines[-1].removeprefix("error: ")}
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def _seconds(found: dict[str, Any]) -> float:
    """A run without a limit of steps is asked for to be ended by hand."""
    return math.inf if found["steps"] is None else float(found["steps"] / found["steps_per_second"])


def _cells(found: dict[str, Any]) -> list[str]:
    parameters, memory = f"{found['parameters'] / 1e6:.2f} M", f"{_bytes(found['memory'])} {found['device']}"
    speed, steps = f"{found['steps_per_second']:.3g}", str(found["steps"] or "")
    return [parameters, memory, speed, steps, duration(_seconds(found)), _bytes(found["disk"])]


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
