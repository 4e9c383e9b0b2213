"""Solutions of the exercises of lesson 9."""

import numpy as np

from unbraid.course.checks import lesson_09 as check
from unbraid.scoring.power import Deviations, smallest_difference

skips = np.array([[5.0, 3.0, 8.0], [6.0, 4.0, 7.0]])
no_skips = np.array([[4.0, 3.5, 6.0], [5.0, 2.5, 6.0]])
answer_1 = check.exercise_1(no_skips.mean(axis=0) - skips.mean(axis=0))

corrected = [4 * 0.006, 3 * 0.015, 2 * 0.030, max(2 * 0.030, 1 * 0.045)]
answer_2 = check.exercise_2(corrected)

deviations = Deviations(tracks=0.6, seeds=0.3, rest=0.3)
seeds = 2
while smallest_difference(deviations, seeds, tracks=20) > 0.9:
    seeds += 1
answer_3 = check.exercise_3(seeds)
