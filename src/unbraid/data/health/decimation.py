"""Decimate a recording to a lower sample rate quickly, for measurements: mix to mono, low-pass with a windowed sinc, subsample.

The filter has polyphase form (Crochiere & Rabiner 1983): the samples are reshaped to rows of `factor` samples, and these rows
are multiplied by a matrix. So filtering is as fast as a matrix product. Use `unbraid.audio.resample` for audio that is played
or used for training.
"""

import numpy as np

SPAN = 8  # length of the filter, in samples at the low rate
CUTOFF = 0.45  # cut-off frequency relative to the low rate; aliases below 0.36 of the low rate are suppressed
ROWS = 1 << 14  # rows per matrix product


def decimate(samples: np.ndarray, factor: int) -> np.ndarray:
    """Return the mean of the channels at a lower sample rate.

    Args:
        samples: waveform.
        factor: input sample rate divided by output sample rate, at least 1. A factor of 1 only mixes to mono.

    Shape:
        samples: [C, T]; the result: [T // factor].

    Returns:
        The mono waveform, float32. If `factor` is above 1, the waveform is delayed by 4 samples (`SPAN` / 2) at the lower rate.
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
    """Return the taps of the low-pass filter for a decimation by `factor`, as a matrix. Shape: [factor, SPAN].

    The input is cut into blocks of `factor` samples. The product of a block and column k of the matrix is the part of the block
    in the output sample that is k samples later.
    """
    times = (np.arange(SPAN * factor) + 0.5) / factor - SPAN / 2
    taps = np.sinc(2 * CUTOFF * times) * np.cos(np.pi * times / SPAN) ** 2
    # The samples of a row are in time order, the taps of a filter in reverse order.
    return (taps / taps.sum()).astype(np.float32).reshape(SPAN, factor)[:, ::-1].T.copy()
