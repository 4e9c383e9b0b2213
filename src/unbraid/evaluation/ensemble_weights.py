"""Fit the weights of an ensemble of separators on validation tracks, for each target and frequency band.

The weights of a band are at least 0 and sum to 1. They minimise the error energy of the weighted mean in the STFT domain. The
error of each track is divided by the error of the best member on this track. A small change of the sum of these ratios is
proportional to the change of the mean uSDR in dB, so loud tracks do not dominate.

The weights of a band are used only if they also help on tracks that were left out of the fit (cross-validation). Otherwise the
band gets the best member of the target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unbraid.models.separators.ensemble import Ensemble
from unbraid.scoring.measures import usdr

STRETCH_SECONDS = 30  # audio whose spectra are computed at once
STEPS = 1000  # of the gradient descent; more steps change the error by less than rounding


@dataclass(frozen=True)
class MemberStatistics:
    """Store how the estimates of the members of an ensemble fit the true sources of one track.

    Args:
        products: inner products of the spectra of each pair of members.
        cross: inner products of the spectra of each member and of the true source.
        energy: energy of the true source.
        scores: uSDR of each member in dB; NaN if the true source is silent.

    Shape:
        products [S, B, M, M], cross [S, B, M], energy [S, B], scores [M, S]: S targets, B bands, M members.
    """

    products: Tensor
    cross: Tensor
    energy: Tensor
    scores: Tensor


def member_statistics(ensemble: Ensemble, estimates: Tensor, references: Tensor) -> MemberStatistics:
    """Compare the estimates of all members with the true sources of a track.

    Args:
        ensemble: ensemble, whose STFT and bands are used.
        estimates: estimates of the members, with the targets in the order of the ensemble.
        references: true sources.

    Shape:
        estimates [M, S, C, T], references [S, C, T].

    Returns:
        The statistics, in float64.
    """
    # m, k member, s source, c channel, f bin, t frame, b band
    bands = torch.nn.functional.one_hot(ensemble.band_of_bin().cpu(), len(ensemble.edges_hz) + 1).double()
    products = torch.zeros(len(references), bands.shape[1], *2 * [len(estimates) + 1]).double()
    together = torch.cat([estimates, references[None]])
    for stretch in together.split(STRETCH_SECONDS * ensemble.sample_rate, dim=-1):  # spectra of a whole song need much memory
        for s in range(len(references)):
            spectra = ensemble.stft(stretch[:, s].to(ensemble.weights.device))
            by_bin = torch.einsum("mcft,kcft->mkf", spectra, spectra.conj()).real.double().cpu()
            products[s] += torch.einsum("mkf,fb->bmk", by_bin, bands)
    scores = [usdr_of(references, sources) for sources in estimates]
    return MemberStatistics(products[..., :-1, :-1], products[..., :-1, -1], products[..., -1, -1], torch.stack(scores))


def usdr_of(references: Tensor, estimates: Tensor) -> Tensor:
    """Return the uSDR of each source in dB; NaN if a source is silent. Shape: each [S, C, T] -> [S]."""
    values = [usdr(reference, estimate) for reference, estimate in zip(references, estimates, strict=True)]
    return torch.tensor([float("nan") if value is None else value for value in values], dtype=torch.float64)


def best_members(tracks: Sequence[MemberStatistics]) -> Tensor:
    """Return the index of the member with the highest mean uSDR, for each target. Shape: [S]."""
    means = torch.stack([track.scores for track in tracks]).nanmean(dim=0)
    return means.nan_to_num(-torch.inf).argmax(dim=0)


def fit_weights(tracks: Sequence[MemberStatistics]) -> Tensor:
    """Fit the weights of the members for each target and band.

    Args:
        tracks: statistics of the validation tracks. With a single track, the weights are not cross-validated.

    Returns:
        The weights, which sum to 1 over the members.

    Shape:
        [S, B, M].
    """
    products, cross, energy = (
        torch.stack([getattr(track, name) for track in tracks]) for name in ("products", "cross", "energy")
    )
    best = best_members(tracks)
    alone = torch.nn.functional.one_hot(best, products.shape[-1]).double()[:, None].expand(cross.shape[1:])
    errors = _errors(alone, products, cross, energy)  # [tracks, S, B]
    defined = torch.stack([track.scores for track in tracks]).isfinite().all(dim=1)  # [tracks, S]
    scale = torch.where(defined, 1 / errors.sum(dim=-1).clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    products, cross = products * scale[:, :, None, None, None], cross * scale[:, :, None, None]
    energy, errors = energy * scale[:, :, None], errors * scale[:, :, None]
    total, crossed = products.sum(dim=0), cross.sum(dim=0)
    weights = convex_weights(total, crossed)
    without = convex_weights(total - products, crossed - cross) if len(tracks) > 1 else weights[None]
    helps = _errors(without, products, cross, energy).sum(dim=0) < errors.sum(dim=0)
    return torch.where(helps[..., None], weights, alone)


def convex_weights(products: Tensor, cross: Tensor) -> Tensor:
    """Find the weights w that minimise w' P w - 2 w' c, with w >= 0 and the sum 1, by accelerated projected gradient descent.

    Args:
        products: symmetric positive semidefinite matrices P.
        cross: vectors c.

    Shape:
        products [..., M, M], cross [..., M] -> [..., M].

    Returns:
        The weights.
    """
    size = products.shape[-1]
    step = 1 / products.diagonal(dim1=-2, dim2=-1).sum(dim=-1, keepdim=True).clamp(min=torch.finfo(products.dtype).tiny)
    products, cross = products * step[..., None], cross * step
    weights = torch.full_like(cross, 1 / size)
    ahead, momentum = weights, 1.0
    for _ in range(STEPS):
        moved = onto_simplex(ahead - (torch.einsum("...mk,...k->...m", products, ahead) - cross))
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + (momentum - 1) / following * (moved - weights)
        weights, momentum = moved, following
    return weights


def onto_simplex(values: Tensor) -> Tensor:
    """Return the closest vectors with values of at least 0 and the sum 1 (Held, Wolfe & Crowder 1974). Shape: [..., M]."""
    ordered = values.sort(dim=-1, descending=True).values
    counts = torch.arange(1, values.shape[-1] + 1, dtype=values.dtype)
    thresholds = (ordered.cumsum(dim=-1) - 1) / counts
    last = (ordered > thresholds).sum(dim=-1, keepdim=True) - 1
    return (values - thresholds.gather(-1, last)).clamp(min=0)


def _errors(weights: Tensor, products: Tensor, cross: Tensor, energy: Tensor) -> Tensor:
    """Return the error energy of the weighted mean of each track. Shape: weights [..., S, B, M] -> [tracks, S, B]."""
    quadratic = torch.einsum("...m,...mk,...k->...", weights.expand_as(cross), products, weights.expand_as(cross))
    return (quadratic - 2 * (weights * cross).sum(dim=-1) + energy).clamp(min=0)
