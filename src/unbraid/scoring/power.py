"""Power analysis: calculate how many seeds and tracks are needed to detect a difference between the scores of two systems.

The systems are compared by the test in `unbraid.scoring.significance`. The power is the probability that the test gives p <
0.05. Both systems are assumed to have the same number of seeds and the same standard deviations.

The test estimates three independent variances from the scores: between tracks, between seeds of the first system, and between
seeds of the second system. Each estimate is a scaled chi-squared variable. For given estimates, the mean difference is a normal
variable, and the power is the probability that the mean difference exceeds half the width of the confidence interval. The
function `power` integrates this probability over the three estimates, as a midpoint sum over quantiles.

The result differs from simulations by at most 0.02. If the effects of tracks and seeds are not normally distributed, use a
simulation instead (`scripts/bench/verdicts.py`).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtri, ndtr

from unbraid.scoring.significance import ALPHA, half_width, seed_term

POWER = 0.8
MOST_TRACKS = 1000
MIDPOINTS = (np.arange(40) + 0.5) / 40


@dataclass(frozen=True)
class Deviations:
    """Store three standard deviations in dB, which describe how much the scores of separation systems vary.

    Each score is from one system, trained with one seed, on one track. A score contains three independent random effects: the
    effect of the track, the effect of the seed, and a rest that is different for each score. The model is described in
    `unbraid.scoring.significance`.

    Args:
        tracks: standard deviation of the track effects on the score difference of two systems.
        seeds: standard deviation of the seed effects on the mean score of a system.
        rest: standard deviation of the rest.
    """

    tracks: float
    seeds: float
    rest: float

    @classmethod
    def of(cls, systems: Sequence[np.ndarray]) -> "Deviations | None":
        """Estimate the standard deviations from scores of several systems on the same tracks (analysis of variance).

        The variance between seeds, and the variance of the rest (random variation that neither track nor seed explains), are
        estimated for each system and averaged. A system with k seeds has the weight k - 1 in this average. The variance between
        tracks is estimated for each pair of the first system and another system, and averaged over these pairs. A negative
        estimate of a variance is replaced by 0.

        Args:
            systems: scores of each system in dB, NaN if undefined.

        Shape:
            [seeds, tracks] each; the numbers of seeds may differ.

        Returns:
            The standard deviations; None if there are fewer than two systems or two tracks, or if each system has only one
            seed.
        """
        defined = np.all([np.isfinite(scores).all(axis=0) for scores in systems], axis=0)
        systems = [scores[:, defined] for scores in systems]
        repeated = [scores for scores in systems if len(scores) > 1]
        if len(systems) < 2 or defined.sum() < 2 or not repeated:
            return None
        counts, tracks = [len(scores) - 1 for scores in repeated], int(defined.sum())
        rest = float(np.average([_rest(scores) for scores in repeated], weights=counts))
        seeds = float(np.average([scores.mean(axis=1).var(ddof=1) for scores in repeated], weights=counts)) - rest / tracks
        first, *others = systems
        by_track = [
            (other.mean(axis=0) - first.mean(axis=0)).var(ddof=1) - rest / len(first) - rest / len(other) for other in others
        ]
        return cls(*(float(np.sqrt(max(variance, 0.0))) for variance in (np.mean(by_track), seeds, rest)))


def _rest(scores: np.ndarray) -> float:
    """Compute the variance of one system's scores, after the mean effects of all seeds and tracks are subtracted."""
    residual = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    return float(np.square(residual).sum() / ((scores.shape[0] - 1) * (scores.shape[1] - 1)))


def power(difference: float, deviations: Deviations, seeds: int, tracks: int) -> float:
    """Compute the power of a comparison of two systems: the probability of p < 0.05 if the true difference is `difference`.

    Args:
        difference: true difference of the mean scores of the two systems in dB.
        deviations: standard deviations of the scores.
        seeds: number of seeds of each system, at least 2.
        tracks: number of tracks, at least 2.

    Returns:
        The power, between 0 and 1.
    """
    track_variance = (deviations.tracks**2 + 2 * deviations.rest**2 / seeds) / tracks
    seed_variance = deviations.seeds**2 / seeds
    estimated = (seed_variance + deviations.rest**2 / (seeds * tracks)) * _estimates(seeds - 1)
    terms = [
        (track_variance * _estimates(tracks - 1)[:, None, None], tracks - 1),
        seed_term(estimated[:, None], estimated, seeds),
    ]
    half, deviation = half_width(terms, ALPHA), max(np.sqrt(track_variance + 2 * seed_variance), 1e-9)
    return float((ndtr((difference - half) / deviation) + ndtr((-difference - half) / deviation)).mean())


def _estimates(degrees: int) -> np.ndarray:
    """Return 40 quantiles of the ratio of an estimated variance to the true variance.

    The ratio is a chi-squared variable with `degrees` degrees of freedom, divided by `degrees`.
    """
    quantiles: np.ndarray = chdtri(degrees, MIDPOINTS) / degrees
    return quantiles


def tracks_needed(difference: float, deviations: Deviations, seeds: int) -> int | None:
    """Compute the smallest number of tracks with which the difference of two systems is detected with a power of 80 %.

    Args:
        difference: true difference of the mean scores of the two systems in dB.
        deviations: standard deviations of the scores.
        seeds: number of seeds of each system, at least 2.

    Returns:
        The number of tracks; None if more than 1000 tracks are needed.
    """
    counts = range(2, MOST_TRACKS + 1)
    index = bisect_left(counts, POWER, key=lambda tracks: power(difference, deviations, seeds, tracks))
    return counts[index] if index < len(counts) else None


def smallest_difference(deviations: Deviations, seeds: int, tracks: int) -> float:
    """Compute the smallest true difference of two systems that is detected with a power of 80 %.

    Args:
        deviations: standard deviations of the scores.
        seeds: number of seeds of each system, at least 2.
        tracks: number of tracks, at least 2.

    Returns:
        The difference in dB.
    """
    largest = 1.0
    while power(largest, deviations, seeds, tracks) < POWER:
        largest *= 2
    return float(brentq(lambda difference: power(difference, deviations, seeds, tracks) - POWER, 0, largest))


# NSDR of vocals of three networks with three seeds each, after 48 steps, on three demo songs (docs/reference/report.md).
DEMO = Deviations(tracks=0.61, seeds=0.78, rest=0.34)
