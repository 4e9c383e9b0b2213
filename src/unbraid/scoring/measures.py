"""Measure the quality of an estimate of a whole track in dB: energy ratios (uSDR, SI-SDR) and the log-spectral distance.

An energy ratio is None if the reference (the true source) is silent. `usdr` is also the SNR of a reconstruction. The scores of
BSS Eval (SDR, ISR, SIR and SAR) are in `unbraid.scoring.bss_eval`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from unbraid.dsp.stft import STFT


class Measure(ABC):
    """Base class of measures. A measure computes scores of one source of one track. A plugin can define a subclass.

    Larger scores are better. The instance attributes of a subclass are the options of the measure, and must be numbers or
    texts. The options are stored as a part of the protocol.

    Attributes:
        names: names of the scores, the columns of tables.
        unit: unit of the scores.
    """

    names: ClassVar[tuple[str, ...]]
    unit: ClassVar[str] = "dB"

    @abstractmethod
    def __call__(self, reference: Tensor, estimate: Tensor, sample_rate: int) -> Sequence[float | None]:
        """Compute the scores of one estimated source.

        Args:
            reference: true source.
            estimate: estimated source.
            sample_rate: sample rate of both waveforms in Hz.

        Shape:
            each [C, T].

        Returns:
            One score for each name in `names`; None if the score is undefined.
        """

    def __str__(self) -> str:
        """Return the name of the class and its options as text. In `scores.json`, this text identifies the measure."""
        options = ", ".join(f"{name}={value!r}" for name, value in sorted(vars(self).items()))
        return f"{type(self).__module__}.{type(self).__qualname__}({options})"


def usdr(reference: Tensor, estimate: Tensor) -> float | None:
    """Compute uSDR, the signal-to-error ratio over all samples and channels (Music Demixing Challenge, Mitsufuji et al. 2022).

    The challenge adds 1e-7 to the energy of the signal and to the energy of the error. This function adds nothing, but limits
    the ratio to 120 dB.

    Args:
        reference: true source.
        estimate: estimated source.

    Shape:
        each [C, T], with C channels and T samples.

    Returns:
        The ratio in dB, at most 120; None if the reference is silent.
    """
    return _ratio(reference, estimate - reference)


def si_sdr(reference: Tensor, estimate: Tensor) -> float | None:
    """Compute the scale-invariant SDR: the reference is scaled to fit the estimate (Le Roux et al., ICASSP 2019).

    All channels are scaled by one factor, so that wrong panning counts as an error.

    Args:
        reference: true source.
        estimate: estimated source.

    Shape:
        each [C, T], with C channels and T samples.

    Returns:
        The ratio in dB, at most 120; None if the reference or the estimate is silent.
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
    """Compute the log-spectral distance of two signals in dB (Gray & Markel, IEEE TASSP 1976).

    In each frame, the two log power spectra are subtracted, and the root mean square over the bins is computed. The distance is
    the mean over frames and channels. Phases are ignored, so the distance suits reconstructions.

    The logarithm needs a lower limit of the powers: 1e-10 times the largest power of the reference. If the reference is silent,
    the largest power of the estimate is used instead.

    Args:
        reference: true signal.
        estimate: estimated signal.
        stft: STFT with which both signals are compared.

    Shape:
        each [C, T], with C channels and T samples.

    Returns:
        The distance in dB, 0 for equal magnitudes.
    """
    powers = [stft(signal).abs().square() for signal in (reference, estimate)]
    floor = float(next((p.max() for p in powers if p.any()), torch.tensor(1.0))) * 1e-10
    first, second = (10 * power.clamp(min=floor).log10() for power in powers)
    return float((first - second).square().mean(dim=-2).sqrt().mean())
