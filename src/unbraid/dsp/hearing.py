"""Weight waveforms by the sensitivity of human hearing, as log-WMSE does (Jordal, Nomono 2023).

The filter has a zero phase and the magnitude of four filters in a row (Fenton and Lee 2017): a high shelf (5 dB above 1500 Hz),
a high-pass filter (120 Hz, second order), a peak (2.5 dB at 500 Hz) and a low-pass filter (10 kHz, first order, applied
forwards and backwards). The shelf and the peak are those of the Audio EQ Cookbook (Bristow-Johnson). The filter is defined for
44.1 kHz.
"""

import math
from functools import cache

import torch
from torch import Tensor

SAMPLE_RATE = 44100
POINTS, TAPS = 8192, 4000  # length of the transform in which the filter is computed, and length of the filter


def weighted_by_hearing(signal: Tensor) -> Tensor:
    """Filter waveforms at 44.1 kHz. The result is centred on the signal. Shape: [..., T] -> [..., T]."""
    taps, length = _filter().to(signal), signal.shape[-1]
    size = 1 << (length + TAPS - 2).bit_length()
    spectrum = torch.fft.rfft(signal, size) * torch.fft.rfft(taps, size)
    start = (TAPS - 1) // 2
    return torch.fft.irfft(spectrum, size)[..., start : start + length]


@cache
def _filter() -> Tensor:
    """Compute the filter: 4000 symmetric taps in float64, with the magnitude of the four filters in a row."""
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
