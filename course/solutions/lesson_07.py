"""Answers to the exercises of lesson 7."""

from math import log10

from unbraid.course.checks import lesson_07 as check

# Exercise 1: remains of another source; an error of the source itself; sounds that are in no source
exercise_1 = check.exercise_1(["SIR", "ISR", "SAR"])

# Exercise 2: the error is half the source, so the ratio of the energies is 4
exercise_2 = check.exercise_2(10 * log10(1 / 0.5**2))


# Exercise 3
def wiener(powers, mixture):
    return powers / powers.sum(dim=0) * mixture


exercise_3 = check.exercise_3(wiener)
