"""Check the answers of lesson 6: the bottleneck of the U-Net, the mean IoU, and the loss of the U-Net paper."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from unbraid.course.answers import Answer, number, numbers, unanswered

BOTTLENECK = {
    (512, 16, 4): "You have halved five times. The network has six encoder layers, and each has stride 2.",
    (512, 4, 1): "You have halved seven times. The network has six encoder layers.",
    (512, 512, 128): "Each encoder layer has stride 2, so it halves the number of bins and the number of frames.",
    (512, 2, 8): "The order is channels, bins, frames: a spectrogram of 512 bins and 128 frames.",
    (8, 2, 512): "The order is channels, bins, frames.",
    (256, 8, 2): "The sixth encoder layer has 512 output channels: 16, 32, 64, 128, 256, 512.",
    (512, 8, 128): "The stride is 2 in both directions, so the number of frames is halved, too.",
}
MEAN_IOU = (50 / 65 + 35 / 50) / 2


def exercise_1(answer: Sequence[int]) -> Answer:
    """Check the size (channels, bins, frames) of the bottleneck of the U-Net of the paper for 512 bins and 128 frames."""
    if missing := unanswered(answer):
        return missing
    size = tuple(int(value) for value in numbers(answer) or [])
    if len(size) != 3:
        return Answer(False, "Answer with three numbers: channels, bins, frames.")
    if size == (512, 8, 2):
        return Answer(True, "512 / 2⁶ = 8 bins and 128 / 2⁶ = 2 frames. These 8192 numbers describe 65,536 bins.")
    if size in BOTTLENECK:
        return Answer(False, BOTTLENECK[size])
    return Answer(False, "Start from 512 bins and 128 frames, and halve both numbers once for each of the six encoder layers.")


def exercise_2(answer: float) -> Answer:
    """Check the mean IoU of the confusion matrix [[50, 10], [5, 35]]."""
    if missing := unanswered(answer):
        return missing
    value = number(answer)
    if value is None:
        return Answer(False, "The answer is one number.")
    if abs(value - MEAN_IOU) < 5e-3:
        return Answer(True, "The IoUs are 50 / 65 and 35 / 50. Their mean is 0.735.")
    if abs(value - 100 * MEAN_IOU) < 0.5:
        return Answer(False, "The number is right as a percentage. Write it as a share between 0 and 1.")
    mistakes = {
        0.85: "This is the accuracy, the share of correct bins. Compute the IoU of each class, and then the mean.",
        50 / 65: "This is the IoU of the first class only. Also compute the second class, and then the mean.",
        35 / 50: "This is the IoU of the second class only. Also compute the first class, and then the mean.",
        (50 / 60 + 35 / 40) / 2: "You have divided by the true bins. The union also contains the wrongly estimated bins.",
        (50 / 55 + 35 / 45) / 2: "You have divided by the estimated bins. The union also contains the missed bins.",
        (100 / 115 + 70 / 85) / 2: "This is the mean F1 score. The IoU counts the correct bins once: 50 / (50 + 10 + 5).",
    }
    for wrong, reason in mistakes.items():
        if abs(value - wrong) < 3e-3:
            return Answer(False, reason)
    return Answer(False, "The IoU of a class is correct / (correct + missed + wrongly estimated). Average both classes.")


def exercise_3(answer: Callable[..., Any]) -> Answer:
    """Check a function (mask, mixture, target) that computes the loss of Jansson et al. from magnitudes."""
    if missing := unanswered(answer):
        return missing
    mask, mixture, target = torch.rand(3, 2, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    error = mask * mixture - target
    try:
        found = number(answer(mask, mixture, target))
    except Exception as problem:
        return Answer(False, f"Your function raised {type(problem).__name__}: {problem}")
    if found is None:
        return Answer(False, "Your function must return one number: the mean over all bins.")
    if abs(found - float(error.abs().mean())) < 1e-5:
        return Answer(True, "The loss is the mean absolute error of the masked magnitudes.")
    mistakes = {
        float(error.square().mean()): "This is the mean squared error. The paper uses absolute values.",
        float(error.abs().sum()): "This is the sum. Use the mean, so that the loss does not depend on the size of the input.",
        float(error.mean()): "Errors of opposite sign cancel each other. Use their absolute values.",
        float((mask - target).abs().mean()): "Multiply the mask with the mixture first. A mask is not a magnitude.",
        float((mask * target - mixture).abs().mean()): "Mixture and target are exchanged: the mask is applied to the mixture.",
        float((mask - target / mixture).abs().mean()): "This compares masks. The paper compares magnitudes.",
    }
    for wrong, reason in mistakes.items():
        if abs(found - wrong) < 1e-5 * max(1, abs(wrong)):
            return Answer(False, reason)
    return Answer(False, "The loss is the mean over all bins of |mask * mixture - target|.")
