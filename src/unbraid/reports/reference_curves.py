"""Compute a reference curve from runs that differ only in the seed: the median of a validation value, and a band around it.

A later run with another seed is inside the band with a probability of 95 % at each step, if the values of the seeds have a
normal distribution. The band at a step is

    median ± t · s · sqrt(1 + 1 / n)

n is the number of seeds. t is the 97.5 % quantile of Student's t distribution with n - 1 degrees of freedom. s is the standard
deviation over the seeds. Its square is the mean variance at this step, the two steps before and the two steps after, because
the variance of few seeds at a single step is a poor estimate.

Source: prediction interval of a further observation (Hahn & Meeker, "Statistical Intervals", Wiley 1991).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unbraid.reports.differences import differences
from unbraid.reports.variants import RunScores, grouped
from unbraid.runs.errors import InputError
from unbraid.scoring.significance import ALPHA, half_width

MOST_KEYS = 5  # different keys in an error message
NEIGHBOURS = 2  # steps before and after a step whose variances are averaged
FEWEST_SEEDS = 3  # with two seeds, the band is so wide that no run is outside
KEYS = ("name", "measure", "seeds", "steps", "median", "low", "high")  # of the config `callbacks.curve`


def reference_curve(runs: Sequence[RunScores], measure: str) -> dict[str, Any]:
    """Compute median and band of a validation value over runs that differ only in the seed.

    Args:
        runs: finished runs, at least three.
        measure: column of `metrics.csv`, such as `valid/uSDR/mean`.

    Returns:
        A dictionary with `measure`, `seeds` (number of runs) and the lists `steps`, `median`, `low` and `high`. The steps are
        those at which every run has a value.

    Raises:
        InputError: fewer than three runs, two equal seeds, runs whose configs differ in more than the seed, or no common step
            with a value.
    """
    _check_runs(runs)
    curves = [{int(row["step"]): row[measure] for row in run.epochs if measure in row and "step" in row} for run in runs]
    if missing := next((run for run, curve in zip(runs, curves, strict=True) if not curve), None):
        found = ", ".join(sorted({name for row in missing.epochs for name in row if name.startswith("valid/")}))
        raise InputError(missing.folder, f"metrics.csv contains no value of {measure}", found=found or "no validation values")
    steps = sorted(set.intersection(*map(set, curves)))
    if not steps:
        raise InputError("runs", f"no training step has a value of {measure} in every run", hint="Use the same batch size")
    values = np.array([[curve[step] for step in steps] for curve in curves])
    median, width = np.median(values, axis=0), _half_width(values)
    rounded = {"median": median, "low": median - width, "high": median + width}
    return {"measure": measure, "seeds": len(runs), "steps": steps} | {
        key: [round(float(value), 4) for value in array] for key, array in rounded.items()
    }


def _half_width(values: np.ndarray) -> np.ndarray:
    """Return half the width of the band at each step. Shape: [seeds, steps] -> [steps]."""
    seeds, steps = values.shape
    variances = values.var(axis=0, ddof=1)
    smooth = np.array([variances[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1].mean() for i in range(steps)])
    width: np.ndarray = half_width([(smooth * (1 + 1 / seeds), seeds - 1)], ALPHA)
    return width


def _check_runs(runs: Sequence[RunScores]) -> None:
    if len(runs) < FEWEST_SEEDS:
        raise InputError("runs", "too few runs for a band", found=f"{len(runs)}", expected=f"at least {FEWEST_SEEDS}")
    variants = grouped([replace(run, config=_without_curve(run.config)) for run in runs])
    if len(variants) > 1:
        problem = "the runs belong to several variants, but a curve needs runs that differ only in the seed"
        keys = ", ".join(sorted(differences(variants))[:MOST_KEYS])
        found = f"{', '.join(variant.name for variant in variants)} (different keys: {keys})"
        largest = max(variants, key=lambda variant: len([*variant.runs, *variant.without]))
        folders = ",".join(str(run.folder) for run in [*largest.runs, *largest.without])
        raise InputError("runs", problem, found=found, hint=f"Type the runs of one variant, such as 'runs=[{folders}]'")
    seeds = [run.seed for run in runs]
    if len({*map(str, seeds)}) < len(seeds):
        raise InputError("runs", "two runs have the same seed", found=", ".join(map(str, seeds)), expected="different seeds")


def _without_curve(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("callbacks.curve")}


def curve_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the reference curve in the config of a run.

    Args:
        config: config of a run, as a mapping from dotted key to value.

    Returns:
        The values of `KEYS`; None if the run has no reference curve.
    """
    if not all(f"callbacks.curve.{key}" in config for key in KEYS):
        return None
    return {key: config[f"callbacks.curve.{key}"] for key in KEYS}


def drawn_references(runs: Sequence[RunScores]) -> dict[str, list[dict[str, Any]]]:
    """Return a dictionary from each logged value to the reference curves of this value in the configs of the runs.

    The steps of a curve are converted to epochs by linear interpolation between the epochs of the first run that has the curve.

    Args:
        runs: runs of a report.

    Returns:
        For each curve, a dictionary with `name`, `seeds`, and the lists `epochs`, `median`, `low` and `high`.
    """
    by_measure: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        curve = curve_of(run.config)
        rows = [row for row in run.epochs if "step" in row]
        if curve is None or not rows or any(curve["name"] == other["name"] for other in by_measure.get(curve["measure"], ())):
            continue
        steps, epochs = [row["step"] for row in rows], [row["epoch"] + 1 for row in rows]
        kept = [i for i, step in enumerate(curve["steps"]) if steps[0] <= step <= steps[-1]]
        by_measure.setdefault(curve["measure"], []).append(
            {"name": curve["name"], "seeds": curve["seeds"]}
            | {"epochs": [float(np.interp(curve["steps"][i], steps, epochs)) for i in kept]}
            | {key: [curve[key][i] for i in kept] for key in ("median", "low", "high")}
        )
    return by_measure
