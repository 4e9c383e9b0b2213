"""Analysis of MUSHRA ratings: screening, intervals, and the agreement of measures with simulated listeners."""

import numpy as np
import pytest
from scipy import stats

from unbraid.scoring.listening_tests import agreements, failed_items, is_excluded, mean_rating

ITEMS, SYSTEMS = 12, 4


def simulated(seed=0, listeners=8, noise=5.0):
    """Return ratings that follow the measure `rule`, and the scores of three measures."""
    generator = np.random.default_rng(seed)
    quality = generator.normal(0, 2, (ITEMS, SYSTEMS)) + np.arange(SYSTEMS)
    ratings = 100 / (1 + np.exp(-quality / 3)) + generator.normal(0, noise, (listeners, ITEMS, SYSTEMS))
    scores = {
        "random": generator.normal(0, 1, (ITEMS, SYSTEMS)),
        "similar": quality + generator.normal(0, 3, quality.shape),
        "rule": 3 * quality - 7,
    }
    return ratings.clip(0, 100), scores


@pytest.mark.parametrize("seed", range(5))
def test_the_rule_of_simulated_listeners_is_found(seed):
    first, *others = agreements(*simulated(seed))
    assert first.measure == "rule" and not first.worse and first.low > 0.5 and first.means == 1
    assert all(result.worse and result.items < first.items for result in others)
    assert next(result for result in others if result.measure == "random").low < 0.3


def test_agreement_is_the_share_of_pairs():
    ratings = np.array([[[10.0, 20, 30], [30, 20, 10]]])
    scores = {"one": np.array([[1.0, 2, 3], [1, 2, 3]]), "undefined": np.array([[1.0, 2, np.nan], [3, 2, 1]])}
    undefined, one = agreements(ratings, scores)
    assert (undefined.items, one.items) == (4 / 6, 0.0)
    assert (undefined.means, one.means) == (None, None)  # the mean ratings are equal
    tau = agreements(ratings[:, :1], {"one": np.array([[2.0, 1, 3]])})[0].items
    assert tau == pytest.approx(stats.kendalltau([2, 1, 3], [10, 20, 30]).statistic)


def test_measures_with_an_interval_above_zero_come_first():
    """The measure `unsteady` has the larger D, but its interval contains 0: it reverses one of five items."""
    ratings, right, reversed_ = np.tile([10.0, 20, 30], (1, 5, 1)), [1.0, 2, 3], [3.0, 2, 1]
    first, second = agreements(
        ratings, {"unsteady": np.array([*4 * [right], reversed_]), "steady": np.array(5 * [[2.0, 1, 3]])}
    )
    assert (first.measure, first.items, first.low) == ("steady", pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert (second.items, second.worse) == (pytest.approx(0.6), False) and second.low < 0 < second.high


def test_equal_ratings_compare_no_measure():
    assert agreements(np.full((2, 3, 2), 50.0), {"one": np.zeros((3, 2))}) == []
    assert agreements(simulated()[0], {}) == []


def test_one_rating_of_each_system_has_no_interval():
    (result,) = agreements(np.array([[[10.0, 20]]]), {"one": np.array([[1.0, 2]])})
    assert (result.items, result.low, result.high, result.worse) == (1, None, None, False)


def test_screening_by_the_hidden_reference():
    ratings = np.full((4, 20), 100.0)
    ratings[1, :3], ratings[2, :4] = 89, 89  # 15 % and 20 % of the items
    ratings[3] = np.random.default_rng(0).uniform(0, 100, 20)
    failed = failed_items(ratings)
    assert failed[:3].tolist() == [0, 3, 4]
    assert [is_excluded(int(count), 20) for count in failed] == [False, False, True, True]


def test_interval_of_a_mean_contains_the_true_mean():
    generator, inside = np.random.default_rng(0), []
    for _ in range(500):
        listeners, items = generator.normal(0, 6, (7, 1)), generator.normal(0, 6, (1, 8))
        rating = mean_rating(50 + listeners + items + generator.normal(0, 6, (7, 8)))
        inside.append(rating.low <= 50 <= rating.high)
    assert 0.93 < np.mean(inside) <= 1


def test_interval_of_a_mean_stays_on_the_scale():
    rating = mean_rating(np.array([[100.0, 90], [60, 100]]))
    assert (rating.mean, rating.high) == (87.5, 100) and 0 <= rating.low < rating.mean
    assert mean_rating(np.array([[80.0]])).low is None
