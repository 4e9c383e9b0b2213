"""Answers to the exercises of lesson 5."""

import torch

from unbraid.course.checks import lesson_05 as check

# Exercise 1: 1024 / 2 + 1 bins; 8192 Hz / 1024
exercise_1 = check.exercise_1((513, 8.0))

# Exercise 2: 4 is louder than 1; 4 / (4 + 1); 4 / 3, clamped to 1
exercise_2 = check.exercise_2([1, 0.8, 1])


# Exercise 3
def step(spectrum, magnitudes, stft, samples):
    consistent = stft(stft.inverse(spectrum, samples))
    return torch.polar(magnitudes, consistent.angle())


exercise_3 = check.exercise_3(step)
