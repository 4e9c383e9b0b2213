"""Compare two systems on the same tracks: difference, 95 % interval and p-value over tracks and seeds.

Model. The score of system a, trained with seed s, on track i is

    score[a, s, i] = mean[a] + track[i] + interaction[a, i] + seed[a, s] + rest[a, s, i]

All effects are independent and normally distributed. Tracks are paired: both systems are scored on the same tracks. Seeds are
not paired, because the same seed trains different networks in two systems. The systems may have different numbers of seeds, and
the variance between seeds is estimated for each system.

Estimate. d[i] is the score of system 1 minus the score of system 0 on track i, each averaged over seeds. The mean of d over the
n tracks estimates mean[1] - mean[0]. The variance of this estimate is the sum of two independent terms (k_a: number of seeds of
system a; var: sample variance, ddof = 1):

    tracks   V_t = var(d) / n, with n - 1 degrees of freedom

    seeds    V_s = V_0 + V_1, where V_a = var(mean of each run over tracks) / k_a, with
             (k - 1) (V_0 + V_1)² / (V_0² + V_1²) degrees of freedom, k = min(k_0, k_1) (Satterthwaite 1946, Welch 1947)

`rest` is part of both terms, so that the variance is too large rather than too small.

Interval. mean ± sqrt(t_t² V_t + t_s² V_s), with the quantile t of the degrees of freedom of each term (Banerjee 1960). A single
Satterthwaite quantile for the whole variance gives too short intervals in two cases: with three tracks, or if each system has
two seeds with very different scores. In these cases, the 95 % interval contains the true difference in only 88 to 93 % of
simulated comparisons (`scripts/bench/verdicts.py`). The p-value is the level at which one end of the interval is 0, so that
p < 0.05 means that the 95 % interval excludes 0.

If either system has one seed, the seed term is unknown. Interval and p-value are then computed by the paired t-test over
tracks, and are valid only for the trained networks. With one track the interval is undefined. Use `unbraid.scoring.power` to
calculate the numbers of seeds and tracks before an experiment.

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
    """Store the difference between the scores of a system and of a baseline, with confidence interval and p-value.

    Args:
        mean: mean over tracks of the score of the system minus the score of the baseline, in dB.
        low: lower end of the 95 % interval in dB; None for one track.
        high: upper end of the 95 % interval in dB; None for one track.
        p: two-sided p-value of the hypothesis that the difference is 0, without correction; None for one track.
        tracks: number of tracks with a defined score in all runs of system and baseline.
        above: number of tracks in which the system has a higher score than the baseline.
        below: number of tracks in which the system has a lower score than the baseline.
        over_seeds: True if interval and p-value are also valid for other seeds. False if system or baseline has only one seed.
            Interval and p-value are then valid only for the trained networks.
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
    """Compare the scores of a system with the scores of a baseline: mean difference, 95 % interval and p-value.

    Args:
        system: scores of the system in dB, NaN if undefined.
        baseline: scores of the baseline in dB on the same tracks, NaN if undefined.

    Shape:
        each [seeds, tracks]; the numbers of seeds may differ.

    Returns:
        The difference over all tracks with a defined score in each run of system and baseline; None if no track has such
        scores.
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
        variance, other = (runs.mean(axis=1).var(ddof=1) / len(runs) for runs in (system, baseline))
        terms.append(seed_term(variance, other, min(len(system), len(baseline))))
    half = float(half_width(terms, ALPHA))
    return Difference(mean, mean - half, mean + half, _p_value(mean, terms), tracks, above, below, over_seeds)


def seed_term(variance: Any, other: Any, seeds: int) -> tuple[Any, Any]:
    """Compute how much the seeds contribute to the variance of the score difference of two systems.

    Args:
        variance: variance of the mean score of the first system, a number or an array. It is computed in two steps: the scores
            of each seed are averaged over the tracks; the variance of these means is divided by the number of seeds.
        other: variance of the mean score of the second system, in the same form.
        seeds: smaller number of seeds of the two systems.

    Returns:
        The contribution to the variance, and its degrees of freedom (Satterthwaite).
    """
    total, squares = variance + other, np.square(variance) + np.square(other)
    ratio = np.divide(np.square(total), squares, out=np.ones_like(total), where=squares > 0)
    return total, (seeds - 1) * ratio


def half_width(terms: Sequence[tuple[Any, Any]], alpha: float) -> Any:
    """Compute half the width of the confidence interval with the confidence level 1 - alpha.

    Args:
        terms: one pair (variance, degrees of freedom) for each independent term of the total variance (tracks, seeds). The two
            values of a pair are numbers or arrays.
        alpha: probability that the interval does not contain the true value.

    Returns:
        Half the width, in the unit of the scores.
    """
    return np.sqrt(sum(stdtrit(degrees, alpha / 2) ** 2 * variance for variance, degrees in terms))


def _p_value(mean: float, terms: Sequence[tuple[Any, Any]]) -> float:
    """Compute the p-value of a mean difference: the alpha for which one end of the confidence interval is 0.

    `terms` is described in `half_width`.
    """
    if mean == 0:
        return 1.0

    def excess(log_alpha: float) -> float:
        return float(half_width(terms, math.exp(log_alpha))) - abs(mean)

    smallest = math.log(SMALLEST_P)
    return 0.0 if excess(smallest) <= 0 else math.exp(brentq(excess, smallest, 0.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of several comparisons with Holm's method.

    Args:
        p_values: uncorrected p-values.

    Returns:
        The corrected p-values in the order of `p_values`.
    """
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
