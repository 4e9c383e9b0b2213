"""Fit and apply the filters of BSS Eval: FIR filters that fit the references to an estimate by least squares, in float64.

Three techniques reduce the computing time. First, correlations are computed block by block in the frequency domain, and only
for the lags of the filters. Second, the matrix of correlations is block-Toeplitz and the same for all estimates, so it is
factorised only once (Cholesky). Third, all filters are applied together, by one matrix product for each frequency.
`unbraid.scoring.bss_eval` computes the scores.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 2**13  # samples of a transform
MEMORY = 2**23  # bytes of samples at once: the allocator can use arrays of this size again
EPSILON = torch.finfo(torch.float64).eps
DEPENDENT = 1e-13  # share of a channel's energy below which the part that other channels do not explain is a rounding error

Pair = tuple[int, int]  # number of a source, number of an estimate


def fit_filters(reference: Tensor, estimate: Tensor, taps: int, pairs: Sequence[Pair]) -> Tensor:
    """Fit filters by least squares, so that the sum of the filtered references approximates an estimate.

    One set of filters is fitted for each estimate, and uses all references. Another set is fitted for each pair (source,
    estimate), and uses only the source of the pair.

    Args:
        reference: true sources.
        estimate: estimated sources.
        taps: length of the filters in samples.
        pairs: pairs of the index of a source and the index of an estimate.

    Shape:
        reference and estimate [S, C, T] (sources, channels, samples) -> filters [S * C, taps, S * C + C * pairs].

    Returns:
        The filters. The first index is the reference channel, and the last index is the output: the estimate channel that is
        approximated. The first S * C outputs belong to the filters that use all references. For each pair, C outputs follow.
        In the filters of these outputs, all references except the source of the pair have the filter 0.
    """
    sources, channels, _ = reference.shape
    count = sources * channels
    correlations = _correlations(reference, estimate, taps)
    among, cross = correlations[:count], correlations[count:].permute(1, 2, 0)
    filters = cross.new_zeros(count, taps, count + channels * len(pairs))
    filters[..., :count] = _fit(among, cross)
    for true in range(sources):
        rows = slice(true * channels, (true + 1) * channels)
        single = _fit(among[rows, rows], cross[rows]).unflatten(-1, (sources, channels))
        for number, (source, tried) in enumerate(pairs):
            if source == true:
                filters[rows, :, count + number * channels :][..., :channels] = single[:, :, tried]
    return filters


def frequency_response(filters: Tensor) -> Tensor:
    """Compute the frequency responses of filters. `apply_filters` takes these frequency responses as input.

    Args:
        filters: result of `fit_filters`.

    Shape:
        [S * C, taps, outputs] -> complex [bins, outputs, S * C].

    Returns:
        The frequency response of each filter.
    """
    return torch.fft.rfft(filters, _steps(filters.shape[1])[1], dim=1).permute(1, 2, 0).contiguous()


def apply_filters(windows: Tensor, response: Tensor, taps: int) -> Tensor:
    """Filter the reference channels in each window by overlap-save, and sum the filtered channels of each output.

    A filtered window is `taps - 1` samples longer than the window.

    Args:
        windows: windows of the references.
        response: result of `frequency_response`.
        taps: length of the filters in samples.

    Shape:
        windows [S, C, W, T] (sources, channels, windows, samples), response [bins, outputs, S * C] -> [outputs, W, T + taps -
        1].

    Returns:
        The sum of the filtered reference channels, for each output and window. `fit_filters` describes the outputs.
    """
    step, size = _steps(taps)
    tail = taps - 1
    count, samples = windows.shape[2], windows.shape[3] + tail
    padded = functional.pad(windows.flatten(0, 1), (tail, -(-samples // step) * step - windows.shape[3]))
    blocks = padded.unfold(-1, size, step).flatten(1, 2)
    filtered = torch.fft.irfft((response @ _spectra(blocks, size)).permute(1, 2, 0), size)[..., tail:]
    return filtered.reshape(len(filtered), count, -1)[..., :samples]


def items_at_once(samples: int) -> int:
    """Return how many arrays of `samples` float64 numbers fit into 8 MiB (`MEMORY`), but at least 1."""
    return max(1, MEMORY // (8 * samples))


def _fit(correlations: Tensor, cross: Tensor) -> Tensor:
    """Fit filters by least squares, so that the sum of the filtered references approximates given signals, such as estimates.

    Args:
        correlations: correlations of the references with each other.
        cross: correlations of the references with the given signals.

    Shape:
        correlations [I, I, taps], cross [I, taps, signals] -> filters [I, taps, signals], for I reference channels.

    Returns:
        The filters. The filters of dependent channels (see `_independent`) are 0.
    """
    channels = _independent(correlations[..., 0])
    filters = torch.zeros_like(cross)
    if channels:
        filters[channels] = solve(_gram(correlations[channels][:, channels]), cross[channels])
    return filters


def _independent(products: Tensor) -> list[int]:
    """Find the independent reference channels: channels that are neither silent nor a weighted sum of earlier channels.

    Many recordings contain copies of a channel, for example mono sources in stereo files. A filter for a copied channel does
    not improve the fit, and it would make the matrix of the least-squares fit singular.

    Args:
        products: inner products of all I reference channels without delay. Shape: [I, I].

    Returns:
        Indices of the independent channels.
    """
    channels: list[int] = []
    residual = products.cpu().clone()
    for channel in range(len(residual)):
        if residual[channel, channel] > DEPENDENT * products[channel, channel]:
            channels.append(channel)
            residual -= torch.outer(residual[channel], residual[channel]) / residual[channel, channel].clone()
    return channels


def _correlations(reference: Tensor, estimate: Tensor, taps: int) -> Tensor:
    """Correlate each signal y with each reference x: sum over n of x[n] y[n + lag], for lags from 0 to taps - 1.

    Shape: reference and estimate [S, C, T] -> [2 * S * C, S * C, taps]. The first dimension contains the signals y: first the
    reference channels, then the estimate channels. The second dimension contains the references x.
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
    """Return two lengths of overlap-save in samples: the step between two blocks, and the FFT length of a block."""
    size = max(BLOCK, 4 * taps)
    return size - taps + 1, size


