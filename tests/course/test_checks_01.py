"""Test the checks of lesson 1 with correct answers and with likely mistakes."""

import pytest
import torch

from unbraid.course.checks import lesson_01 as check


def test_unanswered_exercises():
    for exercise in (check.exercise_1, check.exercise_2, check.exercise_3):
        assert repr(exercise(...)) == "Not yet. Replace ... by your answer."
    assert not check.exercise_2(lambda images, mean, components: ...).correct


def test_share_of_variance():
    variances = check._variances()
    share = variances[:2].sum() / variances.sum()
    assert check.exercise_1(share).correct and check.exercise_1(float(share)).correct
    assert "percentage" in check.exercise_1(31.8).explanation
    assert "first component alone" in check.exercise_1(variances[0] / variances.sum()).explanation
    assert "square root" in check.exercise_1(variances.sqrt()[:2].sum() / variances.clamp(min=0).sqrt().sum()).explanation
    assert not check.exercise_1("many").correct and not check.exercise_1(torch.ones(3)).correct


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda x, m, c: x @ c.T @ c + m, "not subtracted"),
        (lambda x, m, c: (x - m) @ c.T @ c, "not added"),
        (lambda x, m, c: (x - m) @ c.T, "one reconstruction"),
        (lambda x, m, c: (x - m) @ c, "RuntimeError"),
        (lambda x, m, c: 0 * x, "PCA by hand"),
    ],
)
def test_wrong_reconstructions(answer, text):
    reply = check.exercise_2(answer)
    assert not reply.correct and text in reply.explanation


def test_right_reconstruction():
    assert check.exercise_2(lambda x, m, c: (x - m) @ c.T @ c + m).correct


def test_code_size():
    assert check.exercise_3(13).correct
    assert "from 0" in check.exercise_3(12).explanation
    assert "One too many" in check.exercise_3(14).explanation
    assert not check.exercise_3(4.5).correct
