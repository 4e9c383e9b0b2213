"""BSS Eval, versions 3 and 4, exact: SDR, ISR, SIR and SAR of estimates that may be filtered versions of their sources.

Each estimate is projected on what short filters can make of the references (Vincent et al., IEEE TASLP 2006; version 4: Stöter
et al., LVA/ICA 2018). Version 4 has one set of filters for the track, version 3 one for each window. The definitions are those
of the packages museval (v4) and mir_eval (v3); all is computed in float64, on the device of the references.

Three things make it fast. Correlations are summed over blocks in the frequency domain, for the lags that filters have and no
others. One Cholesky factor of their block-Toeplitz matrix serves all estimates. All filters are applied to a block of all
references at once, by one product of matrices for each frequency.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from unbraid.runs.errors import InputError

Filters = Literal["track", "window"]
Kind = Literal["images", "sources"]
Silence = Literal["any", "own"]

TAPS = 512
BLOCK = 2**13  # samples of a transform
MEMORY = 2**23  # bytes of samples at once: arrays of this size are used again by the allocator
EPSILON = torch.finfo(torch.float64).eps
DEPENDENT = 1e-13  # share of a channel's energy that other channels leave, from which on rounding made it

Pair = tuple[int, int]  # number of a source, number of an estimate


@dataclass(frozen=True)
class BSSScores:
    """In dB; not-a-number where undefined, infinite where there is no error at all. Shape: [S, windows] each.

    Args:
        sdr: source to distortion ratio.
        isr: image to spatial distortion ratio; undefined for `sources`.
        sir: source to interference ratio.
        sar: source to artifacts ratio.
        permutation: number of the estimate that was taken for each source.
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
    """Score estimates of all sources of one track together.

    Args:
        reference: the true sources.
        estimate: of each of them.
        window: length of what one score is of, in samples; None, or longer than the track: the whole track.
        hop: from window to window, in samples; None: a window. What is left at the end is not scored.
        taps: of the filters.
        filters: one set for the `track` (version 4), or one for each `window` (version 3).
        kind: `images` compares with the reference itself; `sources` with the reference as filtered to fit the estimate, so
            that it forgives a wrong spectrum.
        silence: which windows are undefined. `any`: those in which any reference or estimate is silent, for all sources, as
            museval and mir_eval have it; `own`: those in which the source's own reference is silent.
        permute: take the order of the estimates with the highest mean SIR, over the track, or for each window if filters are.

    Shape:
        reference and estimate [S, C, T], of any float type.

    Raises:
        InputError: shapes differ or are not [S, C, T], samples are not finite, or window, hop or taps are below 1.
    """
    _check(reference, estimate, {"window": window, "hop": hop, "taps": taps})
    samples = reference.shape[-1]
    window = samples if window is None else min(window, samples)
    starts = list(range(0, samples - window + 1, hop or window))
    pairs = _pairs(len(reference), permute)
    ratios = partial(_ratios, taps=taps, kind=kind, silence=silence, pairs=pairs)
    if filters == "track":
        return _best(ratios(reference, estimate, starts, window), pairs, per_window=False)
    if len(starts) < 2:  # mir_eval scores the whole signal then
        starts, window = [0], samples
    parts = [(reference[..., start : start + window], estimate[..., start : start + window]) for start in starts]
    return _best(torch.cat([ratios(*part, [0], window) for part in parts], dim=-1), pairs, per_window=True)


def _check(reference: Tensor, estimate: Tensor, counts: Mapping[str, int | None]) -> None:
    if reference.shape != estimate.shape or reference.ndim != 3 or not reference.numel():
        raise InputError(
            f"reference and estimate must have one shape [sources, channels, samples], found {list(reference.shape)} "
            f"and {list(estimate.shape)}"
        )
    for name, signals in {"reference": reference, "estimate": estimate}.items():
        if not torch.stack(signals.aminmax()).isfinite().all():
            raise InputError(f"{name}: has samples that are not finite")
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} must be at least 1, found {count}")


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
    """SDR, ISR, SIR and SAR in dB of one set of filters. Shape: [4, pairs, windows]."""
    ratios = torch.full((4, len(pairs), len(starts)), torch.nan, dtype=torch.float64)
    defined = _defined(reference, estimate, starts, window, silence, pairs)
    if defined.any():
        fitted = _filters(reference, estimate, taps, pairs)
        ratios[:, defined] = _decibels(_energies(reference, estimate, starts, window, fitted, pairs), kind).cpu()[:, defined]
    return ratios


