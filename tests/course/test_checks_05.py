"""Test the checks of lesson 5 with right and wrong answers, and its figures."""

import pytest
import torch

from unbraid.course import separation_figures
from unbraid.course.checks import lesson_05 as check
from unbraid.dsp.stft import STFT


def test_unanswered_and_malformed_answers():
    for exercise in (check.exercise_1, check.exercise_2, check.exercise_3):
        assert repr(exercise(...)) == "Not yet. Replace ... by your answer."
    assert "two numbers" in check.exercise_1(513).explanation
    assert "three numbers" in check.exercise_2("abc").explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [((512, 8), "Both ends"), ((1024, 8), "symmetric"), ((513, 4), "not half"), ((8, 513), "order"), ((513, 16), "distance"),
     ((100, 8), "N / 2 + 1")],
)  # fmt: skip
def test_bins_and_their_distance(answer, reason):
    found = check.exercise_1(answer)
    assert not found.correct and reason in found.explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [([0, 0.8, 1], "larger magnitude"), ([1, 4 / 3, 1], "|X|"), ([1, 0.941, 1], "irm2"), ([1, 0.8, 1.333], "clamped"),
     ([1, 0.8, 0.1], "formula"), ([1], "three numbers")],
)  # fmt: skip
def test_masks_of_one_bin(answer, reason):
    found = check.exercise_2(answer)
    assert not found.correct and reason in found.explanation


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda spectrum, magnitudes, stft, samples: stft(stft.inverse(spectrum, samples)), "have changed"),
        (lambda spectrum, magnitudes, stft, samples: spectrum, "old one"),
        (lambda spectrum, magnitudes, stft, samples: stft.inverse(spectrum, samples), "not a waveform"),
        (lambda spectrum, magnitudes, stft, samples: magnitudes, "no phase"),
        (lambda spectrum, magnitudes, stft, samples: 0 * spectrum, "take its angle"),
        (lambda spectrum: spectrum, "raised TypeError"),
    ],
)
def test_steps_of_griffin_lim(answer, reason):
    found = check.exercise_3(answer)
    assert not found.correct and reason in found.explanation


def test_figures_of_lesson_5():
    wave = torch.sin(torch.arange(8000) * 0.3)
    figure = separation_figures.windows(wave, [256, 1024], 8000, 4000)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["256 samples, 32 ms", "1024 samples, 128 ms"]
    left = separation_figures.reconstruction(wave, wave, STFT(256, 64), 8000, "1", (0.1, 0.2)).axes[0]
    assert [len(line.get_xdata()) for line in left.lines] == [800, 800]
