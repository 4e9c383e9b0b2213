"""Exercises of lesson 9: right answers, likely wrong answers, and the simulated listeners."""

import numpy as np
import pytest

from tests.reports.sweeps import usual
from unbraid.course.checks import lesson_09 as check
from unbraid.course.listeners import simulate
from unbraid.reports.mushra import make_test
from unbraid.reports.mushra_results import read_key, read_listeners, scores_of_items
from unbraid.reports.variants import runs_of, variants_of
from unbraid.scoring.power import smallest_difference
from unbraid.scoring.significance import holm

DIFFERENCES = [-1.0, -0.5, -1.5]


@pytest.mark.parametrize("exercise", [check.exercise_1, check.exercise_2, check.exercise_3])
def test_missing_and_meaningless_answers_are_not_correct(exercise):
    for answer in (..., "text", [1.0, 2.0], None):
        assert not exercise(answer).correct


def test_paired_difference_of_each_song():
    assert check.exercise_1(DIFFERENCES).correct
    assert check.exercise_1(np.array(DIFFERENCES)).correct


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([1.0, 0.5, 1.5], "sign"),
        (-1.0, "mean over the songs"),
        ([-1.0, 0.5, -2.0], "one seed"),
        ([-2.0, -1.0, -3.0], "sum"),
        ([0.0, 0.0, 0.0], "axis 0"),
    ],
)
def test_wrong_differences_are_explained(answer, reason):
    result = check.exercise_1(answer)
    assert not result.correct and reason in result.explanation


def test_holm_correction():
    assert check.exercise_2(holm(check.P_VALUES)).correct
    assert check.exercise_2([0.024, 0.045, 0.06, 0.06]).correct


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([0.024, 0.045, 0.06, 0.045], "before it"),
        ([0.024, 0.06, 0.12, 0.18], "Bonferroni"),
        ([0.02, 0.05, 0.06, 0.06], "rounded"),
        ([0.02, 0.04, 0.06, 0.06], "rounded"),
        ([0.006, 0.03, 0.09, 0.18], "reversed"),
        ([0.006, 0.015, 0.03, 0.045], "without a correction"),
        ([1.0, 1.0, 1.0, 1.0], "4, 3, 2 and 1"),
    ],
)
def test_wrong_corrections_are_explained(answer, reason):
    result = check.exercise_2(answer)
    assert not result.correct and reason in result.explanation


def test_smallest_number_of_seeds():
    assert check.exercise_3(4).correct
    assert smallest_difference(check.DEVIATIONS, 4, check.SONGS) <= check.WANTED
    assert smallest_difference(check.DEVIATIONS, 3, check.SONGS) > check.WANTED
    swapped = [n for n in range(2, 20) if smallest_difference(check.DEVIATIONS, check.SONGS, n) <= check.WANTED]
    assert swapped[0] == check.SWAPPED


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (1, "unknown"),
        (7, "exchanged"),
        (8, "all trainings"),
        (3, "detect only"),
        (5, "fewer seeds"),
        (10**9, "fewer seeds"),
        (4.5, "whole number"),
    ],
)
def test_wrong_numbers_of_seeds_are_explained(answer, reason):
    result = check.exercise_3(answer)
    assert not result.correct and reason in result.explanation


def test_simulated_listeners_follow_the_score(tmp_path):
    sweep = usual(tmp_path / "sweep")
    test = sweep / "listening"
    make_test(variants_of(runs_of(sweep)), test, songs=2, seconds=1.0, target=None)
    files = [simulate(test, tmp_path / f"{seed}.json", seed, attentive=seed < 3) for seed in range(4)]
    key = read_key(test)
    listeners = read_listeners(files, key)
    scores = next(iter(scores_of_items(key).values())).mean(axis=0)
    for listener in listeners[:3]:
        ratings = listener.ratings.mean(axis=0)
        assert (listener.ratings[:, 0] >= 90).all()
        assert np.corrcoef(ratings[[*key.runs]], scores)[0, 1] > 0.9
    assert (listeners[3].ratings[:, 0] < 90).any() and listeners[3].name == "random 3"
