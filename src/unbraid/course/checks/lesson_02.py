"""Checks of lesson 2: weights of a tied autoencoder, the Kullback-Leibler divergence, and a walk between two codes."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from unbraid.course.answers import Answer, called, explained, number, unanswered
from unbraid.nets.autoencoders import divergence

WIDTHS = (784, 256, 64, 2)


def exercise_1(answer: Any) -> Answer:
    """Check the number of weights of the autoencoder with tied weights.

    Args:
        answer: number of weights.

    Returns:
        The result with an explanation.
    """
    if (reply := unanswered(answer)) is not None:
        return reply
    value = number(answer)
    if value is None:
        return Answer(False, "The answer must be one number.")
    matrices = sum(a * b for a, b in pairwise(WIDTHS))
    encoder, decoder = sum(WIDTHS[1:]), sum(WIDTHS[:-1])
    if value == matrices + encoder + decoder:
        return Answer(True, "Encoder and decoder share their matrices, but each layer has its own vector b.")
    mistakes: dict[float, str] = {
        matrices: "These are the matrices alone. Each layer also has a vector b, with one weight for each of its outputs.",
        matrices + encoder: "The vectors of the decoder are missing. It has the outputs 64, 256 and 784.",
        matrices + decoder: "The vectors of the encoder are missing. It has the outputs 256, 64 and 2.",
        2 * matrices + encoder + decoder: "These are the weights without tying. The decoder uses the matrices of the encoder.",
    }
    texts = {wrong: text for wrong, text in mistakes.items() if value == wrong}
    return explained(value, texts, "Add the sizes of three matrices, and of the vectors of all six layers.")


def exercise_2(answer: Callable[[Tensor, Tensor], Tensor]) -> Answer:
    """Check the Kullback-Leibler divergence of one code.

    Args:
        answer: function from mean [K] and logarithm of the variance [K] to the divergence.

    Returns:
        The result with an explanation.
    """
    if (reply := unanswered(answer)) is not None:
        return reply
    mean, log_variance = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.3, -0.7, 0.1])
    found, reply = called(answer, mean, log_variance)
    if reply is not None:
        return reply
    value = number(found)
    if value is None:
        return Answer(False, "The function must return one number: add the values of all numbers of the code.")
    right = float(divergence(mean[None], log_variance[None]))
    if abs(value - right) < 1e-4 * right:
        return Answer(True, "The divergence is 0 if the mean is 0 and the variance is 1, and positive otherwise.")
    square = mean.square().sum()
    mistakes = {
        2 * right: "The factor 1/2 is missing.",
        right / 3: "This is the mean over the numbers of the code. The formula has a sum.",
        -right: "The sign is wrong: a divergence is never negative.",
        float(0.5 * (square + (log_variance - 1 - log_variance).sum())): "The argument is the logarithm of the variance. "
        "The variance itself is its exponential.",
        float(0.5 * (square + ((2 * log_variance).exp() - 1 - 2 * log_variance).sum())): "The argument is the logarithm of "
        "the variance, not of the standard deviation.",
        float(0.5 * (mean.sum() + (log_variance.exp() - 1 - log_variance).sum())): "The mean must be squared.",
    }
    return explained(value, mistakes, "Compare each term with the formula in the section 'The variational autoencoder'.")


def exercise_3(answer: Callable[[Tensor, Tensor, int], Tensor]) -> Answer:
    """Check a function that walks from one code to another.

    Args:
        answer: function from two codes [K] and a number of steps to codes [steps, K].

    Returns:
        The result with an explanation.
    """
    if (reply := unanswered(answer)) is not None:
        return reply
    a, b, steps = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([1.0, -2.0, 3.0]), 5
    found, reply = called(answer, a, b, steps, hint="Give the shares the shape [steps, 1].")
    if reply is not None:
        return reply
    if not isinstance(found, Tensor) or found.dim() != 2 or found.shape[1] != 3:
        return Answer(False, "The function must return a tensor with one code per row: [steps, numbers in the code].")
    if len(found) != steps:
        return Answer(False, f"The function returns {len(found)} codes instead of {steps}.")
    right = torch.lerp(a, b, torch.linspace(0, 1, steps)[:, None])
    if torch.allclose(found, right, atol=1e-5):
        return Answer(True, "The walk is a straight line in the plane of the codes. Its images can bend.")
    if torch.allclose(found, right.flip(0), atol=1e-5):
        return Answer(False, "The walk goes from b to a. It must begin with a.")
    if not torch.allclose(found[-1], b, atol=1e-5):
        return Answer(False, "The last code must be b. torch.linspace(0, 1, steps) includes both ends.")
    if not torch.allclose(found[0], a, atol=1e-5):
        return Answer(False, "The first code must be a.")
    return Answer(False, "The distances between the codes are not equal.")
