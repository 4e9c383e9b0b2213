"""Compute log-WMSE: the logarithm of the frequency-weighted mean squared error (Jordal, Nomono 2023).

The measure is defined for a silent reference, unlike energy ratios. The weights follow the sensitivity of human hearing. The
weighting filter has a zero phase and the magnitude of four filters in a row (Fenton and Lee 2017): a high shelf (5 dB above
1500 Hz), a high-pass filter (120 Hz, second order), a peak (2.5 dB at 500 Hz) and a low-pass filter (10 kHz, first order,
applied forwards and backwards). The shelf and the peak are those of the Audio EQ Cookbook (Bristow-Johnson).
"""

import math
from functools import cache

import torch
from torch import Tensor

from unbraid.runs.errors import InputError
from unbraid.scoring.measures import Measure

SAMPLE_RATE = 44100
POINTS, TAPS = 8192, 4000  # length of the transform in which the filter is computed, and length of the filter
EPSILON = 1e-8
SCALE = -4.0  # so that the scores are similar to an SDR in dB
INAUDIBLE = 10 ** (-68 / 20)  # errors below this value, relative to the mixture, count as 0


class LogWMSE(Measure):
    """Compute log-WMSE = -4 ln (mean of w^2 + 1e-8), averaged over the channels.

    In each channel, w is the filtered error (estimate minus reference), divided by the root mean square of the filtered
    mixture. Values |w| below -68 dB are set to 0. Higher is better. The largest score is 73.68, for an estimate without an
    audible error and for a channel with a silent mixture. If the estimate is the mixture and the reference is silent, the score
    is 0.
    """

    names = ("logWMSE",)
    unit = "no unit"
    uses_mixture = True

    def __call__(self, reference: Tensor, estimate: Tensor, sample_rate: int, mixture: Tensor | None = None) -> tuple[float]:
        """Compute the score, see the class and `Measure`.

        Args:
            reference: true source.
            estimate: estimated source.
            sample_rate: sample rate of the waveforms in Hz. The filter is defined for 44100 Hz.
            mixture: mixture. It has the same shape as the sources.

        Shape:
            each [C, T].

        Returns:
            The score.

        Raises:
            InputError: the sample rate is not 44100 Hz, or the mixture is missing.
        """
        if sample_rate != SAMPLE_RATE:
            raise InputError(
                "protocol.sample_rate", "log-WMSE is not defined for this rate", found=sample_rate, expected="44100"
            )
        if mixture is None:
            raise InputError("mixture", "log-WMSE needs the mixture", found="None", expected="a waveform")
        level = _weighted(mixture).square().mean(dim=-1).sqrt()
        weighted = _weighted(estimate - reference)
        scores = [
            _score(error / rms) if rms > 0 else SCALE * math.log(EPSILON) for error, rms in zip(weighted, level, strict=True)
        ]
        return (sum(scores) / len(scores),)


def _score(error: Tensor) -> float:
    audible = torch.where(error.abs() < INAUDIBLE, 0, error)
    return SCALE * math.log(float(audible.square().mean()) + EPSILON)


def _weighted(signal: Tensor) -> Tensor:
    """Filter a signal [C, T]. The result has the same length, and is centred on the signal."""
    taps, length = _filter().to(signal.device), signal.shape[-1]
    size = 1 << (length + TAPS - 2).bit_length()
    spectrum = torch.fft.rfft(signal.double(), size) * torch.fft.rfft(taps, size)
    start = (TAPS - 1) // 2
    return torch.fft.irfft(spectrum, size)[..., start : start + length]


@cache
def _filter() -> Tensor:
    """Compute the weighting filter: a symmetric filter of 4000 taps with the magnitude of the four filters in a row."""
    omega = torch.linspace(0, math.pi, POINTS // 2 + 1, dtype=torch.float64)
    high, low = _butterworth(2, _warped(omega, 120)), _butterworth(1, _warped(omega, 10_000))
    shelf, peak = _shelf(_warped(omega, 1500), 5.0, 2**-0.5), _peak(_warped(omega, 500), 2.5, 1.5 * 2**-0.5)
    response = torch.fft.irfft((1 - high).sqrt() * low * shelf * peak, POINTS).roll(POINTS // 2)
    start = POINTS // 2 + 1 - TAPS // 2
    return response[start : start + TAPS]


def _warped(omega: Tensor, hertz: float) -> Tensor:
    """Return analog frequencies relative to `hertz` for digital frequencies in radians per sample (bilinear transform)."""
    return (omega / 2).tan() / math.tan(math.pi * hertz / SAMPLE_RATE)


def _butterworth(order: int, ratio: Tensor) -> Tensor:
    """Return the squared magnitude of a low-pass filter. 1 minus the result is that of the high-pass filter."""
    return 1 / (1 + ratio ** (2 * order))


def _shelf(ratio: Tensor, decibels: float, q: float) -> Tensor:
    """Return the magnitude of a high shelf: `decibels` above the frequency ratio 1, and 0 dB below."""
    root = 10 ** (decibels / 40)
    middle = 1j * ratio * root**0.5 / q
    return root * (1 - root * ratio**2 + middle).abs() / (root - ratio**2 + middle).abs()


def _peak(ratio: Tensor, decibels: float, q: float) -> Tensor:
    """Return the magnitude of a peak filter: `decibels` at the frequency ratio 1, and 0 dB far away."""
    root, rest = 10 ** (decibels / 40), 1 - ratio**2
    return (rest + 1j * ratio * root / q).abs() / (rest + 1j * ratio / (root * q)).abs()
