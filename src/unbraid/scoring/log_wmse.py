"""Compute log-WMSE: the logarithm of the frequency-weighted mean squared error (Jordal, Nomono 2023).

The measure is defined for a silent reference, unlike energy ratios. The weights follow the sensitivity of human hearing, see
`unbraid.dsp.hearing`. The training loss `unbraid.models.waveform_losses.LogWMSELoss` uses the same weights.
"""

import math

import torch
from torch import Tensor

from unbraid.dsp.hearing import SAMPLE_RATE, weighted_by_hearing
from unbraid.runs.errors import InputError
from unbraid.scoring.measures import Measure

EPSILON = 1e-8
SCALE = -4.0  # so that the scores are similar to an SDR in dB
INAUDIBLE = 10 ** (-68 / 20)  # errors below this value, relative to the mixture, count as 0


class LogWMSE(Measure):
    """Compute log-WMSE = -4 ln (mean of w^2 + 1e-8), averaged over the channels.

    In each channel, w is the filtered error (estimate minus reference), divided by the root mean square of the filtered
    mixture. Values |w| below -68 dB are set to 0. Higher is better. The largest score is 73.68, for an estimate without an
    audible error and for a channel with a silent mixture. If the estimate is the mixture and the reference is silent, the score
    is 0.
    """

    names = ("logWMSE",)
    unit = "no unit"
    uses_mixture = True

    def __call__(self, reference: Tensor, estimate: Tensor, sample_rate: int, mixture: Tensor | None = None) -> tuple[float]:
        """Compute the score, see the class and `Measure`.

        Args:
            reference: true source.
            estimate: estimated source.
            sample_rate: sample rate of the waveforms in Hz. The filter is defined for 44100 Hz.
            mixture: mixture. It has the same shape as the sources.

        Shape:
            each [C, T].

        Returns:
            The score.

        Raises:
            InputError: the sample rate is not 44100 Hz, or the mixture is missing.
        """
        if sample_rate != SAMPLE_RATE:
            raise InputError(
                "protocol.sample_rate", "log-WMSE is not defined for this rate", found=sample_rate, expected="44100"
            )
        if mixture is None:
            raise InputError("mixture", "log-WMSE needs the mixture", found="None", expected="a waveform")
        level = weighted_by_hearing(mixture.double()).square().mean(dim=-1).sqrt()
        weighted = weighted_by_hearing((estimate - reference).double())
        scores = [
            _score(error / rms) if rms > 0 else SCALE * math.log(EPSILON) for error, rms in zip(weighted, level, strict=True)
        ]
        return (sum(scores) / len(scores),)


def _score(error: Tensor) -> float:
    audible = torch.where(error.abs() < INAUDIBLE, 0, error)
    return SCALE * math.log(float(audible.square().mean()) + EPSILON)
