"""Check the statistics of reports by simulation: how often the 95 % interval contains the true difference of two systems.

The simulation also counts false alarms, that is how often a report calls two equal systems different.

    python scripts/bench/verdicts.py [repetitions=2000] [songs=3,10,50] [seeds=1,2,3,5,2+5,2+10] [noise=normal]

Random scores of two equal systems are drawn `repetitions` times, for each number of songs, each number of seeds (`2+5`: two
seeds of one system, five of the other), and each setting of the standard deviations in `DEVIATIONS`. A score is the sum of an
effect of the song, an effect of the seed, and a rest. With one seed, the true difference is the difference of the two trained
networks. The interval assumes normal song effects. `noise=heavy` draws them from Student's t with 3 degrees of freedom, and
`noise=skewed` from an exponential distribution, both with the standard deviation of the setting.

Columns of the printed table:

- `coverage`: share of the 95 % intervals of unbraid that contain the true difference; with normal effects at least 0.93.
- `false alarms`: share of the verdicts `hardly luck`. The limit for normal effects is 0.06 if the larger seed deviation is at
  most three times the smaller one, else 0.07. With one seed the limit is 0.
- `bootstrap`: coverage of the percentile bootstrap over songs and seeds, which earlier versions of the report used.
- `satterthwaite`: coverage of an interval with one Welch-Satterthwaite t quantile over songs and seeds.

The exit status is 1 if a limit is violated. The last line of the output is one JSON object.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from unbraid.scoring.significance import ALPHA, difference

RESAMPLES = 400
NOISE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "heavy": lambda generator, shape: generator.standard_t(3, shape) / np.sqrt(3),
    "skewed": lambda generator, shape: generator.exponential(size=shape) - 1,
}


@dataclass(frozen=True)
class Setting:
    """Store the standard deviations in dB from which a simulation draws the scores of two systems.

    Args:
        songs: deviation between songs, of the difference of the two systems.
        seeds: deviation between seeds, of the mean score over songs, for each of the two systems.
        rest: deviation of a single score that neither the song nor the seed explains.
    """

    songs: float
    seeds: tuple[float, float]
    rest: float


DEVIATIONS = {
    "seeds 0": Setting(1.0, (0.0, 0.0), 0.2),
    "seeds 0.1": Setting(1.0, (0.1, 0.1), 0.3),
    "seeds 0.5": Setting(0.5, (0.5, 0.5), 0.3),
    "seeds 1": Setting(0.1, (1.0, 1.0), 0.1),
    "rest 1": Setting(0.3, (0.1, 0.1), 1.0),
    "seeds 0.4, 0.2": Setting(1.0, (0.4, 0.2), 0.3),
    "seeds 0.2, 0.6": Setting(0.5, (0.2, 0.6), 0.3),
    "seeds 0.5, 0.05": Setting(0.3, (0.5, 0.05), 0.1),
    "seeds 0.5, 0": Setting(0.05, (0.5, 0.0), 0.05),
}


def main() -> None:
    """Simulate all combinations of songs, seeds and settings. Print a table and a JSON line. Exit with 1 if a limit fails."""
    defaults = {"repetitions": "2000", "songs": "3,10,50", "seeds": "1,2,3,5,2+5,2+10", "noise": "normal"}
    arguments = defaults | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := arguments.keys() - defaults.keys():
        sys.exit(f"error: unknown argument {min(unknown)}; known: {', '.join(sorted(defaults))}")
    repetitions, noise = int(arguments["repetitions"]), NOISE[arguments["noise"]]
    columns = ("songs", "seeds", "coverage", "false alarms", "bootstrap", "satterthwaite")
    print(f"{'setting':<18}" + "".join(f"{column:>14}" for column in columns))
    rows = []
    for songs in map(int, arguments["songs"].split(",")):
        for text in arguments["seeds"].split(","):
            seeds = tuple(map(int, text.split("+"))) * (1 if "+" in text else 2)
            for name, setting in DEVIATIONS.items():
                row = {"setting": name, "songs": songs, "seeds": text} | simulate(setting, songs, seeds, repetitions, noise)
                rows.append(row)
                cells = "".join(f"{row[column.replace(' ', '_')]:>14}" for column in columns)
                print(f"{name:<18}{cells}", flush=True)
    print(json.dumps(summary(rows) | {"repetitions": repetitions, "noise": arguments["noise"]}))
    sys.exit(int(arguments["noise"] == "normal" and not all(map(within_limits, rows))))


def simulate(
    setting: Setting, songs: int, seeds: tuple[int, ...], repetitions: int, noise: Any = NOISE["normal"]
) -> dict[str, float]:
    """Simulate one combination of songs, seeds and setting. Return coverage and false alarms as shares of the repetitions."""
    generator = np.random.default_rng([songs, *seeds, repetitions])
    weights = [generator.multinomial(k, np.full(k, 1 / k), RESAMPLES) / k for k in (songs, *seeds)]
    counts = np.zeros(4)
    for _ in range(repetitions):
        system, baseline, truth = draw(setting, songs, seeds, generator, noise)
        result = difference(system, baseline)
        assert result is not None and result.low is not None and result.high is not None and result.p is not None
        low, high = bootstrap(system, baseline, weights)
        mean, half = result.mean, satterthwaite(system, baseline)
        counts += (result.low <= truth <= result.high, result.over_seeds and result.p < ALPHA, low <= truth <= high,
                   abs(mean - truth) <= half)  # fmt: skip
    names = ("coverage", "false_alarms", "bootstrap", "satterthwaite")
    return {name: round(count / repetitions, 4) for name, count in zip(names, counts, strict=True)}


def draw(
    setting: Setting, songs: int, seeds: tuple[int, ...], generator: np.random.Generator, noise: Any
) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw the scores of two systems. Return both arrays [seeds, songs] and the true difference of the systems in dB."""
    effects = setting.songs * noise(generator, (songs,))
    shifts = [deviation * generator.standard_normal(k) for deviation, k in zip(setting.seeds, seeds, strict=True)]
    rests = [setting.rest * generator.standard_normal((k, songs)) for k in seeds]
    truth = float(shifts[0][0] - shifts[1][0]) if min(seeds) == 1 else 0.0
    return effects + shifts[0][:, None] + rests[0], shifts[1][:, None] + rests[1], truth


