"""Test the checks of lesson 4 with right and wrong answers."""

import pytest
import torch
from torch.nn import functional

from unbraid.course.checks import lesson_04 as check
from unbraid.course.convolution_figures import overlaps, tables, transposed_steps


def test_unanswered_and_malformed_answers():
    for exercise in (check.exercise_1, check.exercise_2, check.exercise_3):
        assert repr(exercise(...)) == "Not yet. Replace ... by your answer."
    assert "list of numbers" in check.exercise_1(7).explanation
    assert "set of numbers" in check.exercise_3(None).explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([2, 8, 7, 12, 6], "removes one number at each end"),
        ([8, 3, 12], "are added"),
        ([11, 16], "stride 1"),
        ([8, 8, 12], "reversed"),
        ([1, 2], "your answer has 2"),
        ([1, 2, 3], "from place 2"),
    ],
)
def test_numbers_by_hand(answer, reason):
    found = check.exercise_1(answer)
    assert not found.correct and reason in found.explanation


def test_function_by_inserted_zeros_is_correct():
    assert check.exercise_2(_upsample).correct


def _upsample(x, kernel, stride, padding, flip=True, after=0, border=None):
    spread = x.new_zeros(1, 1, (x.shape[-1] - 1) * stride + 1 + after * (stride - 1))
    spread[..., ::stride] = x
    border = kernel.shape[-1] - 1 - padding if border is None else border
    return functional.conv1d(spread, kernel.flip(-1) if flip else kernel, padding=border)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda *words: _upsample(*words, flip=False), "kernel.flip"),
        (lambda *words: _upsample(*words, after=1), "after the last input"),
        (lambda x, kernel, stride, padding: _upsample(x, kernel, stride, padding, border=padding), "at each end"),
        (lambda *words: None, "returned nothing"),
        (lambda *words: 2 * _upsample(*words), "wrong numbers"),
        (lambda x: x, "raised TypeError"),
        (lambda x, kernel, s, p: functional.conv_transpose1d(x, kernel, stride=s, padding=p), "Do not call"),
        (lambda *words: _upsample(*words)[0, 0], "returned the shape [8]"),
        (lambda *words: _upsample(*words).tolist(), "returned a list"),
    ],
)
def test_functions_by_inserted_zeros(answer, reason):
    found = check.exercise_2(answer)
    assert not found.correct and reason in found.explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [({3, 5, 7, 9}, "odd size"), ({3}, "not complete"), ({4}, "not even"), ({3, 6, 9, 12}, "range")],
)
def test_even_kernel_sizes(answer, reason):
    found = check.exercise_3(answer)
    assert not found.correct and reason in found.explanation


def test_figures_of_lesson_4(tmp_path):
    x, kernel = torch.arange(4.0).reshape(2, 2), torch.ones(2, 2)
    assert len(tables({"x": x, "cut": kernel}, columns=2, cut={"cut": 0}).axes) == 2
    assert transposed_steps(tmp_path / "steps.gif", x, kernel, 2, 0).stat().st_size > 1000
    bars = overlaps([3], stride=2, inputs=3).axes[0].patches
    assert [bar.get_height() for bar in bars] == [1, 1, 2, 1, 2, 1, 1]
