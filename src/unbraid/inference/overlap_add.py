"""Cut a signal into overlapping chunks of equal length, and join the separated chunks by a weighted average (overlap-add).

Music-Source-Separation-Training (MSST, github.com/ZFTurbo) separates songs in this way. For chunks of C samples that start
every H samples, both tools compute the same:

- The signal is extended by reflection at both ends, by C - H samples. A signal of at most 2 (C - H) samples is not extended.
- A chunk at the end with more than C / 2 samples is extended to C samples by reflection, a shorter chunk with zeros.
- A sample is the sum of all its estimates, times their weights, divided by the sum of the weights. The weights are a window
  with linear fades of C / 10 samples. The first chunk has no fade at its start.

For Demucs networks, MSST uses equal weights, and zeros instead of reflections. For all other networks, the result of MSST
depends on its option `batch_size`: no chunk of its last batch has a fade at the end. This module agrees with `batch_size: 1`.

With chunks that do not overlap, MSST divides 0 by 0 at the ends of chunks, and writes zeros. Here, these samples are estimates.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional

from unbraid.inference.crossfade import Chunk, ChunkSizes

SMALLEST_WEIGHT = 1e-8  # of an estimate, so that each sum of weights is above 0


def equal_chunk_sizes(chunk: int, overlap: float, weighted: bool) -> ChunkSizes:
    """Compute the lengths of chunks that are joined by an average.

    Args:
        chunk: length of a chunk in samples.
        overlap: share of a chunk that overlaps with the next chunk.
        weighted: True for weights with fades; False for equal weights.

    Returns:
        The lengths in samples.
    """
    hop = int(chunk * (1 - overlap) + 1e-6)  # rounded down, but not because of the rounding error of the product
    return ChunkSizes(chunk, chunk - max(hop, 1), chunk // 10 if weighted else 0, chunk)


def cut_equal_chunks(blocks: Iterable[Tensor], sizes: ChunkSizes, reflect: bool) -> Iterator[Chunk]:
    """Cut a signal into overlapping chunks of equal length, and yield the chunks in order.

    Args:
        blocks: consecutive blocks of the signal.
        sizes: lengths of the chunks.
        reflect: True to extend the signal and the chunks at its end by reflection; False: chunks are extended with zeros.

    Shape:
        blocks [C, n], with C channels and any lengths n.

    Yields:
        The chunks that contain a sample of the signal before the start of the next chunk. No chunks if there are no blocks.
    """
    blocks = iter(blocks)
    head = _head(blocks, 2 * sizes.overlap if reflect else 0)
    if head is None:
        return
    border = sizes.overlap if reflect and head.shape[-1] > 2 * sizes.overlap else 0
    buffer, start = head[:, :0], -border  # the buffer starts at this position in the signal
    for block in _extended(chain([head], blocks), border):
        buffer = torch.cat([buffer, block], dim=-1)
        while buffer.shape[-1] > sizes.chunk:  # so the signal has a sample after the start of the next chunk
            yield Chunk(buffer[:, : sizes.chunk], slice(max(-start, 0), sizes.hop), False)
            buffer, start = buffer[:, sizes.hop :], start + sizes.hop
    while True:
        remaining = buffer.shape[-1] - border
        last = remaining <= sizes.hop
        samples = _padded(buffer[:, : sizes.chunk], sizes.chunk, reflect)
        yield Chunk(samples, slice(max(-start, 0), min(remaining, sizes.hop)), last)
        if last:
            return
        buffer, start = buffer[:, sizes.hop :], start + sizes.hop


def average_chunks(estimates: Iterable[tuple[Tensor, Chunk]], sizes: ChunkSizes) -> Iterator[Tensor]:
    """Compute the weighted average of the separated chunks of a signal, and yield consecutive blocks of the sources.

    Args:
        estimates: pairs of the estimated sources of a chunk and the chunk itself, in the order of the chunks in the signal.
        sizes: lengths of the chunks. The weights rise from 0 to 1 in the first `sizes.fade` samples of a chunk, and fall from 1
            to 0 in the last `sizes.fade` samples.

    Shape:
        estimates [S, C, n] -> [S, C, m]: S sources, C channels, n samples of a chunk. The length m differs.

    Yields:
        Consecutive blocks of the sources. All blocks together are as long as the signal.
    """
    window = torch.ones(sizes.chunk)
    window[sizes.chunk - sizes.fade :] = torch.linspace(1, 0, sizes.fade).clamp(min=SMALLEST_WEIGHT)
    total, weights = torch.zeros(()), torch.zeros(sizes.chunk)  # sums over the chunks that contain a sample
    for number, (estimate, chunk) in enumerate(estimates):
        total, weights = total + estimate * window, weights + window
        yield total[..., chunk.keep] / weights[chunk.keep]
        total, weights = (functional.pad(x[..., sizes.hop :], (0, sizes.hop)) for x in (total, weights))
        if number == 0:  # the first chunk has no fade at its start
            window[: sizes.fade] = torch.linspace(0, 1, sizes.fade).clamp(min=SMALLEST_WEIGHT)


def _head(blocks: Iterator[Tensor], samples: int) -> Tensor | None:
    """Read blocks until they contain more than `samples` samples, and join them. None if `blocks` is empty."""
    parts: list[Tensor] = []
    while sum(part.shape[-1] for part in parts) <= samples and (block := next(blocks, None)) is not None:
        parts.append(block)
    return torch.cat(parts, dim=-1) if parts else None


def _extended(blocks: Iterable[Tensor], border: int) -> Iterator[Tensor]:
    """Extend a signal by reflection at both ends. The first block must contain more than 2 `border` samples."""
    if not border:
        yield from blocks
        return
    tail: Tensor | None = None
    for block in blocks:
        if tail is None:
            yield block[:, 1 : border + 1].flip(-1)
        tail = block if tail is None else torch.cat([tail, block], dim=-1)
        yield tail[:, : -border - 1]
        tail = tail[:, -border - 1 :]
    assert tail is not None
    yield tail
    yield tail[:, :-1].flip(-1)


def _padded(samples: Tensor, length: int, reflect: bool) -> Tensor:
    missing = length - samples.shape[-1]
    mode = "reflect" if reflect and samples.shape[-1] > length // 2 else "constant"
    return functional.pad(samples, (0, missing), mode=mode) if missing else samples
