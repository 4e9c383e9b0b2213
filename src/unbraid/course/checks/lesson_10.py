"""Check the exercises of lesson 10: compressed bands, trained weights of LoRA, and an exported network."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unbraid.course.answers import Answer, called, explained, number, unanswered

BANDS, FACTORS = (359, 803, 887), (1, 4, 16)
INPUTS, OUTPUTS, RANK = 384, 1536, 8


def exercise_1(answer: Any) -> Answer:
    """Check the number of values after the first compression.

    Args:
        answer: number of values.

    Returns:
        The result.
    """
    if reply := unanswered(answer):
        return reply
    value = number(answer)
    if value is None:
        return Answer(False, "Expected one number.")
    pairs = list(zip(BANDS, FACTORS, strict=True))
    exact = sum(size / factor for size, factor in pairs)
    if value == sum(math.ceil(size / factor) for size, factor in pairs):
        return Answer(True, "The low band keeps most of the values, although it has the smallest number of bins.")
    if value == sum(size // factor for size, factor in pairs):
        return Answer(False, "You have rounded down. The last group of a band is filled up with zeros, so round up.")
    if abs(value - exact) < 1:
        return Answer(False, "The bins of each band are grouped separately. Round up in each band, then add.")
    if abs(value - sum(BANDS) / sum(FACTORS)) < 2:
        return Answer(False, "Each band has a factor of its own. Divide each band by its factor, then add.")
    return Answer(False, "Divide the size of each band by its factor, round up, and add the three numbers.")


def exercise_2(answer: Any) -> Answer:
    """Check the share of trained weights.

    Args:
        answer: share in percent.

    Returns:
        The result.
    """
    if reply := unanswered(answer):
        return reply
    value = number(answer)
    if value is None:
        return Answer(False, "Expected one number.")
    trained, weights = RANK * (INPUTS + OUTPUTS), INPUTS * OUTPUTS
    percent = 100 * trained / weights
    if abs(value - percent) < 0.02:
        return Answer(True, f"LoRA trains {trained} numbers in place of {weights}.")
    wrong = {
        percent / 100: "This is the share as a fraction. Multiply by 100.",
        trained: "This is the number of trained weights. Divide by the number of all weights of the layer.",
        percent / 2: "There are two matrices: A has 8 × 384 weights, and B has 1536 × 8 weights.",
        100 * RANK * INPUTS / weights: "This counts the matrix A only. B has 1536 × 8 weights.",
        100 * RANK * OUTPUTS / weights: "This counts the matrix B only. A has 8 × 384 weights.",
    }
    return explained(value, wrong, "Divide the number of weights of A and B by the number of weights of the layer.")


class HalvingSession:
    """Imitate a session of onnxruntime whose network returns half of its input. The inputs are stored."""

    def __init__(self) -> None:
        self.inputs: list[np.ndarray] = []

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return half of the input `mixture`, as one source.

        Args:
            outputs: names of the outputs, which are ignored.
            inputs: the input `mixture`, [batch, channels, samples].

        Returns:
            The output `sources`, [batch, 1, channels, samples].
        """
        self.inputs.append(np.asarray(inputs["mixture"]))
        return [self.inputs[-1][:, None] / 2]


def exercise_3(answer: Any) -> Answer:
    """Check a function that separates a waveform with an exported network.

    Args:
        answer: function of a session and a waveform [samples], which returns the vocals [samples].

    Returns:
        The result.
    """
    if reply := unanswered(answer):
        return reply
    if not callable(answer):
        return Answer(False, "Expected a function of a session and a waveform.")
    mixture = (3 + 2 * np.random.default_rng(0).standard_normal(4000)).astype(np.float32)
    session = HalvingSession()
    found, reply = called(answer, session, mixture.copy(), hint="The input is called `mixture`.")
    if reply is not None:
        return reply
    return _judge(session, mixture, found)


def _judge(session: HalvingSession, mixture: np.ndarray, found: Any) -> Answer:
    if not session.inputs:
        return Answer(False, "The function does not call session.run.")
    given = session.inputs[0]
    if given.shape != (1, 1, len(mixture)):
        return Answer(
            False, f"The input has the shape {given.shape}. Expected {(1, 1, len(mixture))}: batch, channels, samples."
        )
    if given.dtype != np.float32:
        return Answer(False, f"The input must be float32, not {given.dtype}. Use `.astype(np.float32)`.")
    if abs(given.mean()) > 1e-3:
        return Answer(False, "The input of the network has a mean. Subtract the mean of the mixture.")
    if abs(given.std() - 1) > 1e-3:
        return Answer(False, "The standard deviation of the network's input is not 1. Divide by that of the mixture.")
    found = np.asarray(found, dtype=float)
    if found.shape != mixture.shape:
        return Answer(False, f"Return the samples of the vocals, with the shape {mixture.shape}, not {found.shape}.")
    scale, mean = mixture.std(), mixture.mean()
    if np.allclose(found, (mixture - mean) / 2 + mean, atol=1e-3):
        return Answer(True, "The program works at any level of the song.")
    if np.allclose(found, (mixture - mean) / scale / 2, atol=1e-3):
        return Answer(False, "The output has the scale of the network. Multiply by the standard deviation and add the mean.")
    if np.allclose(found, (mixture - mean) / 2, atol=1e-3):
        return Answer(False, "The mean is missing in the output. Add it, as the metadata describe.")
    return Answer(False, "Multiply the output by the standard deviation of the mixture and add its mean.")
