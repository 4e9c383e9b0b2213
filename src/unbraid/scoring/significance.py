"""Is it luck: differences of two systems on the same tracks, with a bootstrap interval and the Wilcoxon signed-rank test.

The interval is the percentile bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap, 1993) of the mean difference.
Tracks are drawn anew, and within each system its seeds, so that it is as wide as both kinds of luck make it. The test
(Wilcoxon, Biometrics 1945; SciPy's) asks about the tracks only, of means over seeds. Where one baseline meets several systems,
Holm's correction (Scandinavian Journal of Statistics, 1979) keeps the chance of any false alarm at that of a single test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import wilcoxon

RESAMPLES = 5000
SHARE = 0.95


@dataclass(frozen=True)
class Difference:
    """Of a system and a baseline, over tracks in which both are defined.

    Args:
        mean: of the differences.
        low: where the interval begins.
        high: where it ends.
        p: of the signed-rank test, two-sided, not corrected; 1 where no track differs.
        tracks: how many there are.
        above: in how many of them the system has the higher score.
        below: in how many it has the lower one.
    """

    mean: float
    low: float
    high: float
    p: float
    tracks: int
    above: int
    below: int


def difference(system: np.ndarray, baseline: np.ndarray, seed: int = 0) -> Difference | None:
    """System minus baseline; None where there is no track in which all runs of both are defined.

    Args:
        system: scores, NaN where undefined.
        baseline: scores of the same tracks, by runs that need not have the same seeds.
        seed: of the bootstrap.

    Shape:
        [seeds, tracks] both; the numbers of seeds may differ.
    """
    defined = np.isfinite(system).all(axis=0) & np.isfinite(baseline).all(axis=0)
    if not defined.any():
        return None
    system, baseline = system[:, defined], baseline[:, defined]
    by_track = system.mean(axis=0) - baseline.mean(axis=0)
    drawn = _weights(len(system), seed, 1) @ system - _weights(len(baseline), seed, 2) @ baseline  # [resamples, tracks]
    means = (_weights(len(by_track), seed, 0) * drawn).sum(axis=1)
    low, high = np.quantile(means, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return Difference(
        float(by_track.mean()), float(low), float(high), float(wilcoxon(by_track).pvalue) if by_track.any() else 1.0,
        len(by_track), int((by_track > 0).sum()), int((by_track < 0).sum()),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _weights(count: int, seed: int, stream: int) -> np.ndarray:
    """How much each of `count` counts in each resample. Shape: [resamples, count]."""
    generator = np.random.default_rng([seed, stream, count])
    return generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for being several, in the order given."""
    corrected, worst = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = worst
    return corrected


def smallest_p(tracks: int) -> float:
    """What the signed-rank test says at best of so many tracks: all of them differ in the same direction."""
    return min(1.0, 2.0 ** (1 - tracks))