def _blocks(signals: Sequence[Tensor], size: int, step: int) -> Iterator[Tensor]:
    """Cut all channels of the signals into overlapping blocks. Yield the blocks, several at once.

    The signals are padded with zeros at the end. Shape: [S, C, T] each -> [channels, blocks, size].
    """
    channels, samples = sum(signal.shape[:2].numel() for signal in signals), signals[0].shape[-1]
    at_once = items_at_once(size * channels) * step
    for start in range(0, samples, at_once):
        stop = start + min(at_once, -(-(samples - start) // step) * step) + size - step
        part = torch.cat([signal[..., start:stop].flatten(0, 1).double() for signal in signals])
        yield functional.pad(part, (0, stop - start - part.shape[-1])).unfold(-1, size, step)


def _spectra(blocks: Tensor, size: int) -> Tensor:
    """Compute the FFT of each block. Shape: [channels, blocks, samples] -> complex [bins, channels, blocks]."""
    return torch.fft.rfft(blocks, size).permute(2, 0, 1).contiguous()


def _gram(correlations: Tensor) -> Tensor:
    """Compute the inner products of all pairs of delayed references, for all delays from 0 to taps - 1 samples.

    The inner products are read from the correlations of the references.

    Shape: [I, I, taps] -> [I, taps, I, taps], for I reference channels.
    """
    count, _, taps = correlations.shape
    by_lag = torch.cat([correlations.flip(-1)[..., :-1], correlations.transpose(0, 1)], dim=-1)  # from 1 - taps to taps - 1
    gram = correlations.new_empty(count, taps, count, taps)
    for first in range(count):
        gram[first] = by_lag[first].unfold(-1, taps, 1).flip(-1).transpose(0, 1)
    for channel in gram.diagonal(dim1=0, dim2=2).unbind(-1):
        channel.diagonal().add_(EPSILON)  # as in museval
    return gram


def solve(gram: Tensor, cross: Tensor) -> Tensor:
    """Solve the normal equations of the least-squares fit of the filters.

    Cholesky factorisation of the matrix `gram` is tried first. If `gram` is not positive definite, LU factorisation is used. If
    `gram` is singular, least squares is used. Do not pass a batch of matrices: LU factorisation of a batch hangs on CPUs with
    torch 2.11.

    Args:
        gram: inner products of the delayed references with each other.
        cross: inner products of the delayed references with the signals to approximate.

    Shape:
        gram [I, taps, I, taps], cross [I, taps, signals] -> [I, taps, signals], for I reference channels.

    Returns:
        The filters.
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
