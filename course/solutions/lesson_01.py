"""Answers to the exercises of lesson 1."""

import torch

from unbraid.course import trained
from unbraid.course.checks import lesson_01 as check

vectors = trained.digits("train").pixels.flatten(start_dim=1)
mean = vectors.mean(dim=0)
variances, columns = torch.linalg.eigh(torch.cov(vectors.T.double(), correction=0))
variances, components = variances.flip(0), columns.T.flip(0).float()

# Exercise 1
exercise_1 = check.exercise_1(variances[:2].sum() / variances.sum())


# Exercise 2
def reconstruct(images, mean, components):
    return (images - mean) @ components.T @ components + mean


exercise_2 = check.exercise_2(reconstruct)

# Exercise 3
images = trained.digits("test").pixels.flatten(start_dim=1)
errors = [float((images - reconstruct(images, mean, components[:size])).square().sum(dim=1).mean()) for size in range(1, 61)]
exercise_3 = check.exercise_3(next(size for size, error in enumerate(errors, start=1) if error < 5))
