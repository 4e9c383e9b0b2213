"""Check the exercises of lesson 8: number of harmonics, cents, and the phase of a changing pitch."""

import math
from typing import Any

import numpy as np

from unbraid.course.answers import Answer, called, explained, number, unanswered

RATE, PITCH = 16000, 440
PLAYED = 446


def exercise_1(answer: Any) -> Answer:
    """Check the number of harmonics below half the sample rate.

    Args:
        answer: number of harmonics.

    Returns:
        The result.
    """
    if reply := unanswered(answer):
        return reply
    value, right = number(answer), RATE // 2 // PITCH
    if value is None:
        return Answer(False, "Expected one number.")
    if value == right:
        return Answer(True, f"Harmonic {right} has {right * PITCH} Hz, and the next one has {(right + 1) * PITCH} Hz.")
    if math.isfinite(value) and int(value) == RATE // PITCH:
        return Answer(False, "You have used the sample rate. The limit is half the sample rate, 8000 Hz.")
    if value == right + 1:
        return Answer(False, f"Harmonic {right + 1} has {(right + 1) * PITCH} Hz, which is above 8000 Hz. Round down.")
    if value == right - 1:
        return Answer(False, "The fundamental frequency is harmonic 1, so it counts, too.")
    if abs(value - RATE / 2 / PITCH) < 0.1:
        return Answer(False, "Only whole harmonics exist. Round down.")
    return Answer(False, "Divide half the sample rate by the fundamental frequency, and round down.")


def exercise_2(answer: Any) -> Answer:
    """Check a distance in cents.

    Args:
        answer: distance in cents.

    Returns:
        The result.
    """
    if reply := unanswered(answer):
        return reply
    value, right = number(answer), 1200 * math.log2(PLAYED / PITCH)
    if value is None:
        return Answer(False, "Expected one number.")
    if abs(value - right) < 0.1:
        return Answer(True, "About a quarter of a semitone, which has 100 cents.")
    wrong = {
        -right: "The sign is reversed: 446 Hz is too high.",
        right / 100: "This is the distance in semitones. A semitone has 100 cents.",
        right / 1200: "This is the distance in octaves. Multiply by 1200.",
        1200 * math.log(PLAYED / PITCH): "This uses the natural logarithm. An octave is a factor of 2, so use the base 2.",
        1200 * math.log10(PLAYED / PITCH): "This uses the logarithm to the base 10. Use the base 2.",
        1200 * (PLAYED / PITCH - 1): "Cents are logarithmic. Use the logarithm of the ratio to the base 2.",
        PLAYED - PITCH: "This is the distance in Hz. A distance in cents depends on the ratio.",
    }
    return explained(value, wrong, "Compute 1200 times the logarithm to the base 2 of 446 / 440.")


def exercise_3(answer: Any) -> Answer:
    """Check a function that returns a sine wave with a changing frequency.

    Args:
        answer: function of the frequency in Hz [samples] and the sample rate, which returns the wave [samples].

    Returns:
        The result.
    """
    if reply := unanswered(answer):
        return reply
    if not callable(answer):
        return Answer(False, "Expected a function of the frequency and the sample rate.")
    rate = 8000
    f0 = np.linspace(200, 400, rate)
    found, reply = called(answer, f0.copy(), rate, hint="f0 is a numpy array.")
    if reply is not None:
        return reply
    try:
        wave = np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        return Answer(False, "Return the samples of the wave.")
    if wave.shape != f0.shape:
        return Answer(False, f"The wave has the shape {wave.shape}. Expected {f0.shape}: one value for each sample.")
    return _judge(wave, f0, rate)


def _judge(wave: np.ndarray, f0: np.ndarray, rate: int) -> Answer:
    phase, time = np.cumsum(f0) / rate, np.arange(len(f0)) / rate
    waves = (phase, phase - f0 / rate, phase - f0[0] / rate)
    if any(np.allclose(wave, np.sin(2 * np.pi * turns), atol=0.05) for turns in waves):
        return Answer(True, "The phase is the sum of the frequencies, divided by the sample rate.")
    if np.allclose(wave, np.sin(2 * np.pi * f0 * time), atol=0.05):
        return Answer(False, "sin(2 π f0 t) rises twice as fast as f0. The phase is the integral of f0: use np.cumsum.")
    if np.allclose(wave, np.sin(phase), atol=0.05):
        return Answer(False, "The factor 2 π is missing: a turn has 2 π radians.")
    if np.allclose(wave, np.sin(2 * np.pi * np.cumsum(f0)), atol=0.05):
        return Answer(False, "Divide the sum by the sample rate: a sample lasts 1 / rate seconds.")
    if np.allclose(wave, np.cos(2 * np.pi * phase), atol=0.1):
        return Answer(False, "This is a cosine. The wave starts at 0.")
    return Answer(False, "Sum the frequencies with np.cumsum, divide by the sample rate, and multiply by 2 π.")
