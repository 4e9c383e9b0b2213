"""Oracles: what the best imaginable mask of a kind would reach, given the true sources.

Each takes a mixture [C, T], the true sources [S, C, T] and a transform, and gives [S, C, T]. One source is transformed at a
time, so that a whole song fits into memory.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unbraid.dsp import STFT

FLOOR = 1e-12
RIDGE = 1e-5  # share of the mean diagonal that keeps covariances of one direction invertible in float32


def ideal_ratio_mask(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate by the ratio of the source's magnitude to source plus rest, with the mixture's phase.

    It is the ceiling of a soft mask at this STFT's resolution (Liutkus & Badeau, ICASSP 2015, alpha = 1).
    """
    return _masked(mixture, sources, stft, lambda source, rest: source / (source + rest).clamp(min=FLOOR))


def ideal_binary_mask(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate by keeping the bins in which the source is louder than the rest (Wang, 2005)."""
    return _masked(mixture, sources, stft, lambda source, rest: (source > rest).to(source))


def _masked(mixture: Tensor, sources: Tensor, stft: STFT, mask: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    spectrum = stft(mixture)
    masks = (mask(stft(source).abs(), stft(mixture - source).abs()) for source in sources)
    return torch.stack([stft.inverse(mask * spectrum, mixture.shape[-1]) for mask in masks])


def multichannel_wiener(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate by the Wiener filter of the true power of each bin and the true spatial covariance of each frequency.

    It is the local Gaussian model of Duong, Vincent & Gribonval (IEEE TASLP 2010); with one channel, the mask of power ratios.

    What the sources leave of the mixture counts as one more source.
    """
    spectrum = stft(mixture)
    rest = mixture - sources.sum(dim=0)
    parts = [*sources, rest] if rest.any() else [*sources]
    total = torch.zeros(len(mixture), *spectrum.shape, dtype=spectrum.dtype, device=spectrum.device)
    for power, spatial in _models(parts, stft):
        total += power * spatial
    solved = _solve_hermitian(total, spectrum)
    return torch.stack(
        [
            stft.inverse(
                power * torch.einsum("cdft,dft->cft", spatial.expand(-1, -1, -1, power.shape[-1]), solved), mixture.shape[-1]
            )
            for power, spatial in _models([*sources], stft)
        ]
    )


def _models(sources: list[Tensor], stft: STFT) -> Iterator[tuple[Tensor, Tensor]]:
    """Power of each bin [F, frames] and spatial covariance of each frequency [C, C, F, 1] of each source."""
    for source in sources:
        spectrum = stft(source)
        power = spectrum.abs().square().mean(dim=0)
        covariance = torch.einsum("cft,dft->cdf", spectrum, spectrum.conj())
        yield power, (covariance / power.sum(dim=-1).clamp(min=FLOOR))[..., None]


def _solve_hermitian(matrix: Tensor, right: Tensor) -> Tensor:
    """For each bin, of one or two channels, in closed form. Shape: [C, C, F, frames], [C, F, frames] -> [C, F, frames]."""
    mean = matrix.diagonal().real.mean(dim=-1) * RIDGE + FLOOR
    if len(matrix) == 1:
        return right / (matrix[0] + mean)
    a, d, b = matrix[0, 0].real + mean, matrix[1, 1].real + mean, matrix[0, 1]
    determinant = (a * d - b.abs().square()).clamp(min=FLOOR**2)
    return torch.stack([d * right[0] - b * right[1], a * right[1] - b.conj() * right[0]]) / determinant


def untouched(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """The mixture for every source."""
    return mixture.expand_as(sources)


ORACLES = {"irm": ideal_ratio_mask, "ibm": ideal_binary_mask, "mwf": multichannel_wiener, "mixture": untouched}
