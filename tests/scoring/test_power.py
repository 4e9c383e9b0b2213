"""Power: agreement with simulation and with the t-test, and estimation of the deviations."""

import numpy as np
import pytest
from scipy.stats import nct
from scipy.stats import t as student

from unbraid.scoring.power import Deviations, power, smallest_difference, tracks_needed
from unbraid.scoring.significance import difference


def scores(generator, mean, deviations, seeds, tracks, effects):
    noise = generator.normal(0, deviations.seeds, (seeds, 1)) + generator.normal(0, deviations.rest, (seeds, tracks))
    return mean + effects + noise


def drawn(generator, mean, deviations, seeds, tracks):
    """Return scores of a system with the given mean, and of a system with mean 0."""
    effects = generator.normal(0, deviations.tracks, tracks)
    return scores(generator, mean, deviations, seeds, tracks, effects), scores(generator, 0, deviations, seeds, tracks, 0)


SONGS, NETWORKS, REST = Deviations(1.0, 0.2, 0.4), Deviations(0.3, 0.5, 0.2), Deviations(0.2, 0.1, 1.5)


@pytest.mark.parametrize(
    ("deviations", "seeds", "tracks"), [(SONGS, 3, 3), (SONGS, 5, 10), (NETWORKS, 2, 10), (NETWORKS, 3, 50), (REST, 3, 20)]
)
def test_power_agrees_with_simulation(deviations, seeds, tracks):
    generator = np.random.default_rng(0)
    for true in (0.0, 0.7, 1.4):
        pairs = (drawn(generator, true, deviations, seeds, tracks) for _ in range(600))
        detected = np.mean([difference(*pair).p < 0.05 for pair in pairs])
        assert power(true, deviations, seeds, tracks) == pytest.approx(detected, abs=0.05)


def test_power_without_seeds_equals_paired_t_test():
    expected = nct.sf(student.ppf(0.975, 9), 9, 1.0 * np.sqrt(10)) + nct.cdf(-student.ppf(0.975, 9), 9, 1.0 * np.sqrt(10))
    assert power(1.0, Deviations(1.0, 0.0, 0.0), 2, 10) == pytest.approx(expected, abs=0.005)


def test_smallest_difference_and_tracks_needed_agree():
    deviations = Deviations(1.0, 0.1, 0.3)
    for seeds, tracks in ((2, 20), (3, 10), (5, 40)):
        smallest = smallest_difference(deviations, seeds, tracks)
        assert power(smallest, deviations, seeds, tracks) == pytest.approx(0.8, abs=1e-6)
        assert tracks_needed(smallest * 1.0001, deviations, seeds) == tracks
    differences = [smallest_difference(deviations, *design) for design in ((5, 20), (3, 20), (3, 10), (2, 10))]
    assert differences == sorted(differences)


def test_tracks_cannot_replace_seeds():
    assert tracks_needed(0.5, Deviations(1.0, 0.5, 0.3), 2) is None
    assert tracks_needed(0.5, Deviations(1.0, 0.05, 0.3), 5) < 60


def test_deviations_are_estimated_from_scores():
    true, generator = Deviations(0.8, 0.5, 0.3), np.random.default_rng(0)
    effects = generator.normal(0, 3, 200)
    systems = [scores(generator, 0, true, 40, 200, effects + generator.normal(0, 0.8 / np.sqrt(2), 200)) for _ in range(4)]
    systems[0][0, 5] = np.nan
    estimated = Deviations.of(systems)
    assert estimated.tracks == pytest.approx(0.8, rel=0.1) and estimated.rest == pytest.approx(0.3, rel=0.02)
    assert estimated.seeds == pytest.approx(0.5, rel=0.2)


def test_rest_does_not_change_other_deviations():
    true, generator = Deviations(0.3, 0.0, 1.0), np.random.default_rng(0)
    estimated = Deviations.of(drawn(generator, 0, true, 2, 20_000))
    assert (estimated.tracks, estimated.rest) == (pytest.approx(0.3, rel=0.1), pytest.approx(1.0, rel=0.02))
    assert estimated.seeds < 0.02


def test_too_few_scores_give_none():
    three = np.arange(6.0).reshape(2, 3)
    assert Deviations.of([three]) is None and Deviations.of([three[:1], three[1:]]) is None
    assert Deviations.of([three[:, :1], three[:, :1]]) is None
    assert Deviations.of([three, three]) == Deviations(0, pytest.approx(np.sqrt(4.5)), 0)
