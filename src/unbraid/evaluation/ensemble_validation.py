"""Separate the validation tracks with an ensemble and its members, fit the weights, and format the results.

On the validation tracks, no target of an ensemble with fitted weights is worse than the best member: such a target gets the
estimate of the best member.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from unbraid.data.store import StoredTrack
from unbraid.evaluation.ensemble_weights import best_members, fit_weights, member_statistics, usdr_of
from unbraid.evaluation.methods import SeparatorMethod
from unbraid.inference.chunked import InferenceOptions
from unbraid.models.separators.ensemble import Ensemble

FEW_TRACKS = 10  # with fewer validation tracks, the weights can fit the tracks by chance


@dataclass(frozen=True)
class ValidationResult:
    """Store the uSDR of an ensemble and of its members in dB, averaged over the validation tracks; NaN if undefined.

    Args:
        tracks: names of the tracks.
        members: mean uSDR of each member.
        ensemble: mean uSDR of the ensemble.
        alone: for each target, True if the estimate of the best member is used, because the fitted weights did not help.

    Shape:
        members [M, S], ensemble [S], alone [S]: M members, S targets.
    """

    tracks: list[str]
    members: Tensor
    ensemble: Tensor
    alone: Tensor


def fit_ensemble(
    ensemble: Ensemble, tracks: Sequence[StoredTrack], targets: Tensor, options: InferenceOptions
) -> ValidationResult:
    """Fit the weights of an ensemble if its mode is `weights`, and score the ensemble and its members.

    Args:
        ensemble: ensemble in evaluation mode. Its buffer `weights` is changed.
        tracks: validation tracks, with the sample rate and channels of the ensemble.
        targets: row s contains the weights of the data set's sources in target s.
        options: options of the separation.

    Shape:
        targets [S, sources].

    Returns:
        The scores on the validation tracks.
    """
    by_name = {track.name: track for track in tracks}
    members: Any = ensemble.members
    methods = [SeparatorMethod(model, "", by_name, ensemble.sample_rate, options) for model in (*members, ensemble)]
    statistics = []
    for track in tqdm(tracks, desc="validation", unit="track", leave=False, disable=None):
        estimates = torch.stack(
            [
                ensemble.in_order(number, torch.from_numpy(method.separate(track.name)))
                for number, method in enumerate(methods[:-1])
            ]
        )
        statistics.append(member_statistics(ensemble, estimates, _references(track, targets)))
    scores = torch.stack([track.scores for track in statistics]).nanmean(dim=0)
    if ensemble.mode != "weights":
        found = _ensemble_scores(methods[-1], tracks, targets)
        return ValidationResult([*by_name], scores, found, torch.zeros(len(found), dtype=torch.bool))
    best = best_members(statistics)
    one = torch.nn.functional.one_hot(best, len(members))[:, None].expand_as(ensemble.weights)
    ensemble.weights.copy_(fit_weights(statistics))
    found = _ensemble_scores(methods[-1], tracks, targets)
    worse = ~(found >= scores.gather(0, best[None])[0])  # also if NaN
    if worse.any():
        ensemble.weights[worse] = one.to(ensemble.weights)[worse]
        found = _ensemble_scores(methods[-1], tracks, targets)
    alone = (ensemble.weights == one.to(ensemble.weights)).flatten(1).all(dim=1).cpu()
    return ValidationResult([*by_name], scores, found, alone)


def _references(track: StoredTrack, targets: Tensor) -> Tensor:
    """Return the true sources of a track. Shape: [S, C, T]."""
    return torch.einsum("sr,rcn->scn", targets, track.tensor()[1:])


def _ensemble_scores(method: SeparatorMethod, tracks: Sequence[StoredTrack], targets: Tensor) -> Tensor:
    """Separate all tracks, and return the mean uSDR of each target in dB. Shape: [S]."""
    method.latest.clear()
    scores = [
        usdr_of(_references(track, targets), torch.from_numpy(method.separate(track.name)))
        for track in tqdm(tracks, desc="ensemble", unit="track", leave=False, disable=None)
    ]
    method.latest.clear()
    return torch.stack(scores).nanmean(dim=0)


def validation_text(names: Sequence[str], ensemble: Ensemble, result: ValidationResult) -> str:
    """Format the scores on the validation tracks, and the weights of the members in each band.

    Args:
        names: names of the members.
        ensemble: ensemble.
        result: result of `fit_ensemble`.

    Returns:
        A table with one row for each member and one for the ensemble. With fitted weights, one more table for each target, and
        a warning if the weights were fitted on fewer than `FEW_TRACKS` tracks.
    """
    targets, width = ensemble.targets, max(len(name) for name in (*names, "ensemble", "mean uSDR in dB")) + 2
    count = f"{len(result.tracks)} validation track{'s' * (len(result.tracks) != 1)}"
    lines = [f"{'mean uSDR in dB':<{width}}" + "".join(f"{target:>15}" for target in targets) + f"   ({count})"]
    for name, values in zip((*names, "ensemble"), (*result.members, result.ensemble), strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"{value:>15.2f}" for value in values.tolist()))
    if ensemble.mode != "weights":
        return "\n".join(lines)
    highs = [*ensemble.edges_hz, ensemble.sample_rate / 2]
    for s, target in enumerate(targets):
        title = f"weights of {target}"
        if result.alone[s]:
            name = names[int(ensemble.weights[s, 0].argmax())]
            lines += ["", f"{title}: only {name}, because a weighted mean does not help on the validation tracks"]
            continue
        lines += ["", f"{title:<{width}}" + "".join(f"{f'to {high:.0f} Hz':>12}" for high in highs)]
        for m, name in enumerate(names):
            lines.append(f"{name:<{width}}" + "".join(f"{value:>12.2f}" for value in ensemble.weights[s, :, m].tolist()))
    if len(result.tracks) < FEW_TRACKS:
        lines += [
            "",
            f"warning: the weights were fitted on {count}. With fewer than {FEW_TRACKS}, they can fit the tracks by chance",
        ]
    return "\n".join(lines)


def validation_record(names: Sequence[str], ensemble: Ensemble, result: ValidationResult) -> dict[str, Any]:
    """Return the mode, the weights and the scores on the validation tracks for `ensemble.json`."""
    scores = {name: _by_target(ensemble, row) for name, row in zip(names, result.members, strict=True)}
    fitted = {
        target: {name: ensemble.weights[s, :, m].tolist() for m, name in enumerate(names)}
        for s, target in enumerate(ensemble.targets)
    }
    return {
        "mode": ensemble.mode,
        "edges_hz": ensemble.edges_hz,
        "weights": fitted if ensemble.mode == "weights" else None,
        "validation": {
            "tracks": result.tracks, "measure": "uSDR", "members": scores, "ensemble": _by_target(ensemble, result.ensemble),
        },
    }  # fmt: skip


def _by_target(ensemble: Ensemble, values: Tensor) -> dict[str, float | None]:
    pairs = zip(ensemble.targets, values.tolist(), strict=True)
    return {target: value if value == value else None for target, value in pairs}  # NaN is not JSON
