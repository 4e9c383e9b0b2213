"""Oracles: separation with masks or filters that are computed from the true sources.

The scores of an oracle show how well a perfect network could separate with this kind of mask. Each oracle processes one source
at a time, so that a whole song fits into memory. Among the real masks, `phase_sensitive_mask` has the highest scores. Use
`ideal_ratio_mask`, `ratio_of_powers` or `ideal_binary_mask` to compare with papers that report these masks.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unbraid.dsp.stft import STFT

FLOOR = 1e-12
RIDGE = 1e-5  # share of the mean diagonal that is added to a covariance, so that it is invertible in float32


def phase_sensitive_mask(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate with the phase-sensitive mask and the mixture's phase (Erdogan, Hershey, Watanabe & Le Roux, ICASSP 2015).

    In each bin of the STFT, no other real mask in [0, 1] has a smaller squared error. Scores, however, compare waveforms, and
    the windows of the STFT overlap. If a mask is optimised for the waveform, its scores can therefore be more than 1 dB higher.

    Args:
        mixture: mixture of the sources.
        sources: true sources.
        stft: STFT in which the masks are computed and applied.

    Shape:
        mixture [C, T], sources [S, C, T] -> [S, C, T], with C channels, T samples and S sources.

    Returns:
        The estimated sources.
    """
    return _masked(mixture, sources, stft, phase_sensitive)


def phase_sensitive(source: Tensor, mixture: Tensor) -> Tensor:
    """Compute the mask m in [0, 1] that minimises |m X - S|² in each bin.

    The mask is Re(S / X), clamped to [0, 1]. If X is 0, the mask is 0.

    Args:
        source: complex spectrum S of the source.
        mixture: complex spectrum X of the mixture.

    Shape:
        each [...] -> [...].

    Returns:
        The mask.
    """
    power = mixture.real.square() + mixture.imag.square()
    aligned = source.real * mixture.real + source.imag * mixture.imag
    return (aligned / power.clamp(min=torch.finfo(power.dtype).tiny)).clamp(0, 1)


