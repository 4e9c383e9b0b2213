"""Losses of waveforms that large errors influence less than in a squared error.

`TrimmedMSE` ignores the chunks with the largest errors. `L1SNR` gives loud and quiet sources the same weight. For training data
without errors, `WaveformL1` of `unbraid.models.losses` is simpler.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from unbraid.runs.errors import InputError


class TrimmedMSE(nn.Module):
    """Compute the squared error of waveforms without the largest errors, as the loss `masked_loss` of MSST (Solovyev et al.).

    For each target, the errors from the quantile `quantile` upwards are replaced by 0. The result is the mean over all errors,
    including these zeros. The training then ignores wrong stems, such as a vocal recording in the folder of the drums.

    Args:
        quantile: quantile of the errors in the batch, between 0 and 1. About this share of the errors is kept.
        whole_chunks: True: an error is the mean over a chunk, so whole chunks are ignored. False: each sample has an error.

    Raises:
        InputError: `quantile` is outside (0, 1).
    """

    def __init__(self, quantile: float = 0.95, whole_chunks: bool = True) -> None:
        super().__init__()
        if not 0 < quantile < 1:
            raise InputError("quantile", found=quantile, expected="a number between 0 and 1")
        self.quantile, self.whole_chunks = quantile, whole_chunks

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the mean of the squared error without the largest errors. Shape: sources [B, S, C, T] of both -> scalar."""
        errors = (estimate.sources - reference.sources).float().square().movedim(1, 0)
        if self.whole_chunks:
            errors = errors.mean(dim=(-2, -1))
        errors = errors.flatten(1)
        kept = max(1, math.ceil(self.quantile * (errors.shape[1] - 1)))  # errors below the interpolated quantile, as in MSST
        limits = errors.detach().kthvalue(kept, dim=1, keepdim=True).values
        return (errors * (errors <= limits)).mean()


class L1SNR(nn.Module):
    """Compute 10 log10 of the absolute error, divided by the absolute reference, in dB (Watcharasupat et al., IEEE OJSP 2023).

    With the error e = estimate - reference, the loss of a source is 10 log10((Σ|e| + ε) / (Σ|reference| + ε)), where the sums
    run over channels and samples. The result is the mean over sources and batch.

    Args:
        epsilon: ε, which keeps the loss of silent sources finite.

    Raises:
        InputError: `epsilon` is not above 0.
    """

    def __init__(self, epsilon: float = 1e-3) -> None:
        super().__init__()
        if epsilon <= 0:
            raise InputError("epsilon", found=epsilon, expected="a number above 0")
        self.epsilon = epsilon

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the loss in dB. Shape: sources [B, S, C, T] of both -> scalar."""
        errors = (estimate.sources - reference.sources).float().abs().flatten(2).sum(-1)
        levels = reference.sources.float().abs().flatten(2).sum(-1)
        return 10 * torch.log10((errors + self.epsilon) / (levels + self.epsilon)).mean()
