"""Mel filter bank and discrete cosine transform, for mel-frequency cepstral coefficients and mel bands.

The mel scale is that of HTK: `2595 log10(1 + f / 700 Hz)` (O'Shaughnessy, "Speech Communication", 1987). The filters are
triangles with a peak of 1, as in torchaudio. For mel bands of Slaney's scale, use librosa.
"""

import math

import torch
from torch import Tensor


def mel_filterbank(bins: int, fmin: float, fmax: float, bands: int, sample_rate: int) -> Tensor:
    """Return the weight of each frequency bin in each mel band. A band that is narrower than a bin can be empty.

    Args:
        bins: number of frequency bins, from 0 Hz to half the sample rate.
        fmin: lower edge of the first band in Hz.
        fmax: upper edge of the last band in Hz.
        bands: number of mel bands.
        sample_rate: sample rate in Hz.

    Shape:
        [bins, bands]

    Returns:
        The weights, between 0 and 1.
    """
    frequencies = torch.linspace(0, sample_rate // 2, bins)
    edges = 700.0 * (10.0 ** (torch.linspace(_mel(fmin), _mel(fmax), bands + 2) / 2595.0) - 1.0)
    widths = edges[1:] - edges[:-1]
    slopes = edges.unsqueeze(0) - frequencies.unsqueeze(1)
    falling, rising = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
    return torch.minimum(falling, rising).clamp(min=0)


def _mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def cosine_transform(count: int, bands: int) -> Tensor:
    """Return the first columns of the orthonormal discrete cosine transform of type 2.

    Args:
        count: number of coefficients.
        bands: number of values that are transformed.

    Shape:
        [bands, count]

    Returns:
        The matrix by which rows of `bands` values are multiplied.
    """
    position, order = torch.arange(float(bands)), torch.arange(float(count)).unsqueeze(1)
    rows = torch.cos(math.pi / float(bands) * (position + 0.5) * order)
    rows[0] *= 1.0 / math.sqrt(2.0)
    return (rows * math.sqrt(2.0 / float(bands))).T
