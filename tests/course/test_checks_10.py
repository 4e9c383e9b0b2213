"""Exercises of lesson 10: right answers and likely wrong answers."""

import numpy as np
import pytest

from unbraid.course.checks import lesson_10 as check


def separate(session, mixture, mean=True, scale=True, back=True, add=True, shape=(1, 1, -1), dtype=np.float32):
    """Separate a mixture, with one step left out."""
    offset, factor = mixture.mean() if mean else 0, mixture.std() if scale else 1
    (sources,) = session.run(None, {"mixture": ((mixture - offset) / factor).reshape(shape).astype(dtype)})
    return sources.reshape(-1) * (factor if back else 1) + (offset if back and add else 0)


@pytest.mark.parametrize("exercise", [check.exercise_1, check.exercise_2, check.exercise_3])
def test_missing_and_meaningless_answers_are_not_correct(exercise):
    for answer in (..., "text", [1.0, 2.0], None):
        assert not exercise(answer).correct


def test_compressed_bins():
    assert check.exercise_1(359 + 201 + 56).correct


@pytest.mark.parametrize(
    ("answer", "reason"), [(614, "rounded down"), (615.19, "each band"), (98, "factor of its own"), (2049, "add the three")]
)
def test_wrong_bins_are_explained(answer, reason):
    result = check.exercise_1(answer)
    assert not result.correct and reason in result.explanation


def test_share_of_trained_weights():
    assert check.exercise_2(2.604).correct


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (0.02604, "fraction"),
        (15360, "number of trained"),
        (1.302, "two matrices"),
        (0.521, "A only"),
        (2.083, "B only"),
        (50, "of A"),
    ],
)
def test_wrong_shares_are_explained(answer, reason):
    result = check.exercise_2(answer)
    assert not result.correct and reason in result.explanation


def test_function_that_normalises():
    assert check.exercise_3(separate).correct


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mean": False}, "has a mean"),
        ({"scale": False}, "is not 1"),
        ({"back": False}, "scale of the network"),
        ({"add": False}, "mean is missing"),
        ({"shape": (1, -1)}, "shape"),
        ({"dtype": np.float64}, "float32"),
    ],
)
def test_left_out_steps_are_explained(options, reason):
    result = check.exercise_3(lambda session, mixture: separate(session, mixture, **options))
    assert not result.correct and reason in result.explanation


def test_functions_that_do_not_separate():
    assert "ValueError" in check.exercise_3(lambda session, mixture: mixture.reshape(3, 7)).explanation
    assert "session.run" in check.exercise_3(lambda session, mixture: mixture).explanation
    assert "Replace" in check.exercise_3(lambda session, mixture: ...).explanation
    assert (
        "samples of the vocals" in check.exercise_3(lambda session, mixture: (separate(session, mixture), [1.0])[1]).explanation
    )
    assert "Multiply" in check.exercise_3(lambda session, mixture: 7 * separate(session, mixture)).explanation