def ideal_ratio_mask(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate with the ideal ratio mask |S| / (|S| + |X - S|) and the phase of the mixture.

    S is the spectrum of a source, and X is the spectrum of the mixture. The mask ignores the phase of the source and therefore
    has lower scores than `phase_sensitive_mask`. The magnitudes have the exponent 1, as in Liutkus & Badeau (ICASSP 2015).
    Wang, Narayanan & Wang (IEEE TASLP 2014) use another mask: the square root of |S|² / (|S|² + |X - S|²).

    Args:
        mixture: mixture of the sources.
        sources: true sources.
        stft: STFT in which the masks are computed and applied.

    Shape:
        mixture [C, T], sources [S, C, T] -> [S, C, T], with C channels, T samples and S sources.

    Returns:
        The estimated sources.
    """
    return _masked(
        mixture, sources, stft, lambda source, mix: source.abs() / (source.abs() + (mix - source).abs()).clamp(min=FLOOR)
    )


def ideal_binary_mask(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate with the ideal binary mask (Wang, 2005): keep bins in which the source is louder than the rest of the mixture.

    Args:
        mixture: mixture of the sources.
        sources: true sources.
        stft: STFT in which the masks are computed and applied.

    Shape:
        mixture [C, T], sources [S, C, T] -> [S, C, T], with C channels, T samples and S sources.

    Returns:
        The estimated sources.
    """
    return _masked(mixture, sources, stft, lambda source, mix: (source.abs() > (mix - source).abs()).float())


def _masked(mixture: Tensor, sources: Tensor, stft: STFT, mask: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Separate each source. The function `mask` computes a mask from the complex spectra of the source and the mixture."""
    spectrum = stft(mixture)
    return torch.stack([stft.inverse(mask(stft(source), spectrum) * spectrum, mixture.shape[-1]) for source in sources])


def ratio_of_powers(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate with a ratio of powers as mask, and the phase of the mixture.

    The mask is the power of the source divided by the sum of the powers of all sources. It is the mask `IRM2` of
    SiSEC 2018 (Stöter, Liutkus & Ito). SiSEC used an STFT with window 2048 and hop 1024. The residual (mixture minus all
    sources) is treated as one more source.

    Args:
        mixture: mixture of the sources.
        sources: true sources.
        stft: STFT in which the masks are computed and applied.

    Shape:
        mixture [C, T], sources [S, C, T] -> [S, C, T], with C channels, T samples and S sources.

    Returns:
        The estimated sources.
    """
    spectrum = stft(mixture)
    total = torch.zeros_like(spectrum.real)
    for part in _with_residual(mixture, sources):
        total += stft(part).abs().square()
    masks = (stft(source).abs().square() / total.clamp(min=FLOOR**2) for source in sources)
    return torch.stack([stft.inverse(mask * spectrum, mixture.shape[-1]) for mask in masks])


def _with_residual(mixture: Tensor, sources: Tensor) -> list[Tensor]:
    """Return the sources, followed by the residual (mixture minus all sources) if the residual is not 0."""
    residual = mixture - sources.sum(dim=0)
    return [*sources, residual] if residual.any() else [*sources]


def multichannel_wiener(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Separate with the multichannel Wiener filter, computed from the powers and spatial covariances of the true sources.

    The filter uses the local Gaussian model (Duong, Vincent & Gribonval, IEEE TASLP 2010). In this model, a source has a power
    in each bin, and a spatial covariance (between the channels of the source) at each frequency. With one channel, the filter
    equals `ratio_of_powers`. The residual (mixture minus all sources) is treated as one more source.

    Args:
        mixture: mixture of the sources.
        sources: true sources.
        stft: STFT in which the filters are computed and applied.

    Shape:
        mixture [C, T], sources [S, C, T] -> [S, C, T], with C channels, T samples and S sources.

    Returns:
        The estimated sources.
    """
    spectrum = stft(mixture)
    total = torch.zeros(len(mixture), *spectrum.shape, dtype=spectrum.dtype, device=spectrum.device)
    for power, spatial in _models(_with_residual(mixture, sources), stft):
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
    """Yield two tensors for each source: the powers of all bins [F, frames], and the spatial covariances [C, C, F, 1]."""
    for source in sources:
        spectrum = stft(source)
        power = spectrum.abs().square().mean(dim=0)
        covariance = torch.einsum("cft,dft->cdf", spectrum, spectrum.conj())
        yield power, (covariance / power.sum(dim=-1).clamp(min=FLOOR))[..., None]


def _solve_hermitian(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve a linear system in each bin. The matrix is Hermitian with C = 1 or 2 rows, and is regularised first.

    Shape: matrix [C, C, F, frames], right side [C, F, frames] -> solution [C, F, frames].
    """
    ridge = matrix.diagonal().real.mean(dim=-1) * RIDGE + FLOOR
    if len(matrix) == 1:
        return right / (matrix[0] + ridge)
    a, d, b = matrix[0, 0].real + ridge, matrix[1, 1].real + ridge, matrix[0, 1]
    determinant = (a * d - b.abs().square()).clamp(min=FLOOR**2)
    return torch.stack([d * right[0] - b * right[1], a * right[1] - b.conj() * right[0]]) / determinant


def untouched(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Return the mixture as the estimate of every source: the baseline without separation.

    Args:
        mixture: mixture of the sources.
        sources: true sources. Only their number is used.
        stft: not used.

    Shape:
        mixture [C, T], sources [S, C, T] -> [S, C, T], with C channels, T samples and S sources.

    Returns:
        The mixture, repeated for each source.
    """
    return mixture.expand_as(sources)


def silence(mixture: Tensor, sources: Tensor, stft: STFT) -> Tensor:
    """Return silence (zeros) as the estimate of each source.

    The uSDR of silence is 0 dB. A model with a uSDR below 0 dB is therefore worse than silence.

    Args:
        mixture: not used.
        sources: true sources. Only their shape is used.
        stft: not used.

    Shape:
        sources [S, C, T] -> [S, C, T].

    Returns:
        The zeros.
    """
    return torch.zeros_like(sources)


ORACLES = {
    "psm": phase_sensitive_mask,
    "irm": ideal_ratio_mask,
    "irm2": ratio_of_powers,
    "ibm": ideal_binary_mask,
    "mwf": multichannel_wiener,
    "mixture": untouched,
    "silence": silence,
}
