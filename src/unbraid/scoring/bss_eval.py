"""Compute the scores SDR, ISR, SIR and SAR of BSS Eval, versions 3 and 4.

BSS Eval splits each estimate into parts. To find the parts, the true sources (the references) are filtered by short filters, so
that the sum of the filtered sources approximates the estimate. See Vincent et al., IEEE TASLP 2006, and for version 4 Stöter et
al., LVA/ICA 2018. Version 4 fits one set of filters to the whole track. Version 3 fits one set of filters to each window.

The definitions follow the packages museval (version 4) and mir_eval (version 3). All scores are computed in float64 on the
device of the references. SI-SDR and the SDR without filters are much faster, see `unbraid.scoring.measures`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from unbraid.runs.errors import InputError, check_counts
from unbraid.scoring.bss_filters import Pair, apply_filters, fit_filters, frequency_response, items_at_once

Filters = Literal["track", "window"]
Kind = Literal["images", "sources"]
Silence = Literal["any", "own"]

TAPS = 512


@dataclass(frozen=True)
class BSSScores:
    """Store the scores of each source in each window in dB. NaN: the score is undefined; infinity: the estimate is perfect.

    All fields have the shape [S, windows] for S sources.

    Args:
        sdr: source to distortion ratio.
        isr: image to spatial distortion ratio. With the option `kind=sources` of `bss_eval`, ISR is not defined, and is NaN.
        sir: source to interference ratio.
        sar: source to artifacts ratio.
        permutation: index of the estimate that is compared with each source.
    """

    sdr: Tensor
    isr: Tensor
    sir: Tensor
    sar: Tensor
    permutation: Tensor


def bss_eval(
    reference: Tensor,
    estimate: Tensor,
    window: int | None = None,
    hop: int | None = None,
    taps: int = TAPS,
    filters: Filters = "track",
    kind: Kind = "images",
    silence: Silence = "any",
    permute: bool = False,
) -> BSSScores:
    """Compute SDR, ISR, SIR and SAR of all estimated sources of a track.

    InputError is raised if `window`, `hop` or `taps` is below 1, or if the signals differ in shape or are not finite.

    Args:
        reference: true sources.
        estimate: estimated sources, in the order of the true sources unless `permute` is True.
        window: length of a window in samples. None, or longer than the track: one window over the whole track.
        hop: step between windows in samples; None: `window`. An incomplete window at the end is not scored.
        taps: length of the filters in samples.
        filters: `track`: one set of filters for the whole track (version 4). `window`: one set of filters for each window
            (version 3).
        kind: `images`: an estimate is compared with the true source itself. `sources`: an estimate is compared with the
            filtered true source, so that a wrong spectrum does not count as an error. The filter is fitted to the estimate.
        silence: rule for undefined scores in a window. `any`: the scores of all sources are undefined if any true or estimated
            source is silent, as in museval and mir_eval. `own`: the scores of a source are undefined if this true source is
            silent.
        permute: True if the order of the estimates is unknown. The order with the highest mean SIR is then chosen: once for the
            track, or in each window if `filters` is `window`.

    Shape:
        reference and estimate [S, C, T] (sources, channels, samples), of any float dtype.

    Returns:
        The scores of each source in each window.
    """
    _check(reference, estimate, {"window": window, "hop": hop, "taps": taps})
    samples = reference.shape[-1]
    starts, window = windows(samples, window, hop)
    pairs = _pairs(len(reference), permute)
    ratios = partial(_ratios, taps=taps, kind=kind, silence=silence, pairs=pairs)
    if filters == "track":
        return _best(ratios(reference, estimate, starts, window), pairs, per_window=False)
    if len(starts) < 2:  # as in mir_eval, a single window is the whole signal
        starts, window = [0], samples
    parts = [(reference[..., start : start + window], estimate[..., start : start + window]) for start in starts]
    return _best(torch.cat([ratios(*part, [0], window) for part in parts], dim=-1), pairs, per_window=True)


def windows(samples: int, window: int | None, hop: int | None) -> tuple[list[int], int]:
    """Determine the windows in which a track is scored.

    Args:
        samples: length of the track in samples.
        window: length of a window in samples. None, or longer than the track: one window over the whole track.
        hop: step between windows in samples; None: `window`. An incomplete window at the end is not scored.

    Returns:
        The first sample of each window, and the length of a window in samples.
    """
    window = samples if window is None else min(window, samples)
    return list(range(0, samples - window + 1, hop or window)), window


def _check(reference: Tensor, estimate: Tensor, counts: Mapping[str, int | None]) -> None:
    if reference.shape != estimate.shape or reference.ndim != 3 or not reference.numel():
        raise InputError(
            "reference, estimate", "shapes are invalid", found=f"{list(reference.shape)} and {list(estimate.shape)}",
            expected="two equal shapes [sources, channels, samples] with at least one sample",
        )  # fmt: skip
    for name, signals in {"reference": reference, "estimate": estimate}.items():
        if not torch.stack(signals.aminmax()).isfinite().all():
            raise InputError(name, "the signal contains NaN or infinite samples")
    check_counts(**counts)


def _pairs(sources: int, permute: bool) -> list[Pair]:
    return [(true, estimate) for true in range(sources) for estimate in (range(sources) if permute else (true,))]


def _ratios(
    reference: Tensor,
    estimate: Tensor,
    starts: Sequence[int],
    window: int,
    taps: int,
    kind: Kind,
    silence: Silence,
    pairs: Sequence[Pair],
) -> Tensor:
    """Compute SDR, ISR, SIR and SAR in dB of each pair (source, estimate) in each window. All windows use the same filters.

    Shape: [4, pairs, windows].
    """
    ratios = torch.full((4, len(pairs), len(starts)), torch.nan, dtype=torch.float64)
    defined = _defined(reference, estimate, starts, window, silence, pairs)
    if defined.any():
        filters = fit_filters(reference, estimate, taps, pairs)
        energies = _energies(reference, estimate, starts, window, filters, pairs)
        ratios[:, defined] = _decibels(energies, kind).cpu()[:, defined]
    return ratios


def _defined(
    reference: Tensor, estimate: Tensor, starts: Sequence[int], window: int, silence: Silence, pairs: Sequence[Pair]
) -> Tensor:
    """Return True or False for each pair (source, estimate) in each window: True if the scores are defined.

    Shape: bool [pairs, windows].
    """
    audible = [
        torch.stack([signals[..., start : start + window].double().sum(dim=1).any(dim=-1) for start in starts], dim=-1).cpu()
        for signals in (reference, estimate)
    ]  # as in museval, channels that cancel are silent
    if silence == "any":
        return (audible[0] & audible[1]).all(dim=0).expand(len(pairs), -1)
    return audible[0][[true for true, _ in pairs]]


def _energies(
    reference: Tensor, estimate: Tensor, starts: Sequence[int], window: int, filters: Tensor, pairs: Sequence[Pair]
) -> Tensor:
    """Compute the energies of the eight signals of `_parts` in all windows.

    Shape: [8, pairs, windows].
    """
    taps, response = filters.shape[1], frequency_response(filters)
    at_once = items_at_once(len(filters) * window)
    energies = []
    for first in range(0, len(starts), at_once):
        batch = starts[first : first + at_once]
        true, made = (torch.stack([x[..., s : s + window] for s in batch], dim=2).double() for x in (reference, estimate))
        energies.append(_parts(true, made, apply_filters(true, response, taps), pairs))
    return torch.cat(energies, dim=-1)


def _parts(reference: Tensor, estimate: Tensor, filtered: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """Compute the energies of eight signals for each pair (source, estimate) in each window.

    `own` is the filtered source of the pair, and `best` is the sum of all filtered sources. The eight signals are: source,
    estimate - source, own - source, own, best - own, best, estimate - best, and estimate - own.

    Shape: reference and estimate [S, C, W, T] (sources, channels, windows, samples), filtered [outputs, W, T + taps - 1] -> [8,
    pairs, W].
    """
    sources, channels, _, samples = reference.shape
    best_of_all, own_of_pairs = filtered.unflatten(0, (-1, channels)).split([sources, len(pairs)])
    rows = []
    for (true, tried), own in zip(pairs, own_of_pairs, strict=True):
        best, tail = best_of_all[tried], (0, filtered.shape[-1] - samples)
        truth, made = functional.pad(reference[true], tail), functional.pad(estimate[tried], tail)
        signals = (truth, made - truth, own - truth, own, best - own, best, made - best, made - own)
        rows.append(torch.stack([signal.square().sum(dim=(0, 2)) for signal in signals]))
    return torch.stack(rows, dim=1)


def _decibels(energies: Tensor, kind: Kind) -> Tensor:
    """Compute SDR, ISR, SIR and SAR in dB from the eight energies of `_parts`.

    Shape: [8, pairs, windows] -> [4, pairs, windows].
    """
    true, error, spatial, own, interference, best, artifacts, not_own = energies
    if kind == "images":
        above, below = torch.stack([true, true, own, best]), torch.stack([error, spatial, interference, artifacts])
    else:
        undefined = torch.full_like(own, torch.nan)
        above, below = torch.stack([own, undefined, own, best]), torch.stack([not_own, undefined, interference, artifacts])
    return torch.where(below == 0, torch.inf, 10 * (above / below).log10())


def _best(ratios: Tensor, pairs: Sequence[Pair], per_window: bool) -> BSSScores:
    """Assign one estimate to each source, so that the mean SIR is highest. Return the scores of the assigned pairs."""
    windows = ratios.shape[-1]
    by_pair = dict(zip(pairs, ratios.unbind(1), strict=True))
    sources = 1 + max(true for true, _ in pairs)
    orders = [order for order in permutations(range(sources)) if all(pair in by_pair for pair in enumerate(order))]
    candidates = torch.stack([torch.stack([by_pair[pair] for pair in enumerate(order)], dim=1) for order in orders])
    sir = candidates[:, 2].nanmean(dim=1)
    sir = sir if per_window else sir.nanmean(dim=-1, keepdim=True).expand(-1, windows)
    chosen = sir.nan_to_num(nan=-torch.inf).argmax(dim=0)
    sdr, isr, sir, sar = candidates[chosen, :, :, torch.arange(windows)].permute(1, 2, 0)
    return BSSScores(sdr, isr, sir, sar, torch.tensor(orders)[chosen].T)
