"""Dry run (`plan=true`): predict the memory, time and disk space of runs, without a complete training of the runs.

Runs that differ only in the seed form a variant. One run of each variant is trained for a few steps in a separate process. With
`power=0.5`, the dry run also prints how many seeds and test songs are needed to detect a difference of 0.5 dB between variants.
"""

import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from unbraid.commands.trial import trial
from unbraid.data.store import spell_size
from unbraid.reports.power import deviations_of, power_text
from unbraid.reports.variants import configs_without_seed
from unbraid.runs.config import flat
from unbraid.runs.errors import InputError
from unbraid.runs.records import Run, strip_launch_keys
from unbraid.runs.text import echo
from unbraid.sweeps.launchers.processes import duration
from unbraid.training.base import giga

COLUMNS = ("run", "parameters", "MACs", "memory", "steps/s", "steps", "training", "disk")


def plan(runs: Sequence[Run]) -> None:
    """Measure runs, and print a table of parameters, MACs, peak memory, speed, number of steps, training time and disk space.

    The training time of a run is the largest possible number of steps divided by the measured speed. Validation, scoring and
    early stopping are ignored.

    A line below the table states the training time and the duration of the starts of all runs, one after the other.

    The config key `power` is a difference between variants in dB. If this key is set, a text below the table states how many
    seeds and test songs are needed to detect the difference.

    Args:
        runs: runs to measure.

    Raises:
        InputError: a run cannot be trained, or the sweep in the config key `power_from` has too few scores.
    """
    difference = runs[0].config.power
    deviations = {} if difference is None else deviations_of(runs[0].config.power_from)
    table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    variants = _variants(runs)
    measured_variants: dict[str, dict[str, Any]] = {}
    probes: list[dict[str, Any]] = []
    for run, variant in zip(runs, variants, strict=True):
        if variant not in measured_variants:
            echo(
                f"measuring {len(measured_variants) + 1} of {len({*variants})}: {run.folder.name}", file=sys.stderr, flush=True
            )
            measured_variants[variant] = trial(run)
        probe = measured_variants[variant]
        probes.append(probe)
        table.add_row(run.folder.name, *(_cells(probe) if "error" not in probe else [probe["error"]]))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    possible = [probe for probe in probes if "error" not in probe]
    echo(
        f"total   {duration(sum(map(_seconds, possible)))} of training at this speed, "
        f"{duration(sum(probe['start'] for probe in possible))} for the starts of the runs, "
        f"{spell_size(sum(probe['disk'] for probe in possible))} of checkpoints. No run was started"
    )
    seeds = len({run.config.seed for run in runs})
    songs = min((probe["songs"] for probe in possible if probe["songs"] is not None), default=None)
    for name, measured in deviations.items():
        echo(f"\n{power_text(difference, name, measured, seeds, songs)}")
    if len(possible) < len(runs):
        failed = [run.folder.name for run, probe in zip(runs, probes, strict=True) if "error" in probe]
        raise InputError(
            "plan",
            f"{len(failed)} of {len(runs)} runs cannot be trained: {', '.join(failed)}",
            hint="See the reasons in the table above",
        )


def _variants(runs: Sequence[Run]) -> list[str]:
    """Return the config of each run as text, without the seed. Runs of the same variant have the same text."""
    trees: list[Any] = [OmegaConf.to_container(run.config, resolve=True) for run in runs]
    configs = configs_without_seed([flat(strip_launch_keys(tree)) for tree in trees])
    return [json.dumps(config, sort_keys=True, default=str) for config in configs]


def _seconds(probe: dict[str, Any]) -> float:
    """Return the training time in s from the results of `trial`; infinity if the number of training steps is not limited."""
    return math.inf if probe["steps"] is None else float(probe["steps"] / probe["steps_per_second"])


def _cells(probe: dict[str, Any]) -> list[str]:
    parameters, memory = f"{probe['parameters'] / 1e6:.2f} M", f"{spell_size(probe['memory'])} {probe['device']}"
    speed, steps = f"{probe['steps_per_second']:.3g}", str(probe["steps"] or "")
    return [parameters, giga(probe["macs"]), memory, speed, steps, duration(_seconds(probe)), spell_size(probe["disk"])]
