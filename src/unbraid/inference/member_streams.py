"""Combine the estimates of the members of an ensemble, block by block, with the same result as for the whole song at once."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from unbraid.inference.crossfade import ChunkSizes, cut_chunks, join_chunks, round_up
from unbraid.models.separators.ensemble import Ensemble

STRETCH_SECONDS = 10  # audio that is combined at once


def combined(model: Ensemble, streams: Sequence[Iterator[Tensor]], device: torch.device) -> Iterator[Tensor]:
    """Combine the estimates of the members of an ensemble.

    A combination of spectra reads at most one window of the STFT before and after a sample. Stretches of the song therefore
    overlap by two windows, and both ends are discarded.

    Args:
        model: ensemble.
        streams: for each member, an iterator over consecutive blocks of its sources. All members have the same total length.
        device: device on which the estimates are combined.

    Shape:
        blocks [S, C, n] -> [S, C, m]. The lengths n and m differ.

    Yields:
        Consecutive blocks of the combined sources, on the CPU.
    """
    window, hop = model.stft.n_fft, model.stft.hop_length
    members, targets = len(model.members), len(model.targets)
    overlap = 2 * window
    sizes = ChunkSizes(overlap + round_up(STRETCH_SECONDS * model.sample_rate, hop), overlap, 0, 1)
    sorted_streams = [map(partial(model.in_order, number), stream) for number, stream in enumerate(streams)]
    flat = (block.flatten(0, 2) for block in in_step(sorted_streams))
    estimates = (
        (_combine(model, chunk.samples.unflatten(0, (members, targets, -1)).to(device)), chunk)
        for chunk in cut_chunks(flat, sizes, hop)
    )
    yield from join_chunks(estimates, sizes.fade)


@torch.inference_mode()
def _combine(model: Ensemble, estimates: Tensor) -> Tensor:
    return model.combine(estimates).cpu()


def in_step(streams: Sequence[Iterable[Tensor]]) -> Iterator[Tensor]:
    """Stack the blocks of several signals of the same total length.

    Args:
        streams: for each of M signals, consecutive blocks. The blocks of the signals have different lengths.

    Shape:
        blocks [..., n] -> [M, ..., m]. The lengths n and m differ.

    Yields:
        Consecutive blocks of all signals at the same positions in time.
    """
    iterators = [iter(stream) for stream in streams]
    blocks: list[Tensor | None] = [None for _ in iterators]
    while True:
        for number, iterator in enumerate(iterators):
            while (block := blocks[number]) is None or not block.shape[-1]:
                blocks[number] = next(iterator, None)
                if blocks[number] is None:
                    return
        present = [block for block in blocks if block is not None]
        samples = min(block.shape[-1] for block in present)
        yield torch.stack([block[..., :samples] for block in present])
        blocks = [block[..., samples:] for block in present]
