"""Check the answers of lesson 6: the bottleneck of the U-Net, the mean IoU, and the loss of the U-Net paper."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from unbraid.course.answers import Answer, called, number, numbers, unanswered

BOTTLENECK = {
    (256, 64, 16): "You have halved four times. The network has five encoder layers, and each has stride 2.",
    (256, 16, 4): "You have halved six times. The network has five encoder layers.",
    (256, 1024, 256): "Each encoder layer has stride 2, so it halves the number of bins and the number of frames.",
    (256, 8, 32): "The order is channels, bins, frames: a spectrogram of 1024 bins and 256 frames.",
    (8, 32, 256): "The order is channels, bins, frames.",
    (128, 32, 8): "The fifth encoder layer has 256 output channels: 16, 32, 64, 128, 256.",
    (256, 32, 256): "The stride is 2 in both directions, so the number of frames is halved, too.",
    (512, 8, 2): "This is the bottleneck of the network of section 1. The network of the exercise has other sizes.",
}
MEAN_IOU = (50 / 65 + 35 / 50) / 2


def exercise_1(answer: Sequence[int]) -> Answer:
    """Check the size (channels, bins, frames) of the bottleneck of a U-Net with five layers for 1024 bins, 256 frames."""
    if missing := unanswered(answer):
        return missing
    size = tuple(int(value) for value in numbers(answer) or [])
    if len(size) != 3:
        return Answer(False, "Answer with three numbers: channels, bins, frames.")
    if size == (256, 32, 8):
        return Answer(True, "1024 / 2⁵ = 32 bins and 256 / 2⁵ = 8 frames. These 65,536 numbers describe 262,144 bins.")
    if size in BOTTLENECK:
        return Answer(False, BOTTLENECK[size])
    return Answer(False, "Start from 1024 bins and 256 frames, and halve both numbers once for each of the five layers.")


def exercise_2(answer: float) -> Answer:
    """Check the mean IoU of the confusion matrix [[50, 10], [5, 35]]."""
    if missing := unanswered(answer):
        return missing
    value = number(answer)
    if value is None:
        return Answer(False, "The answer is one number.")
    if abs(value - MEAN_IOU) < 2e-3:
        return Answer(True, "The IoUs are 50 / 65 and 35 / 50. Their mean is 0.735.")
    if abs(value - 100 * MEAN_IOU) < 0.2:
        return Answer(False, "The number is right as a percentage. Write it as a share between 0 and 1.")
    mistakes = {
        0.85: "This is the accuracy, the share of correct bins. Compute the IoU of each class, and then the mean.",
        85 / 115: "You have added both classes first. Compute the IoU of each class, and then the mean.",
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
    result, reply = called(answer, mask, mixture, target)
    if reply is not None:
        return reply
    found = number(result)
    if found is None:
        return Answer(False, "Your function must return one number: the mean over all bins.")
    if abs(found - float(error.abs().mean())) < 1e-5:
        return Answer(True, "The loss is the mean absolute error of the masked magnitudes.")
    mistakes = {
        float(error.square().mean()): "This is the mean squared error. The paper uses absolute values.",
        float(error.abs().sum()): "This is the sum. Use the mean, so that the loss does not depend on the size of the input.",
        float(error.mean()): "Errors of opposite sign cancel each other. Use their absolute values.",
        -float(error.mean()): "Errors of opposite sign cancel. Take the absolute value of each error before the mean.",
        float((mask - target).abs().mean()): "Multiply the mask with the mixture first. A mask is not a magnitude.",
        float((mask * target - mixture).abs().mean()): "Mixture and target are exchanged: the mask is applied to the mixture.",
        float((mask - target / mixture).abs().mean()): "This compares masks. The paper compares magnitudes.",
    }
    for wrong, reason in mistakes.items():
        if abs(found - wrong) < 1e-5 * max(1, abs(wrong)):
            return Answer(False, reason)
    return Answer(False, "The loss is the mean over all bins of |mask * mixture - target|.")