def _defined(
    reference: Tensor, estimate: Tensor, starts: Sequence[int], window: int, silence: Silence, pairs: Sequence[Pair]
) -> Tensor:
    """Shape: [pairs, windows]."""
    sounds = [
        torch.stack([signals[..., start : start + window].double().sum(dim=1).any(dim=-1) for start in starts], dim=-1).cpu()
        for signals in (reference, estimate)
    ]  # as museval has it, channels that cancel are silent
    if silence == "any":
        return (sounds[0] & sounds[1]).all(dim=0).expand(len(pairs), -1)
    return sounds[0][[true for true, _ in pairs]]


# The filters


def _filters(reference: Tensor, estimate: Tensor, taps: int, pairs: Sequence[Pair]) -> Tensor:
    """Those that make the best of all references, for each channel of each estimate, then those that make the best of one.

    Shape: [reference channels, taps, estimate channels + channels of pairs].
    """
    sources, channels, _ = reference.shape
    count = sources * channels
    correlations = _correlations(reference, estimate, taps)
    among, cross = correlations[:count], correlations[count:].permute(1, 2, 0)
    fitted = cross.new_zeros(count, taps, count + channels * len(pairs))
    fitted[..., :count] = _fit(among, cross)
    for true in range(sources):
        own = slice(true * channels, (true + 1) * channels)
        made = _fit(among[own, own], cross[own]).unflatten(-1, (sources, channels))
        for number, (source, tried) in enumerate(pairs):
            if source == true:
                fitted[own, :, count + number * channels :][..., :channels] = made[:, :, tried]
    return fitted


def _fit(correlations: Tensor, cross: Tensor) -> Tensor:
    """Filters that fit best. Shape: [I, I, taps], [I, taps, signals] -> [I, taps, signals]."""
    kept = _independent(correlations[..., 0])
    fitted = torch.zeros_like(cross)
    if kept:
        fitted[kept] = _solve(_gram(correlations[kept][:, kept]), cross[kept])
    return fitted


def _independent(products: Tensor) -> list[int]:
    """References without those that are sums of others, sample by sample: a channel that is the copy of another, as in many
    recordings, or silence. Filters gain nothing from them, and their matrix is singular with them.

    Args:
        products: of all references with each other, without delay. Shape: [I, I].
    """
    kept: list[int] = []
    rest = products.cpu().clone()
    for channel in range(len(rest)):
        if rest[channel, channel] > DEPENDENT * products[channel, channel]:
            kept.append(channel)
            rest -= torch.outer(rest[channel], rest[channel]) / rest[channel, channel].clone()
    return kept


def _correlations(reference: Tensor, estimate: Tensor, taps: int) -> Tensor:
    """Of every signal y with every reference x: the sum over n of x[n] y[n + lag], for lags below `taps`.

    Shape: [S, C, T] both -> [2 * S * C, S * C, taps], the references before the estimates.
    """
    count, step, size = reference.shape[:2].numel(), *_steps(taps)
    total: Tensor | None = None
    for blocks in _blocks([reference, estimate], size, step):
        signals = _spectra(blocks, size)
        products = signals @ _spectra(blocks[:count, :, :step], size).mH
        total = products if total is None else total.add_(products)
    assert total is not None
    return torch.fft.irfft(total, size, dim=0)[:taps].permute(1, 2, 0)


def _steps(taps: int) -> tuple[int, int]:
    """How many samples of a block are new, and the length of its transform."""
    size = max(BLOCK, 4 * taps)
    return size - taps + 1, size