def bootstrap(system: np.ndarray, baseline: np.ndarray, weights: list[np.ndarray]) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean difference of two systems.

    `weights` contains the random weights of the songs, of the system's seeds and of the baseline's seeds in each resample.
    """
    means = (weights[0] * (weights[1] @ system - weights[2] @ baseline)).sum(axis=1)
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def satterthwaite(system: np.ndarray, baseline: np.ndarray) -> float:
    """Return half the width of the interval that uses one Welch-Satterthwaite t quantile for songs and seeds together."""
    by_song = system.mean(axis=0) - baseline.mean(axis=0)
    terms = [(by_song.var(ddof=1) / len(by_song), len(by_song) - 1)]
    if min(len(system), len(baseline)) > 1:
        terms += [(runs.mean(axis=1).var(ddof=1) / len(runs), len(runs) - 1) for runs in (system, baseline)]
    variance = sum(value for value, _ in terms)
    degrees = variance**2 / sum(value**2 / count for value, count in terms)
    return float(stdtrit(degrees, 1 - ALPHA / 2) * np.sqrt(variance))


def within_limits(row: dict[str, Any]) -> bool:
    """Return whether coverage and false alarms in a row of the table are within the limits of the module docstring."""
    if row["seeds"] == "1":
        return row["coverage"] >= 0.93 and row["false_alarms"] == 0
    low, high = sorted(DEVIATIONS[row["setting"]].seeds)
    return row["coverage"] >= 0.93 and row["false_alarms"] <= (0.06 if high <= 3 * low or high == low else 0.07)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the lowest coverage and the highest share of false alarms, for rows with one seed and with several seeds."""
    worst: dict[str, Any] = {"within_limits": all(map(within_limits, rows)), "cells": len(rows)}
    for name, selected in (
        ("one_seed", [row for row in rows if row["seeds"] == "1"]),
        ("seeds", [row for row in rows if row["seeds"] != "1"]),
    ):
        for key in ("coverage", "bootstrap", "satterthwaite"):
            worst[f"{name}_{key}"] = min((row[key] for row in selected), default=None)
        worst[f"{name}_false_alarms"] = max((row["false_alarms"] for row in selected), default=None)
    return worst


if __name__ == "__main__":
    main()
