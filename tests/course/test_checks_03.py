"""Test the checks of lesson 3 with correct answers and with likely mistakes."""

import pytest
import torch

from unbraid.course.checks import lesson_03 as check


def test_unanswered_exercises():
    for exercise in (check.exercise_1, check.exercise_2, check.exercise_3):
        assert "Replace ..." in exercise(...).explanation
        assert "Replace ..." in exercise(lambda a, b: ...).explanation


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda e, s: e.quantile(s), "1 - share"),
        (lambda e, s: s, "share itself"),
        (lambda e, s: (1 - s) * e.max(), "largest error"),
        (lambda e, s: e.mean() + 2 * e.std(), "normal distribution"),
        (lambda e, s: e.max(), "instead of 10 %"),
        (lambda e, s: e, "one number"),
        (lambda e, s: e.quantile(5), "RuntimeError"),
    ],
)
def test_wrong_limits(answer, text):
    reply = check.exercise_1(answer)
    assert not reply.correct and text in reply.explanation


def test_right_limit():
    assert check.exercise_1(lambda e, s: e.quantile(1 - s)).correct
    assert check.exercise_1(lambda e, s: e.sort().values[round(len(e) * (1 - s))]).correct


def in_place(images, share):
    images[torch.rand(images.shape) < share] = 0
    return images


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (in_place, "changes its argument"),
        (lambda x, s: x * (torch.rand(x.shape) < s), "Turn the comparison"),
        (lambda x, s: x * (torch.rand(x.shape[1:]) >= s), "same pixels"),
        (lambda x, s: x * (torch.rand(x.shape) >= s) / (1 - s), "must not change"),
        (lambda x, s: x * (torch.rand(x.shape) >= s / 2), "instead of 30 %"),
        (lambda x, s: x * (torch.rand(*x.shape[:3], 1) >= s), "rows or columns"),
        (lambda x, s: x[0], "shape"),
        (lambda x, s: x * torch.rand(3), "RuntimeError"),
    ],
)
def test_wrong_masks(answer, text):
    torch.manual_seed(0)
    reply = check.exercise_2(answer)
    assert not reply.correct and text in reply.explanation


def test_right_mask():
    torch.manual_seed(0)
    assert check.exercise_2(lambda x, s: x * (torch.rand(x.shape) >= s)).correct


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda n, a: (a[None] < n[:, None]).float().mean(), "Turn the comparison"),
        (lambda n, a: (a[None] > n[:, None]).sum(), "number of pairs"),
        (lambda n, a: (a > n.mean()).float().mean(), "their mean"),
        (lambda n, a: (a[:30] > n).float().mean(), "each with each"),
        (lambda n, a: (a > n).float().mean(), "RuntimeError"),
        (lambda n, a: 0.1234, "each normal value"),
        (lambda n, a: a, "one number"),
    ],
)
def test_wrong_areas(answer, text):
    reply = check.exercise_3(answer)
    assert not reply.correct and text in reply.explanation


def test_right_area():
    assert check.exercise_3(lambda n, a: (a[None] > n[:, None]).float().mean()).correct
