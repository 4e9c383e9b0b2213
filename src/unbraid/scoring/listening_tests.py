"""Analyse the ratings of a MUSHRA listening test: screen listeners, compute mean ratings, and compare measures with listeners.

MUSHRA (ITU-R Recommendation BS.1534-3, 2015): for each item, a listener rates several versions of a sound from 0 to 100 by
comparison with the reference. One of the versions is the reference itself, the hidden reference.

Screening. A listener is excluded if they rated the hidden reference below 90 in more than 15 % of the items (BS.1534-3).

Interval of a mean. Listeners and items are both samples. The variance of a mean is the sum of a term for the listeners and a
term for the items, and the interval is computed as in `unbraid.scoring.significance`. So it applies to other listeners and to
other items of the same kind.

Agreement of a measure with the listeners. For each item and each pair of systems, the measure and the mean rating of the
listeners each prefer one system. Somers' D is

    D = (pairs in the same order - pairs in opposite order) / pairs that the listeners rated differently

D is 1 if the measure orders all pairs as the listeners did, about 0 for random scores, and -1 for the opposite order. A pair
with equal or undefined scores counts in the denominator only. The interval is a percentile bootstrap over listeners and items.

Sources: ITU-R BS.1534-3. Somers, American Sociological Review 27, 1962. Efron, Annals of Statistics 7, 1979.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from unbraid.scoring.bootstrap import DRAWS, PERCENTILES
from unbraid.scoring.significance import ALPHA, half_width

LOWEST_REFERENCE = 90  # rating of the hidden reference below which an item is failed
MOST_FAILED = 0.15  # largest share of failed items of a listener who is kept
HIGHEST = 100  # largest rating


@dataclass(frozen=True)
class MeanRating:
    """Store the mean rating of a condition, such as a system or an anchor.

    Args:
        mean: mean over listeners and items, from 0 to 100.
        low: lower end of the 95 % interval; None for one listener and one item.
        high: upper end of the 95 % interval; None for one listener and one item.
    """

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Agreement:
    """Store how well a measure orders the systems as the listeners did.

    Args:
        measure: name of the measure.
        items: Somers' D over the pairs of systems in all items.
        low: lower end of the 95 % interval of `items`; None for one listener and one item.
        high: upper end of the 95 % interval of `items`; None for one listener and one item.
        means: Somers' D over the pairs of systems, from the mean score and the mean rating of each system; None if the
            listeners gave all systems the same mean rating.
        worse: True if the measure agrees less with the listeners than the best measure, the first result of `agreements`: the
            95 % interval of the difference excludes 0.
    """

    measure: str
    items: float
    low: float | None
    high: float | None
    means: float | None
    worse: bool


def failed_items(hidden_reference: np.ndarray) -> np.ndarray:
    """Count the items in which a listener rated the hidden reference below 90.

    Args:
        hidden_reference: ratings of the hidden reference.

    Shape:
        [listeners, items] -> [listeners].

    Returns:
        The number of failed items of each listener.
    """
    counts: np.ndarray = (hidden_reference < LOWEST_REFERENCE).sum(axis=1)
    return counts


def is_excluded(failed: int, items: int) -> bool:
    """Return whether a listener is excluded, from the number of failed items and the number of items."""
    return failed > MOST_FAILED * items


def mean_rating(ratings: np.ndarray) -> MeanRating:
    """Compute the mean rating of a condition and its 95 % interval.

    Args:
        ratings: ratings of the condition.

    Shape:
        [listeners, items].

    Returns:
        The mean and its interval. The interval is cut off at 0 and 100.
    """
    mean = float(ratings.mean())
    sides = [ratings.mean(axis=1), ratings.mean(axis=0)]  # means of the listeners, means of the items
    terms = [(side.var(ddof=1) / len(side), len(side) - 1) for side in sides if len(side) > 1]
    if not terms:
        return MeanRating(mean, None, None)
    half = float(half_width(terms, ALPHA))
    return MeanRating(mean, max(0.0, mean - half), min(float(HIGHEST), mean + half))


def agreements(ratings: np.ndarray, scores: Mapping[str, np.ndarray]) -> list[Agreement]:
    """Compare the order of systems by each measure with their order by the listeners.

    Args:
        ratings: ratings of the systems, without reference and anchors.
        scores: dictionary from each measure to the scores of the systems in each item; larger is better, NaN is undefined.

    Shape:
        ratings: [listeners, items, systems]; scores: each [items, systems].

    Returns:
        One result for each measure, in the order of Somers' D. Measures whose interval is above 0 come first. The list is empty
        if the listeners rated all systems equally.
    """
    listeners, items, systems = ratings.shape
    first, second = np.array([*combinations(range(systems), 2)], dtype=int).reshape(-1, 2).T
    differences = ratings[:, :, first] - ratings[:, :, second]
    heard = _sign(differences.mean(axis=0))[None]
    if not heard.any():
        return []
    generator = np.random.default_rng(0)
    of_listeners = generator.multinomial(listeners, [1 / listeners] * listeners, DRAWS) / listeners
    of_items = generator.multinomial(items, [1 / items] * items, DRAWS)
    drawn = _sign(np.einsum("dl,lip->dip", of_listeners, differences))
    orders = {name: _sign(table[:, first] - table[:, second]) for name, table in scores.items()}
    found = {name: float(_somers(heard, order, np.ones((1, items)))[0]) for name, order in orders.items()}
    draws = {name: _somers(drawn, order, of_items) for name, order in orders.items()}
    ends = {name: tuple(map(float, np.nanpercentile(draws[name], PERCENTILES))) for name in found}
    single = listeners == items == 1
    ranking = sorted(found, key=lambda name: (single or ends[name][0] <= 0, -found[name]))
    overall, once = _sign(differences.mean(axis=(0, 1)))[None, None], np.ones((1, 1))
    results = []
    for name in ranking:
        low, high = (None, None) if single else ends[name]
        lead = float(np.nanpercentile(draws[ranking[0]] - draws[name], PERCENTILES[0]))
        means = _means_of_complete_items(scores[name])
        on_means = float(_somers(overall, _sign(means[first] - means[second])[None], once)[0])
        of_means = None if np.isnan(on_means) else on_means
        results.append(Agreement(name, found[name], low, high, of_means, lead > 0))
    return results


def _sign(differences: np.ndarray) -> np.ndarray:
    """Return the sign of each difference; 0 for an undefined difference and for a rounding error."""
    signs: np.ndarray = np.sign(np.nan_to_num(differences).round(9))
    return signs


def _means_of_complete_items(scores: np.ndarray) -> np.ndarray:
    """Return the mean score of each system over the items in which all systems have a score. Shape: [I, S] -> [S]."""
    complete = scores[np.isfinite(scores).all(axis=1)]
    means: np.ndarray = complete.mean(axis=0) if len(complete) else np.full(scores.shape[1], np.nan)
    return means


def _somers(heard: np.ndarray, order: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute Somers' D of each draw. NaN if no pair of a draw was rated differently.

    Shape: heard [D, I, P], order [I, P], weights [D, I] -> [D].
    """
    same = np.einsum("di,dip,ip->d", weights, heard, order)
    rated = np.einsum("di,dip->d", weights, np.abs(heard))
    return np.divide(same, rated, out=np.full(len(rated), np.nan), where=rated > 0)
