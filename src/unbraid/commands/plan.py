"""Dry run (`plan=true`): measure the cost of runs in a few training steps, without starting the runs.

Each run is measured in its own process. `power=0.5` also prints how many seeds and test songs are needed to detect a difference
of 0.5 dB between variants.
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
from unbraid.training.base import giga

COLUMNS = ("run", "parameters", "MACs", "memory", "steps/s", "steps", "training", "disk")


def plan(runs: Sequence[Run]) -> None:
    """Print a row for each run: parameters, operations of a forward pass, memory, speed, steps, training time and disk space.

    The time is that of all training steps at the measured speed, one run after the other. It excludes validation, tests and
    early stopping. If the config has `power`, the needed seeds and songs are printed too.

    Args:
        runs: runs, not yet started.

    Raises:
        InputError: a run cannot be trained, or the sweep of `power_from` has too few scores.
    """
    difference = runs[0].config.power
    deviations = {} if difference is None else deviations_of(runs[0].config.power_from)
    table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    probes: list[dict[str, Any]] = []
    for run in runs:
        probe = _probe(run)
        probes.append(probe)
        table.add_row(run.folder.name, *(_cells(probe) if "error" not in probe else [probe["error"]]))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    possible = [probe for probe in probes if "error" not in probe]
    echo(
        f"total   at most {duration(sum(map(_seconds, possible)))} of training, "
        f"{_bytes(sum(probe['disk'] for probe in possible))} of checkpoints. No run was started"
    )
    seeds = len({run.config.seed for run in runs})
    songs = min((probe["songs"] for probe in possible if probe["songs"] is not None), default=None)
    for name, measured in deviations.items():
        echo(f"\n{power_text(difference, name, measured, seeds, songs)}")
    if len(possible) < len(runs):
        failed = [run.folder.name for run, probe in zip(runs, probes, strict=True) if "error" in probe]
        raise InputError("plan", "these runs cannot be trained", found=", ".join(failed))


def _probe(run: Run) -> dict[str, Any]:
    """Run `unbraid.commands.probe` and return its output, or the error message under the key `error`."""
    with tempfile.TemporaryDirectory() as folder:
        copy = replace(run, folder=Path(folder, run.folder.name))
        copy.freeze()
        result = subprocess.run(
            [sys.executable, "-m", "unbraid.commands.probe", str(copy.folder)],
            capture_output=True, text=True, env=os.environ | {"TQDM_DISABLE": "1"},
        )  # fmt: skip
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}, possibly out of memory"]
        return {"error": lines[-1].removeprefix("error: ")}
    output: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return output


def _seconds(probe: dict[str, Any]) -> float:
    """Return the training time in s, infinite if the run has no largest number of steps."""
    return math.inf if probe["steps"] is None else float(probe["steps"] / probe["steps_per_second"])


def _cells(probe: dict[str, Any]) -> list[str]:
    parameters, memory = f"{probe['parameters'] / 1e6:.2f} M", f"{_bytes(probe['memory'])} {probe['device']}"
    speed, steps = f"{probe['steps_per_second']:.3g}", str(probe["steps"] or "")
    return [parameters, giga(probe["macs"]), memory, speed, steps, duration(_seconds(probe)), _bytes(probe["disk"])]


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
