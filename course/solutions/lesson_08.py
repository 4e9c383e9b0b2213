"""Solutions of the exercises of lesson 8."""

import math

import numpy as np

from unbraid.course.checks import lesson_08 as check

answer_1 = check.exercise_1(16000 / 2 // 440)

answer_2 = check.exercise_2(1200 * math.log2(446 / 440))


def sine(f0, rate):
    """Return sin(2 π φ) for the frequency f0 [samples] in Hz."""
    return np.sin(2 * np.pi * np.cumsum(f0) / rate)


answer_3 = check.exercise_3(sine)
