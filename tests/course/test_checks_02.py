"""Test the checks of lesson 2 with correct answers and with likely mistakes."""

import pytest
import torch

from unbraid.course.checks import lesson_02 as check

MATRICES = 784 * 256 + 256 * 64 + 64 * 2


def test_unanswered_exercises():
    for exercise in (check.exercise_1, check.exercise_2, check.exercise_3):
        assert "Replace ..." in exercise(...).explanation
    assert not check.exercise_2(lambda mean, log_variance: ...).correct
    assert not check.exercise_3(lambda a, b, steps: ...).correct


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (MATRICES, "matrices alone"),
        (MATRICES + 322, "decoder are missing"),
        (MATRICES + 1104, "encoder are missing"),
        (2 * MATRICES + 1426, "without tying"),
        (5, "six layers"),
        ("many", "one number"),
    ],
)
def test_wrong_numbers_of_weights(answer, text):
    reply = check.exercise_1(answer)
    assert not reply.correct and text in reply.explanation


def test_right_number_of_weights():
    assert check.exercise_1(MATRICES + 1426).correct


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda m, v: (m**2 + v.exp() - 1 - v).sum(), "factor"),
        (lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v).mean(), "has a sum"),
        (lambda m, v: -0.5 * (m**2 + v.exp() - 1 - v).sum(), "sign"),
        (lambda m, v: 0.5 * (m + v.exp() - 1 - v).sum(), "squared"),
        (lambda m, v: 0.5 * (m**2 + v - 1 - v).sum(), "exponential"),
        (lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v), "one number"),
        (lambda m, v: m @ v[:2], "RuntimeError"),
    ],
)
def test_wrong_divergences(answer, text):
    reply = check.exercise_2(answer)
    assert not reply.correct and text in reply.explanation


def test_right_divergence():
    assert check.exercise_2(lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v).sum()).correct


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda a, b, n: torch.lerp(b, a, torch.linspace(0, 1, n)[:, None]), "begin with a"),
        (lambda a, b, n: torch.lerp(a, b, (torch.arange(n) / n)[:, None]), "both ends"),
        (lambda a, b, n: torch.lerp(a, b, torch.linspace(0, 1, n + 1)[:, None]), "instead of 5"),
        (lambda a, b, n: torch.lerp(a, b, torch.linspace(0, 1, n)[:, None] ** 2), "not equal"),
        (lambda a, b, n: a, "one code per row"),
        (lambda a, b, n: a * torch.linspace(0, 1, n), "shape"),
    ],
)
def test_wrong_walks(answer, text):
    reply = check.exercise_3(answer)
    assert not reply.correct and text in reply.explanation


def test_right_walk():
    assert check.exercise_3(lambda a, b, n: torch.lerp(a, b, torch.linspace(0, 1, n)[:, None])).correct
