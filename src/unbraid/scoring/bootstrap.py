"""Compute the bootstrap interval of an average over tracks: how far the average may be from that over all similar tracks.

Method: Efron, Annals of Statistics 7, 1979, with percentiles. As many tracks as there are scored are drawn with replacement.
The 95 % interval contains 95 % of the averages of such draws. The interval does not include the differences between seeds, and
is too short for fewer than about 20 tracks. To compare two systems, use the paired test in `unbraid.scoring.significance`.
"""

from collections.abc import Sequence

import numpy as np

DRAWS = 2000
PERCENTILES = (2.5, 97.5)
BLOCK = 1 << 20  # values that are drawn at once, which limits the memory


def interval(
    values: Sequence[float] | Sequence[Sequence[float]], samples: Sequence[int], statistic: str
) -> tuple[float, float] | None:  # fmt: skip
    """Compute the 95 % bootstrap interval of the average of scores over tracks. Equal scores give an equal interval.

    Args:
        values: score of each track. For several targets, one list of such scores for each target; the result is then the
            interval of the mean of the averages of the targets.
        samples: length of each track in samples.
        statistic: `mean`, `median` or `length_weighted` (mean weighted by the lengths).

    Returns:
        The two ends of the interval, in the unit of the scores; None for fewer than two tracks.
    """
    tracks = len(samples)
    if tracks < 2:
        return None
    scores, lengths = np.atleast_2d(np.asarray(values, dtype=float)), np.asarray(samples, dtype=float)
    generator, averages = np.random.default_rng(0), []
    for start in range(0, DRAWS, step := max(1, BLOCK // tracks)):
        drawn = generator.integers(0, tracks, (min(step, DRAWS - start), tracks))
        averages.append(np.mean([_average(target[drawn], lengths[drawn], statistic) for target in scores], axis=0))
    low, high = np.percentile(np.concatenate(averages), PERCENTILES)
    return float(low), float(high)


def _average(scores: np.ndarray, lengths: np.ndarray, statistic: str) -> np.ndarray:
    if statistic == "median":
        return np.asarray(np.median(scores, axis=1))
    return np.asarray(np.average(scores, axis=1, weights=lengths if statistic == "length_weighted" else None))
