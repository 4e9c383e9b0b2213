"""The multichannel Wiener filter, its parameters found by expectation maximisation (Nugraha, Liutkus & Vincent, EUSIPCO 2016).

A source is a spectrogram v (its power at each bin, averaged over channels) times a spatial covariance R (how its channels go
together at each frequency). The filter gives each source v R (Σ v R)⁻¹ of the mixture, from which v and R are found anew. As
in Open-Unmix (Stöter et al., JOSS 2019), whose regularisation and scaling this follows; `unbraid.phases` has it as an option.
"""

import torch
from torch import Tensor

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
    stretches = zip(spectra.split(window_frames, dim=-1), mixture.split(window_frames, dim=-1), strict=True)
    return torch.cat([_maximise(*stretch, iterations) for stretch in stretches], dim=-1)


def _maximise(spectra: Tensor, mixture: Tensor, iterations: int) -> Tensor:
    """Expectation maximisation on one stretch. Shape: as `wiener`."""
    # b batch, s source, c and d channels, f bin, t frame
    scale = (mixture.abs().amax(dim=(1, 2, 3)) / LARGEST).clamp(min=1).view(-1, 1, 1, 1)
    mixture, spectra = mixture / scale, spectra / scale.unsqueeze(1)
    for _ in range(iterations):
        powers = spectra.abs().square().mean(dim=2)
        covariances = torch.einsum("bscft,bsdft->bscdf", spectra, spectra.conj())
        covariances = covariances / (EPSILON + powers.sum(dim=-1))[:, :, None, None]
        of_mixture = torch.einsum("bsft,bscdf->bcdft", powers.to(covariances), covariances)
        whitened = _solve(of_mixture, mixture)
        spectra = powers.unsqueeze(2) * torch.einsum("bscdf,bdft->bscft", covariances, whitened)
    return spectra * scale.unsqueeze(1)


def _solve(covariance: Tensor, mixture: Tensor) -> Tensor:
    """(covariance + √ε I)⁻¹ mixture, in closed form. Shape: [B, C, C, F, T], [B, C, F, T] -> [B, C, F, T]."""
    noise = EPSILON**0.5
    if mixture.shape[1] == 1:
        return mixture / (covariance[:, 0] + noise)
    a, d = covariance[:, 0, 0] + noise, covariance[:, 1, 1] + noise
    b, c = covariance[:, 0, 1], covariance[:, 1, 0]
    left, right = mixture.unbind(dim=1)
    return torch.stack([d * left - b * right, a * right - c * left], dim=1) / (a * d - b * c).unsqueeze(1)
