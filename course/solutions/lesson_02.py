"""Answers to the exercises of lesson 2."""

import torch

from unbraid.course.checks import lesson_02 as check

# Exercise 1: three matrices, which encoder and decoder share, and a vector for each of the six layers.
matrices = 784 * 256 + 256 * 64 + 64 * 2
exercise_1 = check.exercise_1(matrices + (256 + 64 + 2) + (64 + 256 + 784))


# Exercise 2
def divergence(mean, log_variance):
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()


exercise_2 = check.exercise_2(divergence)


# Exercise 3
def walk_between(a, b, steps):
    shares = torch.linspace(0, 1, steps)[:, None]
    return a * (1 - shares) + b * shares


exercise_3 = check.exercise_3(walk_between)
