"""Checks of lesson 1: variance of components, PCA as a function, and the size of a code."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from unbraid.course.answers import Answer, called, explained, number, unanswered
from unbraid.course.trained import digits

LIMIT = 5.0  # error of exercise 3


@cache
def _variances() -> Tensor:
    """Return the variances of the training images along all components, largest first."""
    vectors = digits("train").pixels.flatten(start_dim=1).double()
    return torch.linalg.eigvalsh(torch.cov(vectors.T, correction=0)).flip(0)


@cache
def _smallest_size() -> int:
    """Return the smallest code size of PCA with an error below `LIMIT` on the test images."""
    train = digits("train").pixels.flatten(start_dim=1).double()
    _, columns = torch.linalg.eigh(torch.cov(train.T, correction=0))
    centred = digits("test").pixels.flatten(start_dim=1).double() - train.mean(dim=0)
    explained = (centred @ columns.flip(1)).square().mean(dim=0).cumsum(dim=0)
    return int((centred.square().sum(dim=1).mean() - explained >= LIMIT).sum()) + 1


def exercise_1(answer: Any) -> Answer:
    """Check the share of the variance that the first two components have.

    Args:
        answer: share in [0, 1].

    Returns:
        The result with an explanation.
    """
    if (reply := unanswered(answer)) is not None:
        return reply
    value = number(answer)
    if value is None:
        return Answer(False, "The answer must be one number.")
    variances = _variances()
    share = float(variances[:2].sum() / variances.sum())
    roots = variances.clamp(min=0).sqrt()
    mistakes = {
        100 * share: "This is a percentage. Give the share as a number from 0 to 1.",
        float(variances[0] / variances.sum()): "This is the share of the first component alone. Add the second one.",
        float(variances[1] / variances.sum()): "This is the share of the second component alone. Add the first one.",
        float(variances[:3].sum() / variances.sum()): "This is the share of three components. variances[:2] are the first two.",
        float(variances[:2].sum()): "This is the variance itself. Divide it by the sum of all variances.",
        float(roots[:2].sum() / roots.sum()): "This is a share of standard deviations. Do not take the square root.",
    }
    if abs(value - share) < 0.005:
        return Answer(True, f"Two of 784 directions have {share:.0%} of the variance, because neighbouring pixels are similar.")
    return explained(value, mistakes, "Add the first two variances, and divide by the sum of all variances.")


def exercise_2(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Answer:
    """Check a function that encodes and decodes images with PCA.

    Args:
        answer: function from images [N, D], mean [D] and components [K, D] to reconstructions [N, D].

    Returns:
        The result with an explanation.
    """
    if (reply := unanswered(answer)) is not None:
        return reply
    generator = torch.Generator().manual_seed(0)
    images, mean = torch.rand(5, 8, generator=generator), 1 + torch.rand(8, generator=generator)
    components = torch.linalg.qr(torch.randn(8, 3, generator=generator))[0].T
    found, reply = called(answer, images, mean, components, hint="Check the shapes: codes are [N, K].")
    if reply is not None:
        return reply
    if not isinstance(found, Tensor) or found.shape != images.shape:
        return Answer(False, "The function must return one reconstruction of 8 numbers for each of the 5 images.")
    project = components.T @ components
    if torch.allclose(found, (images - mean) @ project + mean, atol=1e-4):
        return Answer(True, "The code is (images - mean) @ components.T, and the decoder multiplies it by components again.")
    mistakes = {
        "The mean is not subtracted before encoding.": images @ project + mean,
        "The mean is not added after decoding.": (images - mean) @ project,
        "The mean is missing: subtract it before encoding, and add it after decoding.": images @ project,
        "The sign of the mean is wrong: subtract it first, and add it at the end.": (images + mean) @ project - mean,
    }
    for text, wrong in mistakes.items():
        if torch.allclose(found, wrong, atol=1e-4):
            return Answer(False, text)
    return Answer(False, "The values differ from PCA. The formulas are in the section 'PCA by hand'.")


def exercise_3(answer: Any) -> Answer:
    """Check the smallest number of components with an error below 5.

    Args:
        answer: number of components.

    Returns:
        The result with an explanation.
    """
    if (reply := unanswered(answer)) is not None:
        return reply
    value = number(answer)
    if value is None or value != round(value):
        return Answer(False, "The answer must be one whole number.")
    size = _smallest_size()
    if value == size:
        return Answer(True, f"{size} numbers are enough to describe an image of 784 numbers with an error below 5.")
    mistakes = {
        size - 1.0: "One too few: with this size, the error is still above 5. Did you count from 0?",
        size + 1.0: "One too many: a code with one number less has an error below 5, too.",
    }
    return explained(value, mistakes, "Compute error(test.pixels, size) for size = 1, 2, 3, … until the error is below 5.")
