"""Check the answers of lesson 7: the measure of an error, the SDR of a quiet estimate, and the mono Wiener filter."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from unbraid.course.answers import Answer, called, number, unanswered

ERRORS = {
    "SIR": "a: drums are another source. Remains of other sources lower the SIR.",
    "ISR": "b: a wrong level is an error of the source itself. A short filter can correct it, so it lowers the ISR.",
    "SAR": "c: no filtered source contains this sound. Such errors are artefacts, and lower the SAR.",
}


def exercise_1(answer: Sequence[str]) -> Answer:
    """Check which of SIR, ISR and SAR three errors lower: remains of the drums, a wrong level, and watery sounds."""
    if missing := unanswered(answer):
        return missing
    if not isinstance(answer, list | tuple) or len(answer) != len(ERRORS):
        return Answer(False, 'Answer with a list of three names, such as ["SAR", "SAR", "ISR"].')
    for given, (right, reason) in zip(answer, ERRORS.items(), strict=True):
        if str(given).upper() == "SDR":
            return Answer(False, "All errors lower the SDR. Name the measure that lowers because of this kind of error only.")
        if str(given).upper() != right:
            return Answer(False, reason)
    return Answer(True, "Interference lowers SIR, errors of the source itself lower ISR, and artefacts lower SAR.")


def exercise_2(answer: float) -> Answer:
    """Check the SDR in dB of an estimate that is the true source with half the amplitude."""
    if missing := unanswered(answer):
        return missing
    value = number(answer)
    if value is None:
        return Answer(False, "The answer is one number, in dB.")
    if abs(value - 6.02) < 0.05:
        return Answer(True, "The error is half the source, so it has a quarter of the energy: 10 log10(4) = 6.02 dB.")
    mistakes = {
        3.01: "Half the amplitude is a quarter of the energy, because energy is the square of the amplitude.",
        -6.02: "The sign is wrong: the energy of the source is divided by the energy of the error.",
        4.0: "This is the ratio of the energies. Convert it to dB by 10 log10.",
        0.0: "0 dB is the SDR of silence: its error is the whole source. Here, the error is half the source.",
        1.25: "Divide by the energy of the error (true source minus estimate), not by the energy of the estimate.",
    }
    for wrong, reason in mistakes.items():
        if abs(value - wrong) < 0.05:
            return Answer(False, reason)
    if value > 60:
        return Answer(False, "That is the SI-SDR, which ignores the level. The SDR counts a wrong level as error.")
    return Answer(False, "Compute 10 log10(energy of s / energy of (s - 0.5 s)).")


def exercise_3(answer: Callable[..., Any]) -> Answer:
    """Check a function (powers, mixture) that applies the Wiener filter of mono sources in each bin."""
    if missing := unanswered(answer):
        return missing
    draw = torch.Generator().manual_seed(0)
    powers = 0.1 + torch.rand(3, 5, 4, generator=draw)
    mixture = torch.randn(5, 4, generator=draw, dtype=torch.complex64)
    found, reply = called(answer, powers.clone(), mixture.clone())
    if reply is not None:
        return reply
    if not isinstance(found, torch.Tensor) or found.shape != powers.shape:
        return Answer(False, "Return one estimate for each source: a tensor of the shape of `powers`, (sources, bins, frames).")
    if torch.allclose(found.to(mixture.dtype), powers / powers.sum(dim=0) * mixture, atol=1e-4):
        return Answer(True, "The shares of all sources add up to 1, so the estimates add up to the mixture.")
    roots = powers.sqrt()
    mistakes = [
        (powers / powers.sum(dim=0), "These are the masks. Multiply them with the mixture."),
        (
            powers / powers.sum(dim=0) * mixture.abs(),
            "The phase is lost. Multiply with the complex mixture, not with its magnitude.",
        ),
        (roots / roots.sum(dim=0) * mixture, "This divides magnitudes. The Wiener filter divides powers."),
        (
            powers / powers.sum() * mixture,
            "Divide by the sum over the sources in each bin (dim=0), not by the sum of all bins.",
        ),
        ((powers == powers.amax(dim=0)) * mixture, "This is a binary mask. Each source gets its share of the power."),
    ]
    for wrong, reason in mistakes:
        if torch.allclose(found.to(mixture.dtype), wrong.to(mixture.dtype), atol=1e-4):
            return Answer(False, reason)
    return Answer(False, "In each bin, multiply the mixture with power of the source / sum of the powers of all sources.")