def _blocks(signals: Sequence[Tensor], size: int, step: int) -> Iterator[Tensor]:
    """The channels of all signals in overlapping blocks, some at once; after the end comes silence.

    Shape: [S, C, T] each -> [channels, blocks, size].
    """
    channels, samples = sum(signal.shape[:2].numel() for signal in signals), signals[0].shape[-1]
    at_once = max(1, MEMORY // (8 * size * channels)) * step
    for start in range(0, samples, at_once):
        stop = start + min(at_once, -(-(samples - start) // step) * step) + size - step
        part = torch.cat([signal[..., start:stop].flatten(0, 1).double() for signal in signals])
        yield functional.pad(part, (0, stop - start - part.shape[-1])).unfold(-1, size, step)


def _spectra(blocks: Tensor, size: int) -> Tensor:
    """Shape: [channels, blocks, samples] -> complex [bins, channels, blocks]."""
    return torch.fft.rfft(blocks, size).permute(2, 0, 1).contiguous()


def _gram(correlations: Tensor) -> Tensor:
    """Inner products of all references, delayed by 0 to taps - 1. Shape: [I, I, taps] -> [I, taps, I, taps]."""
    count, _, taps = correlations.shape
    by_lag = torch.cat([correlations.flip(-1)[..., :-1], correlations.transpose(0, 1)], dim=-1)  # from 1 - taps to taps - 1
    gram = correlations.new_empty(count, taps, count, taps)
    for first in range(count):
        gram[first] = by_lag[first].unfold(-1, taps, 1).flip(-1).transpose(0, 1)
    for channel in gram.diagonal(dim1=0, dim2=2).unbind(-1):
        channel.diagonal().add_(EPSILON)  # as museval has it
    return gram


def _solve(gram: Tensor, cross: Tensor) -> Tensor:
    """Cholesky, where the matrix is not positive LU, where it is singular least squares.

    Each is called for one matrix: torch 2.11 hangs on batches of LU on CPU.

    Shape: [I, taps, I, taps], [I, taps, signals] -> [I, taps, signals].
    """
    count = gram.shape[:2].numel()
    matrix, right = gram.reshape(count, count), cross.reshape(count, -1)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed:
        half = torch.linalg.solve_triangular(factor, right, upper=False)  # cholesky_solve would copy the factor
        return torch.linalg.solve_triangular(factor.mT, half, upper=True).view_as(cross)
    del factor
    solution, failed = torch.linalg.solve_ex(matrix, right)
    if failed or not solution.isfinite().all():
        solution = torch.linalg.lstsq(matrix.cpu(), right.cpu(), driver="gelsd").solution.to(matrix.device)
    return solution.view_as(cross)


# The energies


def _energies(
    reference: Tensor, estimate: Tensor, starts: Sequence[int], window: int, fitted: Tensor, pairs: Sequence[Pair]
) -> Tensor:
    """Of what the ratios are made of, see `_parts`. Shape: [8, pairs, windows]."""
    step, size = _steps(fitted.shape[1])
    response = torch.fft.rfft(fitted, size, dim=1).permute(1, 2, 0).contiguous()
    at_once = max(1, MEMORY // (8 * len(fitted) * window))
    energies = []
    for first in range(0, len(starts), at_once):
        some = starts[first : first + at_once]
        true, made = (torch.stack([x[..., s : s + window] for s in some], dim=2).double() for x in (reference, estimate))
        energies.append(_parts(true, made, _filtered(true, response, size, step), pairs))
    return torch.cat(energies, dim=-1)


def _filtered(windows: Tensor, response: Tensor, size: int, step: int) -> Tensor:
    """Each window by itself through all filters, by overlap-save, with the tail that filters leave.

    Shape: [S, C, W, T], complex [bins, outputs, S * C] -> [outputs, W, T + taps - 1].
    """
    count, samples = windows.shape[2], windows.shape[3] + size - step
    tail = size - step
    padded = functional.pad(windows.flatten(0, 1), (tail, -(-samples // step) * step - windows.shape[3]))
    blocks = padded.unfold(-1, size, step).flatten(1, 2)
    filtered = torch.fft.irfft((response @ _spectra(blocks, size)).permute(1, 2, 0), size)[..., tail:]
    return filtered.reshape(len(filtered), count, -1)[..., :samples]


def _parts(reference: Tensor, estimate: Tensor, filtered: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """Energies of each pair in each window.

    With `own`, what filters make of the source itself, and `best`, what they make of all of them, those of: reference,
    estimate - reference, own - reference, own, best - own, best, estimate - best, estimate - own.

    Shape: [S, C, W, T] both, [outputs, W, T + taps - 1] -> [8, pairs, W].
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
    """SDR, ISR, SIR and SAR of the energies of `_parts`. Shape: [8, pairs, W] -> [4, pairs, W]."""
    true, error, spatial, own, interference, best, artifacts, not_own = energies
    if kind == "images":
        above, below = torch.stack([true, true, own, best]), torch.stack([error, spatial, interference, artifacts])
    else:
        undefined = torch.full_like(own, torch.nan)
        above, below = torch.stack([own, undefined, own, best]), torch.stack([not_own, undefined, interference, artifacts])
    return torch.where(below == 0, torch.inf, 10 * (above / below).log10())


def _best(ratios: Tensor, pairs: Sequence[Pair], per_window: bool) -> BSSScores:
    """The scores in the order of the estimates with the highest mean SIR over the windows where it is defined."""
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
