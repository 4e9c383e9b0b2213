"""Fewer samples per second, quickly: mono, low-passed by a windowed sinc and thinned, for measuring and never for listening.

Polyphase form (Crochiere & Rabiner 1983): the samples folded to rows of `factor`, times a matrix, is the whole filter, so it
runs at the speed of a matrix product. For audio that somebody hears or trains on, use `unbraid.audio.resample`.
"""

import numpy as np

SPAN = 8  # filter length in samples of the low rate
CUTOFF = 0.45  # of the low rate; what would fold below 0.36 of it is stopped
ROWS = 1 << 14


def decimate(samples: np.ndarray, factor: int) -> np.ndarray:
    """The mean of the channels at 1 / `factor` of the rate.

    Args:
        samples: `[channels, samples]`.
        factor: from 1, which only mixes to mono.

    Shape:
        result: float32 `[samples // factor]`, delayed by half of `SPAN` of its samples unless `factor` is 1.
    """
    if factor == 1:
        return samples.mean(axis=0, dtype=np.float32)
    rows = samples.shape[1] // factor
    phases = _filter(factor)
    low = np.zeros(SPAN - 1 + rows, np.float32)
    for start in range(0, rows, ROWS):
        stop = min(start + ROWS, rows)
        block = samples[:, start * factor : stop * factor].mean(axis=0)
        parts = block.reshape(-1, factor) @ phases
        for delay in range(SPAN):
            low[start + delay : stop + delay] += parts[:, delay]
    return low[:rows]


def _filter(factor: int) -> np.ndarray:
    """The low-pass `[factor, SPAN]`, one column for each delay in samples of the low rate."""
    times = (np.arange(SPAN * factor) + 0.5) / factor - SPAN / 2
    taps = np.sinc(2 * CUTOFF * times) * np.cos(np.pi * times / SPAN) ** 2
    # A row of samples lies in time order, a filter looks backwards.
    return (taps / taps.sum()).astype(np.float32).reshape(SPAN, factor)[:, ::-1].T.copy()
