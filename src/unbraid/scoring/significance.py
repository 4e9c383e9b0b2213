"""Compare two systems on the same tracks: difference, 95 % interval and p-value over tracks and seeds.

Model. The score of system a, trained with seed s, on track i is

    score[a, s, i] = mean[a] + track[i] + interaction[a, i] + seed[a, s] + rest[a, s, i]

with independent normal effects. A seed is nested in its system: seed 0 of two systems trains two different networks, so seeds
are not paired, their numbers may differ, and each system has a seed variance of its own. Tracks are paired.

Estimate. d[i] is the difference of the two means over seeds on track i. The mean of d over tracks estimates mean[1] - mean[0].
Two independent terms add up to the variance of this estimate, both with ddof = 1:

    tracks   V_t = var(d) / n, with n - 1 degrees of freedom
    seeds    V_s = V_0 + V_1, where V_a = var(mean of each run over tracks) / k_a, with
             (k - 1) (V_0 + V_1)² / (V_0² + V_1²) degrees of freedom, k = min(k_0, k_1) (Satterthwaite 1946, Welch 1947)

The rest is part of both terms, so the variance is too large rather than too small.

Interval. mean ± sqrt(t_t² V_t + t_s² V_s), with the quantile t of each term's own degrees of freedom (Banerjee 1960). One
Satterthwaite quantile for the whole variance would be shorter, but it covers the true difference in 88 to 93 % of cases if
two runs per system differ much or if there are three tracks (`scripts/bench/verdicts.py`). The p-value is the level at which
the interval ends at 0, so that p < 0.05 means that the 95 % interval excludes 0.

With one seed of either system the seed term is unknown. Interval and p-value are then those of the paired t-test over tracks.
They hold for these trained networks only. With one track there is no interval.

Sources: Satterthwaite, Biometrics Bulletin 2, 1946. Welch, Biometrika 34, 1947. Banerjee, Sankhya 22, 1960. Bouthillier et al.,
Accounting for Variance in Machine Learning Benchmarks, MLSys 2021. Holm, Scandinavian Journal of Statistics 6, 1979.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

ALPHA = 0.05
SMALLEST_P = 1e-100  # a smaller p-value is reported as 0


@dataclass(frozen=True)
class Difference:
    """Hold the difference of a system and a baseline over the tracks in which both are defined.

    Args:
        mean: mean of the differences over tracks.
        low: lower end of the 95 % interval; None for one track.
        high: upper end of the 95 % interval; None for one track.
        p: two-sided p-value of no difference, not corrected; None for one track.
        tracks: number of tracks.
        above: number of tracks in which the system has the higher score.
        below: number of tracks in which the system has the lower score.
        over_seeds: whether interval and p-value cover other seeds. If not, they hold for these trained networks only.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    tracks: int
    above: int
    below: int
    over_seeds: bool


def difference(system: np.ndarray, baseline: np.ndarray) -> Difference | None:
    """Return system minus baseline, or None if no track is defined in all runs of both.

    Args:
        system: scores, NaN if undefined.
        baseline: scores of the same tracks.

    Shape:
        [seeds, tracks] both; the numbers of seeds may differ.
    """
    defined = np.isfinite(system).all(axis=0) & np.isfinite(baseline).all(axis=0)
    if not defined.any():
        return None
    system, baseline = system[:, defined], baseline[:, defined]
    by_track = system.mean(axis=0) - baseline.mean(axis=0)
    mean, tracks = float(by_track.mean()), len(by_track)
    above, below = int((by_track > 0).sum()), int((by_track < 0).sum())
    over_seeds = min(len(system), len(baseline)) > 1
    if tracks == 1:
        return Difference(mean, None, None, None, tracks, above, below, over_seeds)
    terms = [(by_track.var(ddof=1) / tracks, tracks - 1)]
    if over_seeds:
        one, other = (runs.mean(axis=1).var(ddof=1) / len(runs) for runs in (system, baseline))
        terms.append(seed_term(one, other, min(len(system), len(baseline))))
    half = float(half_width(terms, ALPHA))
    return Difference(mean, mean - half, mean + half, _p_value(mean, terms), tracks, above, below, over_seeds)


def seed_term(variance: Any, other: Any, seeds: int) -> tuple[Any, Any]:
    """Return the seed variance of a difference and its degrees of freedom.

    Args:
        variance: variance of one system's mean over seeds; a number or an array.
        other: the same of the other system.
        seeds: number of seeds of the system with fewer.
    """
    total, squares = variance + other, np.square(variance) + np.square(other)
    ratio = np.divide(np.square(total), squares, out=np.ones_like(total), where=squares > 0)
    return total, (seeds - 1) * ratio


def half_width(terms: Sequence[tuple[Any, Any]], alpha: float) -> Any:
    """Return half the width of the interval with level 1 - alpha.

    Args:
        terms: variance and degrees of freedom of each independent term; numbers or arrays.
        alpha: probability that the interval misses the true value.
    """
    return np.sqrt(sum(stdtrit(degrees, alpha / 2) ** 2 * variance for variance, degrees in terms))


def _p_value(mean: float, terms: Sequence[tuple[Any, Any]]) -> float:
    """Return the level at which the interval ends at 0."""
    if mean == 0:
        return 1.0

    def excess(log_alpha: float) -> float:
        return float(half_width(terms, math.exp(log_alpha))) - abs(mean)

    smallest = math.log(SMALLEST_P)
    return 0.0 if excess(smallest) <= 0 else math.exp(brentq(excess, smallest, 0.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several comparisons with one baseline, in the order given."""
    corrected, worst = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = worst
    return corrected
