"""Measure the bandwidth of a recording. Lossy encoding limits the bandwidth, and so does a conversion from a low sample rate.

The share of energy above a frequency is not a useful measure, because music is weak at high frequencies anyway. A band limit is
detected by an edge in the long-term average spectrum. At an edge, the spectrum falls by tens of dB within a few hundred Hz, and
stays low up to Nyquist. The spectrum of dull music falls by only a few dB per kHz.

Limits: an edge is not detected if the spectrum falls by less than `EDGE_DB` within `EDGE_HZ`, or if the edge is less than
`EDGE_HZ` below Nyquist.
"""

import numpy as np

FRAME = 2048
FRAMES = 2000  # number of frames at most, spread over the track; more frames do not change the average noticeably
LEAST_HOP = FRAME // 8  # samples between frames of a short track; frames that overlap more are almost equal
BATCH = 128
SMOOTHING_HZ = 100.0
EDGE_HZ = 500.0
EDGE_DB = 15.0
BELOW_PEAK_DB = 40.0  # required level above the edge; the spectrum also falls steeply after the bass, but not as low as this
FLOOR_DB = -140.0  # levels below this are rounding errors of float32; relative to the loudest partial
PAUSE_DB = -60.0  # frames this far below the loudest frame are not used


def ceiling_hz(samples: np.ndarray, rate: int) -> float | None:
    """Return the band limit of a recording: the frequency above which an encoder or resampler has removed all sound.

    Args:
        samples: waveform. The channels are not summed, so channels of opposite phase do not cancel.
        rate: sample rate in Hz.

    Shape:
        samples: [C, T].

    Returns:
        The band limit in Hz. The Nyquist frequency if no band limit is found. None if the recording is silent.
    """
    level = _average_spectrum_db(samples, rate)
    if level is None:
        return None
    step = round(EDGE_HZ * FRAME / rate)
    beyond = np.maximum.accumulate(level[::-1])[::-1][step:]
    edges = np.flatnonzero((level[: len(beyond)] - beyond >= EDGE_DB) & (beyond <= -BELOW_PEAK_DB))
    if not len(edges):
        return rate / 2
    # The leakage of the window is above the edge: go back to the last bin before the fall of the spectrum.
    first = max(0, edges[-1] - step)
    before = level[first : edges[-1] + 1]
    return float((first + np.flatnonzero(before >= before.max() - EDGE_DB / 2)[-1]) * rate / FRAME)


def _average_spectrum_db(samples: np.ndarray, rate: int) -> np.ndarray | None:
    """Return the mean spectrum in dB relative to its peak, smoothed over frequency; None for silence. Shape: [bins]."""
    power = _power_spectra(samples)
    loudness = power.sum(axis=1)
    if not loudness.any():
        return None
    power = power[loudness >= loudness.max() * 10 ** (PAUSE_DB / 10)]
    levels = 10 * np.log10(np.maximum(power, power.max() * 10 ** (FLOOR_DB / 10))).mean(axis=0)
    width = max(1, round(SMOOTHING_HZ * FRAME / rate / 2))
    padded = np.pad(levels, width, mode="edge")
    smooth = np.convolve(padded, np.full(2 * width + 1, 1 / (2 * width + 1)), mode="valid")
    return smooth - smooth.max()


def _power_spectra(samples: np.ndarray) -> np.ndarray:
    """Return the power spectra of at most `FRAMES` frames that are spread over the track. Shape: [frames, bins]."""
    channels, length = samples.shape
    if length < FRAME:
        samples = np.pad(samples, ((0, 0), (0, FRAME - length)))
    last = samples.shape[1] - FRAME
    starts = np.unique(np.linspace(0, last, min(FRAMES, 2 + last // LEAST_HOP)).astype(int))
    turns = np.arange(len(starts)) % channels
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME, axis=1)
    window = np.hanning(FRAME).astype(np.float32)
    power = np.empty((len(starts), FRAME // 2 + 1), np.float32)
    for first in range(0, len(starts), BATCH):
        chosen = slice(first, first + BATCH)
        spectra = np.fft.rfft(frames[turns[chosen], starts[chosen]] * window)
        power[chosen] = spectra.real**2 + spectra.imag**2
    return power
