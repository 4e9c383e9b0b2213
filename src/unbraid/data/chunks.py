"""Batches gathered from the store: random chunks for training, whole tracks for validation and scoring."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unbraid.data.sampler import ChunkSampler
from unbraid.data.store import StoredTrack


class Batch(NamedTuple):
    """Chunks of tracks, or one whole track.

    Shape:
        mixture [B, C, T], sources [B, targets, C, T], peak [B]: the largest absolute sample of the whole track's mixture.
    """

    mixture: Tensor
    sources: Tensor
    peak: Tensor


class ChunkBatches(Dataset[Batch]):
    """The batch of each step, gathered by copies out of the memory map; nothing is decoded.

    Args:
        tracks: the tracks of the training split.
        targets: weights over the tracks' sources [targets, sources], from `target_matrix`.
        sampler: what to gather.
    """

    def __init__(self, tracks: Sequence[StoredTrack], targets: Tensor, sampler: ChunkSampler) -> None:
        self.tracks, self.sampler = tracks, sampler
        used = targets.any(dim=0)
        self.targets = targets[:, used]
        # Rows that no target needs are never touched: half of the reading when the target is one stem of four.
        self.rows = [0, *(1 + i for i in torch.nonzero(used).flatten().tolist())]

    def __getitem__(self, step: int) -> Batch:
        indices, starts = self.sampler.draw(step)
        chunk, channels = self.sampler.chunk, self.tracks[0].samples.shape[1]
        gathered = np.zeros((len(indices), len(self.rows), channels, chunk), np.int16)
        for out, index, start in zip(gathered, indices, starts, strict=True):
            samples = self.tracks[index].samples
            stop = min(start + chunk, samples.shape[-1])
            for to, row in enumerate(self.rows):
                out[to, :, : stop - start] = samples[row, :, start:stop]
        chosen = [self.tracks[i] for i in indices]
        return _batch(torch.from_numpy(gathered), chosen, self.targets)


class WholeTracks(Dataset[Batch]):
    """One whole track as a batch of one. Arguments as `ChunkBatches`."""

    def __init__(self, tracks: Sequence[StoredTrack], targets: Tensor) -> None:
        self.tracks, self.targets = tracks, targets

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> Batch:
        track = self.tracks[index]
        return _batch(torch.from_numpy(np.asarray(track.samples).copy())[None], [track], self.targets)


def _batch(gathered: Tensor, tracks: Sequence[StoredTrack], targets: Tensor) -> Batch:
    # b batch, s target, r source row, c channel, n sample
    scales = torch.tensor([track.scale for track in tracks])
    floats = gathered.float().mul_(scales.view(-1, 1, 1, 1))
    sources = floats[:, 1:] if _is_identity(targets) else torch.einsum("sr,brcn->bscn", targets, floats[:, 1:])
    return Batch(floats[:, 0], sources, torch.tensor([track.peak for track in tracks]))


def _is_identity(targets: Tensor) -> bool:
    return targets.shape[0] == targets.shape[1] and bool((targets == torch.eye(len(targets))).all())
