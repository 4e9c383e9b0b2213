"""Difference of two systems: agreement with SciPy, and simulated scores with a known true difference."""

import importlib.util

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from tests.conftest import PROJECT
from unbraid.scoring.significance import difference, holm

# Darwin's maize, crossed and self-fertilised plants in inches (Fisher, The Design of Experiments, 1935): 15 pairs.
CROSSED = [23.5, 12, 21, 22, 19.125, 21.5, 22.125, 20.375, 18.25, 21.625, 23.25, 21, 22.125, 23, 12]
SELFED = [17.375, 20.375, 20, 20, 18.375, 18.625, 18.625, 15.25, 16.5, 18, 16.25, 18, 12.75, 15.5, 18]


def pairs(a=CROSSED, b=SELFED):
    return np.array([a], dtype=float), np.array([b], dtype=float)


def test_one_seed_gives_the_paired_t_test():
    found, theirs = difference(*pairs()), ttest_rel(CROSSED, SELFED)
    assert (found.tracks, found.above, found.below, found.over_seeds) == (15, 13, 2, False)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9) and 0.04 < found.p < 0.05
    assert (found.low, found.high) == pytest.approx(theirs.confidence_interval(), rel=1e-9)


def test_seeds_alone_give_welchs_t_test():
    """Compare with Welch's t-test if all tracks have the same difference and both systems the same number of seeds."""
    seeds = np.array([[1.0, 1.4, 0.7], [0.1, 0.9, 0.3]])
    system, baseline = (np.repeat(row[:, None], 4, axis=1) for row in seeds)
    found, theirs = difference(system, baseline), ttest_ind(*seeds, equal_var=False)
    assert found.over_seeds and found.p == pytest.approx(theirs.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx(theirs.confidence_interval(), rel=1e-6)


def test_exchanged_systems_change_the_sign_only():
    generator = np.random.default_rng(0)
    a, b = generator.normal(1, 1, (2, 6)), generator.normal(0, 1, (3, 6))
    forward, backward = difference(a, b), difference(b, a)
    assert (backward.mean, backward.low, backward.high) == pytest.approx((-forward.mean, -forward.high, -forward.low))
    assert (backward.above, backward.below, backward.p) == (forward.below, forward.above, pytest.approx(forward.p))


def test_p_agrees_with_the_interval():
    generator = np.random.default_rng(0)
    results = [difference(generator.normal(1, 1, (2, 8)), generator.normal(0, 1, (3, 8))) for _ in range(200)]
    excluded = [result.low > 0 or result.high < 0 for result in results]
    assert excluded == [result.p < 0.05 for result in results] and 20 < sum(excluded) < 180


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_verdicts", PROJECT / "scripts/bench/verdicts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (5, 5), (2, 5)])
@pytest.mark.parametrize("songs", [3, 10, 50])
def test_coverage_and_false_alarms(bench, monkeypatch, songs, seeds):
    """Run `scripts/bench/verdicts.py` with few repetitions, and therefore with wider limits than 0.93 and 0.06."""
    monkeypatch.setattr(bench, "RESAMPLES", 2)  # the bootstrap is not tested
    for name in ("seeds 0.1", "seeds 0.5", "seeds 0.4, 0.2"):
        shares = bench.simulate(bench.DEVIATIONS[name], songs, seeds, 300)
        assert shares["coverage"] >= 0.92 and shares["false_alarms"] <= 0.08, (name, shares)


def test_coverage_with_one_seed(bench, monkeypatch):
    monkeypatch.setattr(bench, "RESAMPLES", 2)
    for songs in (3, 10, 50):
        shares = bench.simulate(bench.DEVIATIONS["seeds 0.5"], songs, (1, 1), 300)
        assert shares["coverage"] >= 0.92 and shares["false_alarms"] == 0


def test_different_seeds_widen_the_interval():
    tracks = np.random.default_rng(0).normal(0, 1, 20)
    near, far = (np.stack([tracks + shift, tracks - shift]) for shift in (0.01, 2))
    base = np.stack([tracks, tracks]) - 1
    close, wide = difference(near, base), difference(far, base)
    assert close.mean == pytest.approx(1) == pytest.approx(wide.mean)
    assert close.high - close.low < 0.3 and wide.high - wide.low > 20  # two seeds of one variant: t with one degree of freedom


def test_one_seed_of_either_system_ignores_seeds():
    generator = np.random.default_rng(0)
    three, one = generator.normal(0, 1, (3, 10)) + np.array([[0], [5], [9]]), generator.normal(0, 1, (1, 10))
    assert not difference(three, one).over_seeds and not difference(one, three).over_seeds
    assert difference(three, one).p == pytest.approx(ttest_rel(three.mean(axis=0), one[0]).pvalue)


def test_one_track_has_no_interval():
    found = difference(np.array([[2.0], [3.0]]), np.array([[1.0], [1.0]]))
    assert (found.mean, found.low, found.high, found.p, found.tracks) == (1.5, None, None, None, 1)


def test_tracks_undefined_in_any_run_are_ignored():
    system, base = np.array([[2.0, np.nan, 5.0], [2.0, 3.0, 5.0]]), np.array([[1.0, 1.0, np.nan]])
    found = difference(system, base)
    assert (found.tracks, found.mean, found.low) == (1, 1.0, None)
    assert difference(np.full((1, 3), np.nan), base) is None


def test_difference_of_equal_systems_is_zero():
    found = difference(*pairs(CROSSED, CROSSED))
    assert (found.mean, found.low, found.high, found.p, found.above, found.below) == (0, 0, 0, 1, 0, 0)


def test_interval_of_constant_scores_is_a_point():
    found = difference(np.ones((2, 3)), np.zeros((2, 3)))
    assert (found.mean, found.low, found.high, found.p) == (1, 1, 1, 0)


def test_holm_on_four_p_values():
    """Correct four p-values: 0.01 × 4, then 0.02 × 3. The next ones are not smaller than the previous result."""
    assert holm([0.02, 0.01, 0.04, 0.03]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == [] and holm([0.03]) == [0.03]
