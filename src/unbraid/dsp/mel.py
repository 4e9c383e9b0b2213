"""Frequency bands on the mel scale of Slaney (Auditory Toolbox, 1998), which is linear below 1 kHz and logarithmic above.

For the weights of triangular filters instead of the bins of each band, use `torchaudio.functional.melscale_fbanks`.
"""

import math

import torch
from torch import Tensor


def mel_bands(num_bands: int, n_fft: int, sample_rate: int) -> Tensor:
    """Compute which bins belong to which mel band: the bins with a positive weight in the filters of `librosa.filters.mel`.

    In addition, the lowest band contains the bin at 0 Hz, and the highest band contains the highest bin.

    Args:
        num_bands: number K of bands. Band k begins at edge k and ends at edge k + 2 of K + 2 edges.
        n_fft: length of the transform in samples.
        sample_rate: sample rate in Hz.

    Shape:
        bool [K, `n_fft // 2 + 1`].

    Returns:
        True if a band contains a bin.
    """
    step = math.log(6.4) / 27  # of a mel above 1 kHz, which is 15 mel
    top = sample_rate / 2
    highest = 15 + math.log(top / 1000) / step if top >= 1000 else top / (200 / 3)
    mels = torch.arange(num_bands + 2, dtype=torch.float64, device="cpu") * (highest / (num_bands + 1))
    edges = torch.where(mels < 15, mels * (200 / 3), 1000 * torch.exp(step * (mels - 15)))
    frequencies = torch.arange(n_fft // 2 + 1, dtype=torch.float64, device="cpu") * (sample_rate / n_fft)
    member = (frequencies > edges[:-2, None]) & (frequencies < edges[2:, None])
    member[0, 0] = member[-1, -1] = True
    return member
