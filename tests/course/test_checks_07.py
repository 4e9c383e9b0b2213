"""Test the checks of lesson 7 with right and wrong answers."""

import pytest

from unbraid.course.checks import lesson_07 as check


def test_unanswered_and_malformed_answers():
    for exercise in (check.exercise_1, check.exercise_2, check.exercise_3):
        assert repr(exercise(...)) == "Not yet. Replace ... by your answer."
    assert "three names" in check.exercise_1("SIR").explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (["SAR", "ISR", "SAR"], "a: drums"),
        (["SIR", "SAR", "SAR"], "b: a wrong level"),
        (["SIR", "ISR", "SIR"], "c: no filtered source"),
        (["SDR", "ISR", "SAR"], "All errors"),
        (["SIR"], "three names"),
    ],
)
def test_measures_of_errors(answer, reason):
    found = check.exercise_1(answer)
    assert not found.correct and reason in found.explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(3.01, "quarter"), (-6.02, "sign"), (4, "Convert"), (0, "silence"), (120, "SI-SDR"), (float("inf"), "SI-SDR"),
     (1.25, "energy of the estimate"), (9, "energy of s"), ("a", "one number")],
)  # fmt: skip
def test_sdr_of_half_the_source(answer, reason):
    found = check.exercise_2(answer)
    assert not found.correct and reason in found.explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda powers, mixture: powers / powers.sum(dim=0), "the masks"),
        (lambda powers, mixture: powers / powers.sum(dim=0) * mixture.abs(), "phase"),
        (lambda powers, mixture: powers.sqrt() / powers.sqrt().sum(dim=0) * mixture, "divides powers"),
        (lambda powers, mixture: powers / powers.sum() * mixture, "dim=0"),
        (lambda powers, mixture: (powers == powers.amax(dim=0)) * mixture, "binary"),
        (lambda powers, mixture: mixture, "one estimate"),
        (lambda powers, mixture: 0 * powers * mixture, "In each bin"),
        (lambda powers: powers, "raised TypeError"),
    ],
)
def test_wiener_filters(answer, reason):
    found = check.exercise_3(answer)
    assert not found.correct and reason in found.explanation
