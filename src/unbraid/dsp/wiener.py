"""Multichannel Wiener filter with expectation maximisation (Nugraha, Liutkus & Vincent, EUSIPCO 2016).

The model of a source has two parts. v is the power in each bin, averaged over the channels. R is the covariance matrix of
the channels at each frequency. The filter estimates a source as v R (Σ v R)⁻¹ times the mixture, where Σ is the sum over
sources. Then v and R are updated from the estimates. Regularisation and scaling follow Open-Unmix (Stöter et al., JOSS 2019).

Separators use this filter through the class `unbraid.dsp.phase.Wiener`. The class `unbraid.dsp.phase.MixturePhase` is faster
and seldom gives much worse results.
"""

import torch
from torch import Tensor

from unbraid.dsp.stft import magnitudes_of

EPSILON = 1e-10  # regularisation, as an energy
LARGEST = 10.0  # largest magnitude of the mixture in the iterations, which are computed in float32


def wiener(spectra: Tensor, mixture: Tensor, iterations: int, softmask: bool, residual: bool, window_frames: int) -> Tensor:
    """Apply the multichannel Wiener filter to each window of `window_frames` frames separately.

    Args:
        spectra: complex estimates of the sources, for example from a network.
        mixture: complex spectrum of the mixture.
        iterations: number of iterations of expectation maximisation. 0: the start values (see `softmask`) are returned.
        softmask: start values of the iterations. False: `spectra`. True: for each source, the mixture times the share of the
            source in the sum of the magnitudes of `spectra`.
        residual: True to add the residual (mixture minus the start values of all sources) as one more source.
        window_frames: number of frames of a window, at least 1.

    Shape:
        complex [B, S, C, F, T] and [B, C, F, T] -> [B, S, C, F, T], or S + 1 sources if `residual` is True. B: batch, S:
        sources, C: channels (1 or 2), F: frequency bins, T: frames.

    Returns:
        The filtered spectra of the sources.
    """
    if softmask:
        shares = spectra.abs()
        spectra = shares / (EPSILON + shares.sum(dim=1, keepdim=True)) * mixture.unsqueeze(1)
    if residual:
        spectra = torch.cat([spectra, mixture.unsqueeze(1) - spectra.sum(dim=1, keepdim=True)], dim=1)
    if not iterations:
        return spectra
    if spectra.shape[-1] <= window_frames:
        return _maximise(spectra, mixture, iterations)
    windows = zip(spectra.split(window_frames, dim=-1), mixture.split(window_frames, dim=-1), strict=True)
    return torch.cat([_maximise(*window, iterations) for window in windows], dim=-1)


def _maximise(spectra: Tensor, mixture: Tensor, iterations: int) -> Tensor:
    """Apply expectation maximisation to one window of frames. Shape: as in `wiener`."""
    # b batch, s source, c channel, f bin, t frame
    # Open-Unmix scales the mixture to LARGEST. Scaling both regularisations instead is equivalent and cheaper.
    scale = (magnitudes_of(mixture).amax(dim=(1, 2, 3)) / LARGEST).clamp(min=1).square().view(-1, 1, 1)
    for _ in range(iterations):
        energies = torch.view_as_real(spectra).square().sum(dim=-1)
        powers = energies.mean(dim=2)
        total_power = EPSILON * scale + powers.sum(dim=-1)
        diagonal = energies.sum(dim=-1) / total_power.unsqueeze(2)
        if mixture.shape[1] == 1:
            mixture_power = _weighted_sum(powers, diagonal[:, :, 0]) + EPSILON**0.5 * scale
            spectra = _times(diagonal.unsqueeze(-1) * (mixture / mixture_power.unsqueeze(1)).unsqueeze(1), powers)
            continue
        cross = _correlation(spectra) / total_power
        left, right = _whitened(powers, diagonal, cross, mixture, EPSILON**0.5 * scale)
        spatial, r = torch.empty_like(spectra), diagonal.unsqueeze(-1)
        spatial[:, :, 0] = r[:, :, 0] * left + cross.unsqueeze(-1) * right
        spatial[:, :, 1] = cross.conj().unsqueeze(-1) * left + r[:, :, 1] * right
        spectra = _times(spatial, powers)
    return spectra


def _times(spectra: Tensor, powers: Tensor) -> Tensor:
    """Multiply spectra [B, S, C, F, T] by powers [B, S, F, T] without converting the powers to complex numbers."""
    return torch.view_as_complex(torch.view_as_real(spectra) * powers[:, :, None, ..., None])


def _correlation(spectra: Tensor) -> Tensor:
    """Sum left channel times conj(right channel) over time. Shape: complex [B, S, 2, F, T] -> complex [B, S, F]."""
    (a, b), (c, d) = (torch.view_as_real(spectra[:, :, channel]).unbind(-1) for channel in (0, 1))
    return torch.complex((a * c + b * d).sum(dim=-1), (b * c - a * d).sum(dim=-1))


def _weighted_sum(powers: Tensor, weights: Tensor) -> Tensor:
    """Sum powers times weights over sources. Shape: powers [B, S, F, T], weights [B, S, F] -> [B, F, T]."""
    total = powers[:, 0] * weights[:, 0, :, None]
    for source in range(1, powers.shape[1]):
        total = torch.addcmul(total, powers[:, source], weights[:, source, :, None])
    return total


def _whitened(powers: Tensor, diagonal: Tensor, cross: Tensor, mixture: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Compute (Σ v R + noise I)⁻¹ times the stereo mixture. The result is a pair of spectra: left and right channel.

    v is the power of a source (`powers`). R is the spatial covariance of a source, a 2 × 2 matrix: `diagonal` contains the
    entries on the diagonal, `cross` contains the upper right entry. Σ is the sum over sources, I is the identity matrix.

    Shape: complex [B, 1, F, T] each.
    """
    a, d = (_weighted_sum(powers, diagonal[:, :, channel]) + noise for channel in (0, 1))
    b = torch.complex(_weighted_sum(powers, cross.real), _weighted_sum(powers, cross.imag))
    left, right = mixture.unbind(dim=1)
    inverse = 1 / (a * d - torch.view_as_real(b).square().sum(dim=-1))
    return ((d * left - b * right) * inverse).unsqueeze(1), ((a * right - b.conj() * left) * inverse).unsqueeze(1)
