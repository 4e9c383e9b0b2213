"""Compute the bootstrap interval of an average over tracks: how far the average may be from that over all similar tracks.

Method: Efron, Annals of Statistics 7, 1979, with percentiles. As many tracks as there are scored are drawn with replacement.
The 95 % interval contains 95 % of the averages of such draws. The interval does not include the differences between seeds, and
is too short for fewer than about 20 tracks. To compare two systems, use the paired test in `unbraid.scoring.significance`.
"""

from collections.abc import Sequence

import numpy as np

DRAWS = 2000
PERCENTILES = (2.5, 97.5)


def interval(values: Sequence[float], samples: Sequence[int], statistic: str) -> tuple[float, float] | None:
    """Compute the 95 % bootstrap interval of the average of scores over tracks. Equal scores give an equal interval.

    Args:
        values: score of each track.
        samples: length of each track in samples.
        statistic: `mean`, `median` or `length_weighted` (mean weighted by the lengths).

    Returns:
        The two ends of the interval, in the unit of the scores; None for fewer than two tracks.
    """
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    scores, lengths = np.asarray(values, dtype=float)[drawn], np.asarray(samples, dtype=float)[drawn]
    if statistic == "median":
        averages = np.median(scores, axis=1)
    else:
        averages = np.average(scores, axis=1, weights=lengths if statistic == "length_weighted" else None)
    low, high = np.percentile(averages, PERCENTILES)
    return float(low), float(high)
