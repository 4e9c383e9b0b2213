"""Oracles: what the best imaginable mask would reach, given the true sources."""

from torch import Tensor

from unbraid.dsp import STFT


def ideal_ratio_mask(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate by the ratio of the source's magnitude to source plus rest, with the mixture's phase.

    It is the ceiling of a soft mask at this STFT's resolution (Liutkus & Badeau, ICASSP 2015, alpha = 1).

    Shape: mixture [C, T], sources [S, C, T] -> [S, C, T].
    """
    source = stft(sources).abs()
    rest = stft(mixture - sources).abs()
    mask = source / (source + rest).clamp(min=1e-12)
    return stft.inverse(mask * stft(mixture), mixture.shape[-1])
