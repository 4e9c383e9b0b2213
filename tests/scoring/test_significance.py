"""Differences of systems on the same tracks: against SciPy, and on samples whose answer is known."""

import numpy as np
import pytest
from scipy.stats import bootstrap, wilcoxon

from unbraid.scoring.significance import difference, holm, smallest_p

# Darwin's maize, crossed and self-fertilised plants in inches (Fisher, The Design of Experiments, 1935): 15 pairs.
CROSSED = [23.5, 12, 21, 22, 19.125, 21.5, 22.125, 20.375, 18.25, 21.625, 23.25, 21, 22.125, 23, 12]
SELFED = [17.375, 20.375, 20, 20, 18.375, 18.625, 18.625, 15.25, 16.5, 18, 16.25, 18, 12.75, 15.5, 18]


def pairs(a=CROSSED, b=SELFED):
    return np.array([a], dtype=float), np.array([b], dtype=float)


def test_darwins_maize_as_scipy_has_it():
    found = difference(*pairs())
    differences = np.subtract(CROSSED, SELFED)
    assert (found.tracks, found.above, found.below) == (15, 13, 2) and found.mean == pytest.approx(differences.mean())
    assert found.p == pytest.approx(wilcoxon(differences).pvalue) and 0.04 < found.p < 0.05
    theirs = bootstrap([differences], np.mean, method="percentile", n_resamples=5000, rng=0).confidence_interval
    assert (found.low, found.high) == (pytest.approx(theirs.low, abs=0.15), pytest.approx(theirs.high, abs=0.15))


def test_the_other_way_round_everything_changes_its_sign():
    one, other = difference(*pairs()), difference(*pairs(SELFED, CROSSED))
    assert other.mean == -one.mean and (other.above, other.below, other.p) == (one.below, one.above, one.p)
    assert (other.low, other.high) == (pytest.approx(-one.high, abs=0.15), pytest.approx(-one.low, abs=0.15))


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly():
    one, again, other = (difference(*pairs(), seed=seed) for seed in (0, 0, 1))
    assert one == again and one.low != other.low and one.low == pytest.approx(other.low, abs=0.2)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """200 samples of 30 tracks whose true difference is 1 dB: some 95 % of the intervals hold it."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        base = generator.normal(0, 2, (1, 30))
        found = difference(base + generator.normal(1, 1.5, (1, 30)), base)
        held += found.low <= 1 <= found.high
    assert 180 <= held <= 198


def test_seeds_that_lie_apart_widen_the_interval():
    tracks = np.random.default_rng(0).normal(0, 1, 20)
    near, far = (np.stack([tracks + shift, tracks - shift]) for shift in (0.01, 2))
    base = tracks[None] - 1
    close, wide = difference(near, base), difference(far, base)
    assert close.mean == pytest.approx(1) == pytest.approx(wide.mean)
    assert wide.high - wide.low > 3 and close.high - close.low < 0.1


def test_tracks_that_are_undefined_in_any_run_are_left_out():
    system, base = np.array([[2.0, np.nan, 5.0], [2.0, 3.0, 5.0]]), np.array([[1.0, 1.0, np.nan]])
    found = difference(system, base)
    assert (found.tracks, found.mean, found.low, found.high) == (1, 1.0, 1.0, 1.0)
    assert difference(np.full((1, 3), np.nan), base) is None


def test_equal_systems_differ_by_nothing():
    found = difference(*pairs(CROSSED, CROSSED))
    assert (found.mean, found.low, found.high, found.p, found.above, found.below) == (0, 0, 0, 1, 0, 0)


def test_holm_on_the_example_of_his_correction():
    """Four tests: 0.01 × 4, then 0.02 × 3, then what is no smaller than the one before."""
    assert holm([0.02, 0.01, 0.04, 0.03]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == [] and holm([0.03]) == [0.03]


def test_the_smallest_p_is_that_of_songs_that_all_agree():
    for tracks in (1, 3, 6, 10):
        assert wilcoxon(np.arange(1, tracks + 1)).pvalue == pytest.approx(smallest_p(tracks))
