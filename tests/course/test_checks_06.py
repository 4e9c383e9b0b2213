"""Test the checks of lesson 6 with right and wrong answers, and the figures of lessons 5 to 7."""

import pytest

from unbraid.course.checks import lesson_06 as check
from unbraid.course.separation_figures import score_bars, unet_levels
from unbraid.nets.unet import UNet


def test_unanswered_and_malformed_answers():
    for exercise in (check.exercise_1, check.exercise_2, check.exercise_3):
        assert repr(exercise(...)) == "Not yet. Replace ... by your answer."
    assert "three numbers" in check.exercise_1(512).explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [((256, 64, 16), "four times"), ((256, 8, 32), "order"), ((256, 1024, 256), "stride 2"), ((512, 8, 2), "section 1"),
     ((1, 2, 3), "halve both")],
)  # fmt: skip
def test_sizes_of_the_bottleneck(answer, reason):
    found = check.exercise_1(answer)
    assert not found.correct and reason in found.explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(0.85, "accuracy"), (0.739, "both classes"), (50 / 65, "first class"), (0.854, "true bins"), (0.8465, "F1"),
     (73.5, "percentage"), (0.1, "IoU"), ("a", "one number")],
)  # fmt: skip
def test_mean_iou(answer, reason):
    found = check.exercise_2(answer)
    assert not found.correct and reason in found.explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda mask, mixture, target: (mask * mixture - target).square().mean(), "squared"),
        (lambda mask, mixture, target: (mask * mixture - target).abs().sum(), "sum"),
        (lambda mask, mixture, target: (mask * mixture - target).mean(), "opposite sign"),
        (lambda mask, mixture, target: (mask * mixture - target).mean().abs(), "opposite sign"),
        (lambda mask, mixture, target: (mask - target).abs().mean(), "Multiply"),
        (lambda mask, mixture, target: (mask - target / mixture).abs().mean(), "compares masks"),
        (lambda mask, mixture, target: mask * mixture, "one number"),
        (lambda mask: mask, "raised TypeError"),
        (lambda mask, mixture, target: 3.0, "mean over all bins"),
    ],
)
def test_losses(answer, reason):
    found = check.exercise_3(answer)
    assert not found.correct and reason in found.explanation


def test_figure_shows_sizes_of_unet():
    texts = [text.get_text() for text in unet_levels(UNet(channels=[4, 8], dropout_layers=0), 65, 16).axes[0].texts]
    assert [text for text in texts if text] == ["1 × 64 × 16", "4 × 32 × 8", "8 × 16 × 4", "4 × 32 × 8", "1 × 64 × 16"]


def test_bars_have_heights_of_scores():
    axis = score_bars({"a": {"SDR": 1.0, "SIR": 2.0}, "b": {"SIR": 3.0}}).axes[0]
    assert [bar.get_height() for bar in axis.patches] == [1.0, 2.0, 3.0]
