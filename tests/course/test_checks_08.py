"""Exercises of lesson 8: right answers and likely wrong answers."""

import math

import numpy as np
import pytest

from unbraid.course.checks import lesson_08 as check


@pytest.mark.parametrize("exercise", [check.exercise_1, check.exercise_2, check.exercise_3])
def test_missing_and_meaningless_answers_are_not_correct(exercise):
    for answer in (..., "text", [1.0, 2.0], None, math.nan, math.inf):
        assert not exercise(answer).correct


def test_number_of_harmonics():
    assert check.exercise_1(18).correct


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(36, "half the sample rate"), (36.36, "half"), (19, "8360 Hz"), (17, "counts"), (18.18, "Round"), (1, "Divide")],
)
def test_wrong_numbers_of_harmonics_are_explained(answer, reason):
    result = check.exercise_1(answer)
    assert not result.correct and reason in result.explanation


def test_cents():
    assert check.exercise_2(23.45).correct


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (-23.45, "sign"),
        (0.2345, "semitones"),
        (0.01954, "octaves"),
        (16.25, "natural"),
        (7.06, "base 10"),
        (16.364, "logarithmic"),
        (6, "in Hz"),
        (100, "Compute"),
    ],
)
def test_wrong_cents_are_explained(answer, reason):
    result = check.exercise_2(answer)
    assert not result.correct and reason in result.explanation


@pytest.mark.parametrize("shift", [0, 1])
def test_sine_of_a_changing_pitch(shift):
    assert check.exercise_3(lambda f0, rate: np.sin(2 * np.pi * (np.cumsum(f0) - shift * f0) / rate)).correct


@pytest.mark.parametrize(
    ("wave", "reason"),
    [
        (lambda f0, rate: np.sin(2 * np.pi * f0 * np.arange(len(f0)) / rate), "cumsum"),
        (lambda f0, rate: np.sin(np.cumsum(f0) / rate), "2 π is missing"),
        (lambda f0, rate: np.sin(2 * np.pi * np.cumsum(f0)), "sample rate"),
        (lambda f0, rate: np.cos(2 * np.pi * np.cumsum(f0) / rate), "cosine"),
        (lambda f0, rate: np.zeros(len(f0)), "np.cumsum"),
        (lambda f0, rate: f0[:10], "shape"),
        (lambda f0, rate: f0.missing, "AttributeError"),
        (lambda f0, rate: "text", "samples"),
        (lambda f0, rate: ..., "Replace"),
    ],
)
def test_wrong_waves_are_explained(wave, reason):
    result = check.exercise_3(wave)
    assert not result.correct and reason in result.explanation
