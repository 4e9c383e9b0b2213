"""Bootstrap intervals of averages: known standard errors, weights, and how often they contain the true average."""

import numpy as np
import pytest

from unbraid.scoring import bootstrap
from unbraid.scoring.bootstrap import interval

NORMAL = np.random.default_rng(1).standard_normal(400)


def test_mean_has_the_interval_of_its_standard_error():
    low, high = interval(NORMAL, [1] * 400, "mean")
    assert (low + high) / 2 == pytest.approx(NORMAL.mean(), abs=0.01)
    assert high - low == pytest.approx(2 * 1.96 * NORMAL.std() / 20, rel=0.05)


def test_median_has_a_wider_interval():
    low, high = interval(NORMAL, [1] * 400, "median")
    assert low < np.median(NORMAL) < high
    assert high - low == pytest.approx(2 * 1.96 * (np.pi / 2) ** 0.5 / 20, rel=0.25)


def test_long_tracks_count_more():
    low, high = interval([0.0, 1.0] * 50, [1000, 1] * 50, "length_weighted")
    assert 0 < low < high < 0.01


def test_interval_needs_two_tracks():
    assert interval([1.0], [5], "mean") is interval([], [], "median") is None
    assert interval([1.0, 1.0], [5, 5], "mean") == (1.0, 1.0)


def test_interval_of_the_mean_over_targets():
    """If the targets agree, the interval is that of one target. If their differences cancel, the interval is a point."""
    one, other = NORMAL[:20], 3 - NORMAL[:20]
    assert interval([one, one], [1] * 20, "mean") == pytest.approx(interval(one, [1] * 20, "mean"))
    assert interval([one, other], [1] * 20, "mean") == pytest.approx((1.5, 1.5))


def test_many_values_are_drawn_in_blocks(monkeypatch):
    expected = interval(NORMAL, [1] * 400, "mean")
    monkeypatch.setattr(bootstrap, "BLOCK", 1000)
    assert interval(NORMAL, [1] * 400, "mean") == expected


def test_result_does_not_change_between_calls():
    assert interval(NORMAL[:9], [1] * 9, "mean") == interval(NORMAL[:9], [1] * 9, "mean")


@pytest.mark.parametrize(("tracks", "least"), [(20, 0.88), (50, 0.91)])
def test_share_of_intervals_with_the_true_mean(tracks, least):
    samples = np.random.default_rng(2).standard_normal((300, tracks))
    inside = [low < 0 < high for low, high in (interval(row, [1] * tracks, "mean") for row in samples)]
    assert least < np.mean(inside) < 0.98
