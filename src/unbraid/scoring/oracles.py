"""Oracles: masks computed from the true sources, as references for estimated ones.

Each takes a mixture [C, T], the true sources [S, C, T] and a transform, and returns [S, C, T]. One source is
transformed at a time, so that a whole song fits into memory.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unbraid.dsp.stft import STFT

FLOOR = 1e-12
RIDGE = 1e-5  # share of the mean diagonal that keeps covariances of one direction invertible in float32


def phase_sensitive_mask(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate by the phase-sensitive mask, with the mixture's phase (Erdogan, Hershey, Watanabe & Le Roux, ICASSP 2015).

    No other real mask in [0, 1] has a smaller squared error in any bin of this STFT. It is no upper limit of scores, which are
    of waveforms: bins overlap, and masks that are chosen for the waveform can be more than 1 dB better.
    """
    return _masked(mixture, sources, stft, phase_sensitive)


def phase_sensitive(source: Tensor, mixture: Tensor) -> Tensor:
    """Return the mask m in [0, 1] that minimises |m X - S|² in each bin: Re(S / X), clamped; 0 if X is 0.

    Args:
        source: complex spectrum S.
        mixture: complex spectrum X.

    Shape:
        [...] both -> [...].
    """
    power = mixture.real.square() + mixture.imag.square()
    aligned = source.real * mixture.real + source.imag * mixture.imag
    return (aligned / power.clamp(min=torch.finfo(power.dtype).tiny)).clamp(0, 1)


def ideal_ratio_mask(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate by the ratio of the source's magnitude to source plus rest of the mixture, with the mixture's phase.

    It ignores phases, and `phase_sensitive_mask` is better. The exponent of the magnitudes is 1, as in Liutkus & Badeau (ICASSP
    2015) with two sources: the target and the rest of the mixture. Wang, Narayanan & Wang (IEEE TASLP 2014) take the square
    root of the ratio of powers.
    """
    return _masked(
        mixture, sources, stft, lambda source, mix: source.abs() / (source.abs() + (mix - source).abs()).clamp(min=FLOOR)
    )


def ideal_binary_mask(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate by keeping the bins in which the source is louder than the rest (Wang, 2005)."""
    return _masked(mixture, sources, stft, lambda source, mix: (source.abs() > (mix - source).abs()).float())


def _masked(mixture: Tensor, sources: Tensor, stft: STFT, mask: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Apply the mask that a function makes of the complex spectra of source and mixture."""
    spectrum = stft(mixture)
    return torch.stack([stft.inverse(mask(stft(source), spectrum) * spectrum, mixture.shape[-1]) for source in sources])


def ratio_of_powers(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate by the ratio of the source's power to the sum of the powers of all sources, with the mixture's phase.

    It is `IRM2`, the ideal ratio mask of SiSEC 2018 (Stöter, Liutkus & Ito), whose STFT is 2048/1024: exponent 2, and one
    denominator for all sources. What the sources leave of the mixture counts as one more source.
    """
    spectrum = stft(mixture)
    total = torch.zeros_like(spectrum.real)
    for part in _with_rest(mixture, sources):
        total += stft(part).abs().square()
    masks = (stft(source).abs().square() / total.clamp(min=FLOOR**2) for source in sources)
    return torch.stack([stft.inverse(mask * spectrum, mixture.shape[-1]) for mask in masks])


def _with_rest(mixture: Tensor, sources: Tensor) -> list[Tensor]:
    """Return the sources and, if they leave anything of the mixture, that too."""
    rest = mixture - sources.sum(dim=0)
    return [*sources, rest] if rest.any() else [*sources]


def multichannel_wiener(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate by the Wiener filter of the true power of each bin and the true spatial covariance of each frequency.

    It is the local Gaussian model of Duong, Vincent & Gribonval (IEEE TASLP 2010); with one channel, the mask of power ratios.

    What the sources leave of the mixture counts as one more source.
    """
    spectrum = stft(mixture)
    total = torch.zeros(len(mixture), *spectrum.shape, dtype=spectrum.dtype, device=spectrum.device)
    for power, spatial in _models(_with_rest(mixture, sources), stft):
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


ORACLES = {
    "psm": phase_sensitive_mask,
    "irm": ideal_ratio_mask,
    "irm2": ratio_of_powers,
    "ibm": ideal_binary_mask,
    "mwf": multichannel_wiener,
    "mixture": untouched,
}
