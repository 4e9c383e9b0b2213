"""Check the exercises of lesson 9: paired differences, Holm's correction, and the number of seeds."""

from typing import Any

import numpy as np

from unbraid.course.answers import Answer, number, unanswered
from unbraid.scoring.power import Deviations, smallest_difference
from unbraid.scoring.significance import holm

# Scores in dB, [seeds, songs].
WITH_SKIPS = np.array([[5.0, 3.0, 8.0], [6.0, 4.0, 7.0]])
WITHOUT_SKIPS = np.array([[4.0, 3.5, 6.0], [5.0, 2.5, 6.0]])
P_VALUES = (0.006, 0.015, 0.030, 0.045)
DEVIATIONS = Deviations(tracks=0.6, seeds=0.3, rest=0.3)
SONGS, WANTED = 20, 0.9  # number of test songs, difference in dB
SWAPPED = 7  # the answer if the number of songs is passed as the number of seeds


def exercise_1(answer: Any) -> Answer:
    """Check the difference of two variants for each song.

    Args:
        answer: three differences in dB.

    Returns:
        The result.
    """
    if reply := unanswered(answer):
        return reply
    right = WITHOUT_SKIPS.mean(axis=0) - WITH_SKIPS.mean(axis=0)
    values = _array(answer)
    if values is None or values.shape != right.shape:
        if values is not None and values.size == 1 and np.allclose(values, right.mean()):
            return Answer(False, "This is the mean over the songs. Give the difference of each song.")
        return Answer(False, "Expected three numbers, one for each song.")
    if np.allclose(values, right):
        return Answer(True, "The mean over the seeds comes first. Then each song is compared with itself.")
    if np.allclose(values, -right):
        return Answer(False, "The sign is reversed. Subtract the baseline, which is the variant with skips.")
    if any(np.allclose(values, WITHOUT_SKIPS[s] - WITH_SKIPS[s]) for s in range(2)):
        return Answer(False, "This is the difference of one seed only. Average over the seeds first.")
    if np.allclose(values, (WITHOUT_SKIPS - WITH_SKIPS).sum(axis=0)):
        return Answer(False, "This is the sum over the seeds. Divide by the number of seeds.")
    return Answer(False, "Average over the seeds (axis 0). Then subtract the scores with skips.")


def exercise_2(answer: Any) -> Answer:
    """Check four p-values that are corrected with Holm's method.

    Args:
        answer: four corrected p-values in the order of the exercise.

    Returns:
        The result.
    """
    if reply := unanswered(answer):
        return reply
    p = np.array(P_VALUES)
    values = _array(answer)
    if values is None or values.shape != p.shape:
        return Answer(False, "Expected four numbers, one for each comparison.")
    factors = np.arange(len(p), 0, -1)
    if np.allclose(values, holm(P_VALUES)):
        return Answer(True, "Only the first two comparisons stay below 0.05.")
    if np.allclose(values, holm(P_VALUES), rtol=0, atol=0.0051):
        return Answer(False, "The method is right, but you have rounded. Give three decimals.")
    if np.allclose(values, p * factors):
        return Answer(False, "The factors are right. But a corrected p-value is never smaller than the one before it.")
    if np.allclose(values, p * len(p)):
        return Answer(False, "This is Bonferroni's method: all factors are 4. Holm's factors are 4, 3, 2 and 1.")
    if np.allclose(values, p * factors[::-1]):
        return Answer(False, "The order of the factors is reversed. The smallest p-value is multiplied by 4.")
    if np.allclose(values, p):
        return Answer(False, "These are the p-values without a correction.")
    return Answer(False, "Multiply the sorted p-values by 4, 3, 2 and 1. Then let no value be smaller than the one before it.")


def exercise_3(answer: Any) -> Answer:
    """Check the smallest number of seeds per variant that detects a difference.

    Args:
        answer: number of seeds per variant.

    Returns:
        The result.
    """
    if reply := unanswered(answer):
        return reply
    right = next(seeds for seeds in range(2, 100) if smallest_difference(DEVIATIONS, seeds, SONGS) <= WANTED)
    value = number(answer)
    if value is None or not value.is_integer() or value < 1:
        return Answer(False, "Expected one whole number.")
    if value == right:
        return Answer(True, f"Two variants then need {2 * right} trainings.")
    if value == 1:
        return Answer(False, "With one seed, the deviation between seeds is unknown.")
    if value == SWAPPED:
        return Answer(False, f"You have exchanged the arguments: {SONGS} is the number of songs, and comes last.")
    if value == 2 * right:
        return Answer(False, "This is the number of all trainings. Give the number of seeds of one variant.")
    found = smallest_difference(DEVIATIONS, int(value), SONGS) if value < 1000 else 0
    if value < right:
        return Answer(False, f"{value:g} seeds detect only differences from {found:.2f} dB.")
    return Answer(False, f"{value:g} seeds suffice, but fewer seeds suffice, too.")


def _array(answer: Any) -> np.ndarray | None:
    try:
        return np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return None
