"""Check the answers of lesson 5: bins of an STFT, three ideal masks, and one iteration of Griffin-Lim."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from unbraid.course.answers import Answer, called, numbers, unanswered
from unbraid.dsp.stft import STFT

MASKS = {
    "ibm": (1.0, {0.0: "The source has the larger magnitude (4 against 1), so it gets the bin."}),
    "irm": (
        0.8,
        {
            4 / 3: "This is |S| / |X|. The ideal ratio mask divides by |S| + |R| = 5.",
            16 / 17: "This is `irm2`, the ratio of the powers. `irm` is the ratio of the magnitudes.",
            1.0: "Divide by |S| + |R|, not by the larger of both.",
        },
    ),
    "psm": (
        1.0,
        {
            4 / 3: "S / X = 4 / 3 is right, but the mask is clamped to the range from 0 to 1.",
            0.8: "The phase-sensitive mask divides by the mixture X = S + R = 3.",
        },
    ),
}


def exercise_1(answer: Sequence[float]) -> Answer:
    """Check the number of bins, and their distance in Hz, for a window of 1024 samples at 8192 Hz."""
    if missing := unanswered(answer):
        return missing
    values = numbers(answer) or []
    if len(values) != 2:
        return Answer(False, "Answer with two numbers: the number of bins, and their distance in Hz.")
    bins, distance = values
    if (bins, distance) == (513, 8):
        return Answer(True, "The bins are at 0, 8, 16 … 4096 Hz. These are 1024 / 2 + 1 = 513 frequencies.")
    if (bins, distance) == (8, 513):
        return Answer(False, "The order is: number of bins, distance in Hz.")
    reasons = {
        512: "Both ends count: 0 Hz and half the sample rate. So there is one bin more than 1024 / 2.",
        1024: "The spectrum of a real signal is symmetric. Only the frequencies from 0 to half the sample rate are stored.",
    }
    if bins != 513:
        return Answer(False, reasons.get(int(bins), "A window of N samples gives N / 2 + 1 bins."))
    if distance == 4:
        return Answer(False, "Divide the sample rate by the window, not half the sample rate.")
    return Answer(False, "The number of bins is right. Their distance is the sample rate divided by the window.")


def exercise_2(answer: Sequence[float]) -> Answer:
    """Check the masks `ibm`, `irm` and `psm` of a bin with the source 4 and the rest -1."""
    if missing := unanswered(answer):
        return missing
    values = numbers(answer) or []
    if len(values) != len(MASKS):
        return Answer(False, "Answer with a list of three numbers, in the order ibm, irm, psm.")
    for value, (name, (right, mistakes)) in zip(values, MASKS.items(), strict=True):
        if abs(value - right) > 5e-3:
            reasons = [reason for wrong, reason in mistakes.items() if abs(value - wrong) < 5e-3]
            return Answer(False, f"{name}: {(reasons or ['insert S = 4, R = -1 and X = 3 into the formula of the table.'])[0]}")
    return Answer(True, "The mixture has the magnitude 3 only, because source and rest have opposite phases.")


def exercise_3(answer: Callable[..., Any]) -> Answer:
    """Check a function (spectrum, magnitudes, stft, samples) that computes one iteration of Griffin-Lim."""
    if missing := unanswered(answer):
        return missing
    draw = torch.Generator().manual_seed(0)
    stft, samples = STFT(64, 16), 400
    magnitudes = stft(torch.randn(1, samples, generator=draw)).abs()
    spectrum = torch.polar(magnitudes, 6 * torch.rand(magnitudes.shape, generator=draw))
    consistent = stft(stft.inverse(spectrum, samples))
    found, reply = called(answer, spectrum.clone(), magnitudes.clone(), stft, samples)
    if reply is not None:
        return reply
    if not isinstance(found, torch.Tensor) or found.shape != spectrum.shape:
        return Answer(False, "Your function must return a spectrum with the shape of its first argument, and not a waveform.")
    right = torch.polar(magnitudes, consistent.angle())
    found = found.to(right.dtype)
    if torch.allclose(found, right, atol=1e-3):
        return Answer(True, "Each call keeps the wanted magnitudes and improves the phase.")
    mistakes = [
        (consistent, "This spectrum belongs to a signal, but its magnitudes have changed. Replace them by the wanted ones."),
        (torch.polar(magnitudes, spectrum.angle()), "The phase is still the old one. Take it from stft(stft.inverse(…))."),
        (torch.polar(consistent.abs(), spectrum.angle()), "Magnitudes and phases are exchanged: keep the new phase."),
        (right.abs(), "The result has no phase. Use torch.polar(magnitudes, phase)."),
    ]
    for wrong, reason in mistakes:
        if torch.allclose(found, wrong.to(right.dtype), atol=1e-3):
            return Answer(False, reason)
    return Answer(False, "Compute stft(stft.inverse(spectrum, samples)), take its angle, and combine it with the magnitudes.")
