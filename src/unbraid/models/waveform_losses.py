"""Losses of waveforms in addition to the losses in `unbraid.models.losses`.

`TrimmedMSE` ignores the chunks with the largest errors. `L1SNR` and `SpectralRMSE` give loud and quiet sources similar weights.
`LogWMSELoss` weights errors by the sensitivity of human hearing.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from unbraid.dsp.hearing import SAMPLE_RATE, weighted_by_hearing
from unbraid.models.losses import required_field
from unbraid.runs.errors import InputError, check_counts


class TrimmedMSE(nn.Module):
    """Compute the squared error of waveforms without the largest errors, as the loss `masked_loss` of MSST (Solovyev et al.).

    For each target, the errors above the quantile `quantile` are replaced by 0. The result is the mean over all errors,
    including these zeros. Wrong stems, such as a vocal recording in the folder of the drums, often have the largest errors. The
    training then ignores these stems.

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
        """Return the trimmed squared error. Shape: the sources of each argument are [B, S, C, T] -> scalar."""
        errors = (estimate.sources - reference.sources).float().square().movedim(1, 0)
        if self.whole_chunks:
            errors = errors.mean(dim=(-2, -1))
        errors = errors.flatten(1)
        kept = max(1, math.ceil(self.quantile * (errors.shape[1] - 1)))  # errors below the interpolated quantile, as in MSST
        limits = errors.detach().kthvalue(kept, dim=1, keepdim=True).values
        return (errors * (errors <= limits)).mean()


class L1SNR(nn.Module):
    """Compute the ratio of absolute error to absolute reference in dB (Watcharasupat et al., IEEE OJSP 2023).

    With the error e = estimate - reference, the loss of a source is 10 log10((Σ|e| + ε) / (Σ|reference| + ε)). The sums run
    over channels and samples. The result is the mean over sources and batch.

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
        """Return the loss in dB. Shape: the sources of each argument are [B, S, C, T] -> scalar."""
        errors = (estimate.sources - reference.sources).float().abs().flatten(2).sum(-1)
        levels = reference.sources.float().abs().flatten(2).sum(-1)
        return 10 * torch.log10((errors + self.epsilon) / (levels + self.epsilon)).mean()


class LogWMSELoss(nn.Module):
    """Compute 4 ln(mean of w² + 1e-8), the negative of the measure log-WMSE (Jordal, Nomono 2023), see `unbraid.dsp.hearing`.

    In each channel, w is the filtered error (estimate minus reference), divided by the root mean square of the filtered
    mixture. The mean runs over samples, and the result is the mean over channels, sources and batch. In contrast to the
    measure, inaudible errors are not ignored, because their gradient would be 0. The loss is defined for silent sources.
    """

    sample_rate = SAMPLE_RATE  # the separator must have this rate

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the loss. Shape: the sources of each argument are [B, S, C, T], the waveform [B, C, T] -> scalar."""
        mixture = required_field(reference, "waveform").float()
        power = weighted_by_hearing(mixture).square().mean(dim=-1).clamp(min=1e-16).unsqueeze(1)  # b 1 c
        errors = weighted_by_hearing(estimate.sources.float() - reference.sources.float()).square().mean(dim=-1)  # b s c
        return 4 * torch.log(errors / power + 1e-8).mean()


class SpectralRMSE(nn.Module):
    """Compute the root mean square error of complex spectra, averaged over sources and chunks (Tong et al., ICASSP 2024).

    The STFT has a rectangular window and is divided by the square root of `n_fft`, as in the code of the SCNet authors.
    The root is taken for each source of each chunk. Quiet sources therefore have more weight than in a mean squared error.

    Args:
        n_fft: length of the window and of the transform in samples. Waveforms must be longer than `n_fft // 2` samples.
        hop_length: step between frames in samples.
    """

    def __init__(self, n_fft: int = 4096, hop_length: int = 1024) -> None:
        super().__init__()
        check_counts(n_fft=n_fft, hop_length=hop_length)
        self.n_fft, self.hop_length = n_fft, hop_length
        self.window: Tensor
        self.register_buffer("window", torch.ones(n_fft), persistent=False)

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Return the mean error of the spectra. Shape: the sources of each argument are [B, S, C, T] -> scalar."""
        with torch.autocast(estimate.sources.device.type, enabled=False):
            errors = estimate.sources.float() - reference.sources.float()
            spectra = torch.stft(
                errors.flatten(0, 2), self.n_fft, self.hop_length, window=self.window, normalized=True, return_complex=True
            )
            values = torch.view_as_real(spectra).reshape(errors.shape[0] * errors.shape[1], -1)
            return (torch.linalg.vector_norm(values, dim=1) / values.shape[1] ** 0.5).mean()
