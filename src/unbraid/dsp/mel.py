"""Frequency bands on the mel scale, and the discrete cosine transform of mel-frequency cepstral coefficients.

There are two mel scales. `mel_filterbank` uses the scale of HTK, `2595 log10(1 + f / 700 Hz)` (O'Shaughnessy, "Speech
Communication", 1987), and filters with a peak of 1, as in torchaudio. `mel_bands` uses the scale of Slaney (Auditory Toolbox,
1998), which is linear below 1 kHz and logarithmic above, as in librosa.
"""

import math

import torch
from torch import Tensor


def mel_filterbank(bins: int, fmin: float, fmax: float, bands: int, sample_rate: int) -> Tensor:
    """Return the weight of each frequency bin in each mel band. A narrow band may be empty, without any bin.

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
    """Return the matrix of the orthonormal discrete cosine transform (type 2), limited to the first coefficients.

    Args:
        count: number of coefficients.
        bands: number of values that are transformed.

    Shape:
        [bands, count]

    Returns:
        The matrix M. For a row vector x of `bands` values, the product x M contains the coefficients of x.
    """
    position, order = torch.arange(float(bands)), torch.arange(float(count)).unsqueeze(1)
    rows = torch.cos(math.pi / float(bands) * (position + 0.5) * order)
    rows[0] *= 1.0 / math.sqrt(2.0)
    return (rows * math.sqrt(2.0 / float(bands))).T


def mel_bands(num_bands: int, n_fft: int, sample_rate: int) -> Tensor:
    """Compute which frequency bins belong to each mel band.

    A bin belongs to a band if the filter of the band in `librosa.filters.mel` has a positive weight at this bin. In addition,
    the lowest band contains the bin at 0 Hz, and the highest band contains the highest bin.

    Args:
        num_bands: number K of bands. K + 2 edges are spaced evenly on the mel scale. Band k is between edge k and
            edge k + 2.
        n_fft: length of the transform in samples.
        sample_rate: sample rate in Hz.

    Shape:
        bool [K, `n_fft // 2 + 1`].

    Returns:
        Matrix of booleans. Row k contains True for each bin of band k.
    """
    step = math.log(6.4) / 27  # natural logarithm of the frequency ratio of one mel, above 1 kHz (15 mel)
    top = sample_rate / 2
    highest = 15 + math.log(top / 1000) / step if top >= 1000 else top / (200 / 3)
    mels = torch.arange(num_bands + 2, dtype=torch.float64, device="cpu") * (highest / (num_bands + 1))
    edges = torch.where(mels < 15, mels * (200 / 3), 1000 * torch.exp(step * (mels - 15)))
    frequencies = torch.arange(n_fft // 2 + 1, dtype=torch.float64, device="cpu") * (sample_rate / n_fft)
    member = (frequencies > edges[:-2, None]) & (frequencies < edges[2:, None])
    member[0, 0] = member[-1, -1] = True
    return member
