"""Change the sample rate with soxr (quality "very high"), for whole signals or block by block.

soxr is fast for all pairs of sample rates. torchaudio is slow for some pairs: to convert 8192 Hz to 44.1 kHz, torchaudio takes
100 times as long as soxr. Use torchaudio if gradients must pass through the resampler.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Convert a signal to another sample rate.

    Args:
        samples: signal.
        rate: sample rate of the signal in Hz.
        new_rate: sample rate of the result in Hz.

    Shape:
        [channels, samples] -> [channels, new samples].

    Returns:
        The resampled signal, or the signal itself if the rates are equal.
    """
    if rate == new_rate:
        return samples
    return np.ascontiguousarray(soxr.resample(samples.T, rate, new_rate, quality="VHQ").T)


def resample_blocks(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """Change the sample rate of a signal, block by block. The joined output blocks equal the result of `resample`.

    Args:
        blocks: consecutive blocks of the signal.
        rate: sample rate of the signal in Hz.
        new_rate: sample rate of the result in Hz.

    Shape:
        each block: [channels, n] -> [channels, m]. The blocks may differ in length (n, m).

    Yields:
        Consecutive blocks of the resampled signal.
    """
    if rate == new_rate:
        yield from blocks
        return
    stream = None
    for block in blocks:
        stream = stream or soxr.ResampleStream(rate, new_rate, len(block), dtype="float32", quality="VHQ")
        if (resampled := stream.resample_chunk(np.ascontiguousarray(block.T))).size:
            yield np.ascontiguousarray(resampled.T)
    if stream is not None:
        yield np.ascontiguousarray(stream.resample_chunk(np.zeros((0, len(block)), np.float32), last=True).T)
