"""The multichannel Wiener filter, its parameters found by expectation maximisation (Nugraha, Liutkus & Vincent, EUSIPCO 2016).

A source is a spectrogram v (its power at each bin, averaged over channels) times a spatial covariance R (how its channels go
together at each frequency). The filter gives each source v R (Σ v R)⁻¹ of the mixture, from which v and R are found anew. The
regularisation and scaling are those of Open-Unmix (Stöter et al., JOSS 2019). `unbraid.dsp.phase` has it as an option.
"""

import torch
from torch import Tensor

from unbraid.dsp.stft import magnitudes_of

EPSILON = 1e-10  # the energy of the noise that is taken out
LARGEST = 10.0  # magnitude of the mixture that the iterations see: they are done in float32


def wiener(spectra: Tensor, mixture: Tensor, iterations: int, softmask: bool, residual: bool, window_frames: int) -> Tensor:
    """Filter each stretch of `window_frames` by itself.

    Args:
        spectra: estimates to start from.
        mixture: its spectrum.
        iterations: of expectation maximisation.
        softmask: start from the ratios of the estimates' magnitudes, times the mixture.
        residual: one source more, that which the others leave of the mixture.
        window_frames: at least 1.

    Shape:
        complex [B, S, C, F, T] and [B, C, F, T] -> [B, S, C, F, T], or S + 1 with the residual; C is 1 or 2.
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
    stretches = zip(spectra.split(window_frames, dim=-1), mixture.split(window_frames, dim=-1), strict=True)
    return torch.cat([_maximise(*stretch, iterations) for stretch in stretches], dim=-1)


def _maximise(spectra: Tensor, mixture: Tensor, iterations: int) -> Tensor:
    """Expectation maximisation on one stretch, in real numbers where they are. Shape: as `wiener`."""
    # b batch, s source, c channel, f bin, t frame
    # Both regularisations are of a mixture that is scaled to LARGEST; scaling them back is less work than scaling it.
    scale = (magnitudes_of(mixture).amax(dim=(1, 2, 3)) / LARGEST).clamp(min=1).square().view(-1, 1, 1)
    for _ in range(iterations):
        energies = torch.view_as_real(spectra).square().sum(dim=-1)
        powers = energies.mean(dim=2)
        size = EPSILON * scale + powers.sum(dim=-1)
        diagonal = energies.sum(dim=-1) / size.unsqueeze(2)
        if mixture.shape[1] == 1:
            of_mixture = _weighted(powers, diagonal[:, :, 0]) + EPSILON**0.5 * scale
            spectra = _times(diagonal.unsqueeze(-1) * (mixture / of_mixture.unsqueeze(1)).unsqueeze(1), powers)
            continue
        cross = _correlation(spectra) / size
        left, right = _whitened(powers, diagonal, cross, mixture, EPSILON**0.5 * scale)
        found, r = torch.empty_like(spectra), diagonal.unsqueeze(-1)
        found[:, :, 0] = r[:, :, 0] * left + cross.unsqueeze(-1) * right
        found[:, :, 1] = cross.conj().unsqueeze(-1) * left + r[:, :, 1] * right
        spectra = _times(found, powers)
    return spectra


def _times(spectra: Tensor, powers: Tensor) -> Tensor:
    """Shape: complex [B, S, C, F, T], [B, S, F, T] -> [B, S, C, F, T]. Real times complex would make a complex copy first."""
    return torch.view_as_complex(torch.view_as_real(spectra) * powers[:, :, None, ..., None])


def _correlation(spectra: Tensor) -> Tensor:
    """Σ left right* over time. Shape: complex [B, S, 2, F, T] -> complex [B, S, F]."""
    (a, b), (c, d) = (torch.view_as_real(spectra[:, :, channel]).unbind(-1) for channel in (0, 1))
    return torch.complex((a * c + b * d).sum(dim=-1), (b * c - a * d).sum(dim=-1))


def _weighted(powers: Tensor, parts: Tensor) -> Tensor:
    """Σ powers parts over sources. Shape: [B, S, F, T], [B, S, F] -> [B, F, T]."""
    total = powers[:, 0] * parts[:, 0, :, None]
    for source in range(1, powers.shape[1]):
        total = torch.addcmul(total, powers[:, source], parts[:, source, :, None])
    return total


def _whitened(powers: Tensor, diagonal: Tensor, cross: Tensor, mixture: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """(Σ v R + noise I)⁻¹ of the mixture, in closed form: left and right. Shape: each complex [B, 1, F, T]."""
    a, d = (_weighted(powers, diagonal[:, :, channel]) + noise for channel in (0, 1))
    b = torch.complex(_weighted(powers, cross.real), _weighted(powers, cross.imag))
    left, right = mixture.unbind(dim=1)
    share = 1 / (a * d - torch.view_as_real(b).square().sum(dim=-1))
    return ((d * left - b * right) * share).unsqueeze(1), ((a * right - b.conj() * left) * share).unsqueeze(1)
