"""The frequency above which a recording holds nothing: what a lossy encoder, or an earlier and lower sample rate, has cut off.

A share of the energy cannot tell it, because music is weak at high frequencies anyway. What gives a cut away is its edge: the
long-term average spectrum falls by tens of dB within a few hundred Hz and stays down up to Nyquist, where music that merely
grows dull falls by a few dB per kHz. A filter softer than `EDGE_DB` within `EDGE_HZ` is not seen, nor an
edge in the last `EDGE_HZ` below Nyquist.
"""

import numpy as np

FRAME = 2048
FRAMES = 2000  # spread over the track: more change the average by less than the ripple of one frame
BATCH = 128
SMOOTHING_HZ = 100.0
EDGE_HZ = 500.0
EDGE_DB = 15.0
BELOW_PEAK_DB = 40.0  # the fall from bass to middle is as steep as an edge, but what follows it is not as weak
FLOOR_DB = -140.0  # below the loudest partial is the rounding of float32
PAUSE_DB = -60.0  # frames this far below the loudest one are left out


def ceiling_hz(samples: np.ndarray, rate: int) -> float | None:
    """The edge in Hz; Nyquist where there is none, None for silence and for a sample or two.

    Args:
        samples: `[channels, samples]`; channels take turns, so that opposite phases do not cancel.
        rate: in Hz.
    """
    level = _average_spectrum_db(samples, rate)
    if level is None:
        return None
    step = round(EDGE_HZ * FRAME / rate)
    beyond = np.maximum.accumulate(level[::-1])[::-1][step:]
    edges = np.flatnonzero((level[: len(beyond)] - beyond >= EDGE_DB) & (beyond <= -BELOW_PEAK_DB))
    if not len(edges):
        return rate / 2
    # The window's leakage lies beyond the edge: go back to where the spectrum still stands.
    first = max(0, edges[-1] - step)
    before = level[first : edges[-1] + 1]
    return float((first + np.flatnonzero(before >= before.max() - EDGE_DB / 2)[-1]) * rate / FRAME)


def _average_spectrum_db(samples: np.ndarray, rate: int) -> np.ndarray | None:
    """Smoothed, in dB below its peak `[bins]`: the mean of decibels, which a click or a cut end does not lift."""
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
    """`[frames, bins]` of frames all over the track."""
    channels, length = samples.shape
    if length < FRAME:
        samples = np.pad(samples, ((0, 0), (0, FRAME - length)))
    starts = np.unique(np.linspace(0, samples.shape[1] - FRAME, FRAMES).astype(int))
    turns = np.arange(len(starts)) % channels
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME, axis=1)
    window = np.hanning(FRAME).astype(np.float32)
    power = np.empty((len(starts), FRAME // 2 + 1), np.float32)
    for first in range(0, len(starts), BATCH):
        chosen = slice(first, first + BATCH)
        spectra = np.fft.rfft(frames[turns[chosen], starts[chosen]] * window)
        power[chosen] = spectra.real**2 + spectra.imag**2
    return power
