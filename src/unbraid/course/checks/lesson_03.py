"""Checks of lesson 3: a limit for anomalies, the corruption "masking", and the area under the ROC curve."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unbraid.course.answers import Answer, called, explained, number, unanswered


def exercise_1(answer: Callable[[Tensor, float], Any]) -> Answer:
    """Check a function that chooses the limit of an anomaly detector.

    Args:
        answer: function from errors of normal data [N] and a share in (0, 1) to the limit.

    Returns:
        The result with an explanation.
    """
    if (reply := unanswered(answer)) is not None:
        return reply
    errors, share = torch.rand(1000, generator=torch.Generator().manual_seed(0)) ** 2, 0.1
    found, reply = called(answer, errors, share)
    if reply is not None:
        return reply
    value = number(found)
    if value is None:
        return Answer(False, "The function must return one number.")
    alarms = float((errors > value).float().mean())
    if abs(alarms - share) <= 0.002:
        return Answer(True, "The limit needs normal data only. It is a quantile of their errors.")
    mistakes = {
        float(errors.quantile(share)): "90 % of the normal data are above this limit. It is the quantile of 1 - share.",
        share: "This is the share itself. The limit is an error.",
        float((1 - share) * errors.max()): "This is a share of the largest error. The limit is a quantile.",
        float(errors.mean() + 2 * errors.std()): "Mean plus two standard deviations fits a normal distribution only.",
    }
    return explained(value, mistakes, f"With share=0.1, {alarms:.1%} of the normal data are above your limit instead of 10 %.")


def exercise_2(answer: Callable[[Tensor, float], Tensor]) -> Answer:
    """Check the corruption "masking".

    Args:
        answer: function from images [N, 1, H, W] and a probability to damaged images of the same shape.

    Returns:
        The result with an explanation.
    """
    if (reply := unanswered(answer)) is not None:
        return reply
    images, share = 0.5 + 0.5 * torch.rand(40, 1, 20, 20, generator=torch.Generator().manual_seed(0)), 0.3
    given = images.clone()
    found, reply = called(answer, given, share)
    if reply is not None:
        return reply
    if not isinstance(found, Tensor) or found.shape != images.shape:
        return Answer(False, f"The function must return a tensor of the shape {list(images.shape)}, as the images have.")
    if not torch.equal(given, images):
        return Answer(False, "The function changes its argument. Make a new tensor, for example with a product.")
    zero = found == 0
    masked = float(zero.float().mean())
    if not torch.allclose(found, images * ~zero):
        return Answer(False, "The pixels that are not set to 0 must not change.")
    if abs(masked - (1 - share)) < 0.02:
        return Answer(False, "The function keeps the share of pixels that it should set to 0. Turn the comparison around.")
    if abs(masked - share) > 0.02:
        return Answer(False, f"With share=0.3, {masked:.0%} of the pixels are 0 instead of 30 %.")
    if (zero == zero[:1]).all():
        return Answer(False, "All images lose the same pixels. Draw one random number for each pixel of each image.")
    if (zero == zero[..., :1]).all() or (zero == zero[..., :1, :]).all():
        return Answer(False, "Whole rows or columns are 0. Draw one random number for each pixel.")
    return Answer(True, "torch.rand(images.shape) >= share is True for the pixels that stay.")


def exercise_3(answer: Callable[[Tensor, Tensor], Any]) -> Answer:
    """Check the area under the ROC curve.

    Args:
        answer: function from the scores of normal data [N] and of abnormal data [M] to the area.

    Returns:
        The result with an explanation.
    """
    if (reply := unanswered(answer)) is not None:
        return reply
    generator = torch.Generator().manual_seed(0)
    normal, abnormal = torch.randn(30, generator=generator), torch.randn(50, generator=generator) + 1
    found, reply = called(answer, normal, abnormal, hint="Compare normal[:, None] with abnormal[None, :].")
    if reply is not None:
        return reply
    value = number(found)
    if value is None:
        return Answer(False, "The function must return one number.")
    area = float((abnormal[None, :] > normal[:, None]).float().mean())
    if abs(value - area) < 1e-4:
        return Answer(True, "The AUROC needs no limit. It describes the order of the scores only.")
    mistakes = {
        1 - area: "This is the share of pairs in which the normal value is higher. Turn the comparison around.",
        area * 30 * 50: "This is the number of pairs. Divide it by the number of all pairs.",
        float((abnormal > normal.mean()).float().mean()): "Compare with every normal value, not with their mean.",
        float((abnormal > normal.max()).float().mean()): "Compare with every normal value, not with the largest one.",
        float((abnormal[:30] > normal).float().mean()): "These are 30 pairs. There are 30 · 50 pairs: each with each.",
    }
    return explained(value, mistakes, "Compare each abnormal value with each normal value, and take the mean.")
