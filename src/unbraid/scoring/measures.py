"""Measures of a whole track in dB: energy ratios, undefined (None) where the reference is silent, and a spectral distance.

For the filter-tolerant SDR, SIR and SAR of the papers take `bss_eval`. The SNR of a reconstruction is `usdr`.
"""

import math

import torch
from torch import Tensor

from unbraid.dsp.stft import STFT


def usdr(reference: Tensor, estimate: Tensor) -> float | None:
    """Plain signal-to-error ratio over all samples and channels (Music Demixing Challenge, Mitsufuji et al. 2022).

    The challenge adds 1e-7 to both energies; here a silent reference is undefined and a perfect estimate is capped at 120 dB.

    Shape: [C, T] both.
    """
    return _ratio(reference, estimate - reference)


def si_sdr(reference: Tensor, estimate: Tensor) -> float | None:
    """Scale-invariant SDR (Le Roux et al., ICASSP 2019): the reference is scaled to fit the estimate first.

    One scale serves all channels, so a panned estimate is not forgiven.

    Shape: [C, T] both.
    """
    reference, estimate = reference.double(), estimate.double()
    energy = reference.square().sum()
    if energy == 0:
        return None
    target = reference * (reference * estimate).sum() / energy
    return _ratio(target, estimate - target)


def _ratio(signal: Tensor, error: Tensor) -> float | None:
    above, below = float(signal.double().square().sum()), float(error.double().square().sum())
    if above == 0:
        return None
    return 10 * math.log10(above / max(below, above * 1e-12))


def log_spectral_distance(reference: Tensor, estimate: Tensor, stft: STFT) -> float:
    """RMS over bins of the difference of log power spectra in dB, mean over frames and channels (Gray & Markel, 1976).

    For reconstructions; it does not hear phases. Powers are floored 100 dB below the reference's loudest bin, or the estimate's
    where the reference is silent.

    Shape: [C, T] both.
    """
    powers = [stft(signal).abs().square() for signal in (reference, estimate)]
    floor = float(next((p.max() for p in powers if p.any()), torch.tensor(1.0))) * 1e-10
    first, second = (10 * power.clamp(min=floor).log10() for power in powers)
    return float((first - second).square().mean(dim=-2).sqrt().mean())
