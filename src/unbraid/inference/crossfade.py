"""Cut a signal into overlapping chunks, and join the separated chunks with a cross-fade.

A network does not receive the signal before and after a chunk, so the estimate is worse at the ends of the chunk. Adjacent
chunks therefore overlap. The ends of each estimate are discarded, and the rest is cross-faded with the estimate of the next
chunk. `unbraid.inference.chunked` computes the lengths of chunks, overlap and cross-fade. `unbraid.inference.overlap_add` is
another way to cut and join.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class ChunkSizes(NamedTuple):
    """Store the lengths of chunks, overlap and cross-fade, in samples at the sample rate of the separator.

    Args:
        chunk: length of a chunk.
        overlap: number of samples that two adjacent chunks share.
        fade: length of the cross-fade, in the middle of the overlap. With a weighted average: length of the parts at both ends
            of a chunk in which the weights are below 1.
        min_samples: length of the shortest input of the network. A shorter signal is padded with silence.
    """

    chunk: int
    overlap: int
    fade: int
    min_samples: int

    @property
    def hop(self) -> int:
        """Distance between the starts of two adjacent chunks, in samples."""
        return self.chunk - self.overlap

    @property
    def discarded_end(self) -> int:
        """Number of samples that are discarded at the end of an estimate, except for the last estimate of a signal."""
        return (self.overlap - self.fade) // 2

    @property
    def discarded_start(self) -> int:
        """Number of samples that are discarded at the start of an estimate, except for the first estimate of a signal."""
        return self.overlap - self.fade - self.discarded_end


class Chunk(NamedTuple):
    """Store a chunk of a signal, and which samples of the separated chunk are used.

    Args:
        samples: samples of the chunk, of the shape [C, n].
        keep: range of samples in the chunk. With a cross-fade, only these samples of the estimate are used. With a weighted
            average, no later chunk contains these samples, so their average is complete.
        last: True for the last chunk of the signal.
    """

    samples: Tensor
    keep: slice
    last: bool


def round_up(samples: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least `samples`."""
    return -(-samples // multiple) * multiple


def cut_chunks(blocks: Iterable[Tensor], sizes: ChunkSizes, alignment: int) -> Iterator[Chunk]:
    """Cut a signal into overlapping chunks, and yield the chunks in order.

    If the rest of the signal is shorter than a chunk, the last chunk starts earlier, so that its overlap is longer.

    Args:
        blocks: consecutive blocks of the signal.
        sizes: lengths of the chunks.
        alignment: number of samples; each chunk starts at a multiple of this number.

    Shape:
        blocks [C, n], with C channels and any lengths n.

    Yields:
        The chunks. A signal without samples gives no chunks.
    """
    buffer: Tensor | None = None
    buffer_start, chunk_start, kept_end = 0, 0, 0  # positions in the signal; estimates are kept up to `kept_end`
    for block in blocks:
        buffer = block if buffer is None else torch.cat([buffer, block], dim=-1)
        while buffer_start + buffer.shape[-1] > chunk_start + sizes.chunk:
            samples = buffer[:, chunk_start - buffer_start : chunk_start - buffer_start + sizes.chunk]
            yield Chunk(samples, slice(sizes.discarded_start if chunk_start else 0, sizes.chunk - sizes.discarded_end), False)
            kept_end, chunk_start = chunk_start + sizes.chunk - sizes.discarded_end, chunk_start + sizes.hop
            drop = max(
                chunk_start - sizes.hop - buffer_start, 0
            )  # the last chunk can start anywhere after the previous chunk's start
            buffer, buffer_start = buffer[:, drop:], buffer_start + drop
    if buffer is None:
        return
    end = buffer_start + buffer.shape[-1]
    if chunk_start:
        chunk_start = round_up(max(end - sizes.chunk, 0), alignment)
    keep = slice(kept_end - sizes.fade - chunk_start if kept_end else 0, end - chunk_start)
    samples = buffer[:, chunk_start - buffer_start :]
    yield Chunk(functional.pad(samples, (0, max(sizes.min_samples - samples.shape[-1], 0))), keep, True)


def join_chunks(estimates: Iterable[tuple[Tensor, Chunk]], fade: int) -> Iterator[Tensor]:
    """Join the separated chunks of a signal with a cross-fade, and yield consecutive blocks of the sources.

    Args:
        estimates: pairs of the estimated sources of a chunk and the chunk itself, in the order of the chunks in the signal.
        fade: length of the cross-fade in samples.

    Shape:
        estimates [S, C, n] -> [S, C, m]: S sources, C channels. The lengths n and m differ.

    Yields:
        Consecutive blocks of the sources. All blocks together are as long as the signal.
    """
    previous: Tensor | None = None
    for estimate, chunk in estimates:
        kept = estimate[..., chunk.keep]
        if previous is not None and fade:
            ramp = (torch.arange(fade, device=kept.device) + 0.5) / fade
            kept = torch.cat([previous + (kept[..., :fade] - previous) * ramp, kept[..., fade:]], dim=-1)
        if chunk.last:
            yield kept
        else:
            yield kept[..., : kept.shape[-1] - fade]
            previous = kept[..., kept.shape[-1] - fade :]
