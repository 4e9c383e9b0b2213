"""Batches: random chunks for training, whole tracks for validation and scoring.

A training batch leaves the loader as gathered rows, or as the bare draw where the samples lie on the device. On the device it
becomes a batch of float32: scaled, augmented, summed to targets.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unbraid.data.augmentation import Augmentation
from unbraid.data.banks import Bank, DeviceBank
from unbraid.data.sampler import ChunkSampler
from unbraid.data.store import StoredTrack
from unbraid.data.tracks import MIXTURE


class Batch(NamedTuple):
    """Chunks of tracks, or one whole track.

    Args:
        mixture: of the chunks.
        sources: the targets.
        by_difference: for each target, whether it is known as a waveform only by what the mixture has more than the rest,
            so that its magnitudes are those of the mixture less those of the rest.
        beside: what else is known of the chunks, see `SideInfo`.

    Shape:
        mixture [B, C, T], sources [B, targets, C, T], by_difference [targets].
    """

    mixture: Tensor
    sources: Tensor
    magnitude_difference: tuple[bool, ...]
    beside: Any = None


class SideInfo(Protocol):
    """What somebody knows of tracks at every moment of them, such as their pitch."""

    def gather(self, tracks: Tensor, starts: Tensor, samples: int) -> Any:
        """Of chunks of so many samples: a tuple of tensors [B, …]. Shape: tracks, starts [B]."""


class RawBatch(NamedTuple):
    """What the loader hands on. Shape: rows, see `Bank`, [B, R, C, T] or None, tracks and starts [B, R]."""

    step: int
    rows: Tensor | None
    tracks: Tensor
    starts: Tensor


class ChunkBatches(Dataset[RawBatch]):
    """The chunks of each step.

    Args:
        sampler: says which.
        rows: of the bank; a mixture row goes with the first source's draw.
        bank: gathers them here; None leaves that to the device.
    """

    def __init__(self, sampler: ChunkSampler, rows: Sequence[str], bank: Bank | None) -> None:
        self.sampler, self.bank = sampler, bank
        sources = [row for row in rows if row != MIXTURE]
        self.columns = [0 if row == MIXTURE else sources.index(row) for row in rows]

    def __getitem__(self, step: int) -> RawBatch:
        tracks, starts = (torch.from_numpy(part[:, self.columns]) for part in self.sampler.draw(step))
        rows = None if self.bank is None else self.bank.gather(tracks, starts)
        return RawBatch(step, rows, tracks, starts)


class BatchMixer:
    """Makes training batches on the device.

    Args:
        tracks: of the training split.
        rows: that are gathered: the mixture and the sources that the targets need; or all sources, of which mixtures are made.
        targets: weights over the sources among the rows [targets, sources].
        magnitude_difference: see `Batch`.
        augmentation: what changes the sources, in this order; the mixture is always their sum.
        sample_rate: in Hz.
        seed: of the run.
        rank: of this process.
        bank: gathers on the device; None where the loader has done it.
        beside: what else batches say of their chunks: of the first source's, where each has its own.
    """

    def __init__(
        self,
        tracks: Sequence[StoredTrack],
        rows: Sequence[str],
        targets: Tensor,
        magnitude_difference: tuple[bool, ...],
        augmentation: Mapping[str, Augmentation],
        sample_rate: int,
        seed: int,
        rank: int,
        bank: DeviceBank | None,
        beside: SideInfo | None = None,
    ) -> None:
        self.beside = beside
        self.scales = torch.tensor([track.scale for track in tracks])
        self.has_mixture, self.targets, self.magnitude_difference = MIXTURE in rows, targets, magnitude_difference
        self.augmentation, self.sample_rate, self.bank = augmentation, sample_rate, bank
        self.seed, self.rank = seed, rank

    def __call__(self, chunks: RawBatch) -> Batch:
        # b batch, r row, c channel, n sample
        if chunks.rows is None:
            assert self.bank is not None
            rows = self.bank.gather(chunks.tracks, chunks.starts)
        else:
            rows = chunks.rows
        self.scales = self.scales.to(rows.device)
        floats = rows if rows.is_floating_point() else rows * self.scales[chunks.tracks][..., None, None]
        known = self.beside and self.beside.gather(chunks.tracks[:, 0], chunks.starts[:, 0], rows.shape[-1])
        if self.has_mixture:
            return Batch(floats[:, 0].contiguous(), combine(self.targets, floats[:, 1:]), self.magnitude_difference, known)
        for name, augment in self.augmentation.items():
            floats = augment(floats, self.sample_rate, self._random(name, chunks.step))
        mixture = floats.sum(dim=1)
        return Batch(mixture, combine(self.targets, floats), self.magnitude_difference, known)

    def _random(self, name: str, step: int) -> np.random.Generator:
        """Counter-based like the sampler's, a stream for each name."""
        key = [self.seed, zlib.crc32(name.encode()) + 2**32]  # beyond the sampler's streams
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, step, self.rank]))


class WholeTracks(Dataset[Batch]):
    """One whole track as a batch of one.

    Args:
        tracks: of one split.
        sources: names of the sources over which targets are weights.
        targets: weights [targets, sources].
        magnitude_difference: see `Batch`.
        beside: what else is known of the tracks, by their numbers.
    """

    def __init__(
        self,
        tracks: Sequence[StoredTrack],
        sources: Sequence[str],
        targets: Tensor,
        magnitude_difference: tuple[bool, ...],
        beside: SideInfo | None = None,
    ) -> None:
        self.beside = beside
        used = targets.any(dim=0)
        self.tracks, self.targets, self.magnitude_difference = tracks, targets[:, used], magnitude_difference
        self.rows = [MIXTURE, *(name for name, needed in zip(sources, used.tolist(), strict=True) if needed)]

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> Batch:
        track = self.tracks[index]
        samples = track.tensor(self.rows)[None]
        sources = combine(self.targets, samples[:, 1:])
        known = self.beside and self.beside.gather(torch.tensor([index]), torch.tensor([0]), track.length)
        return Batch(samples[:, 0], sources, self.magnitude_difference, known)


def combine(targets: Tensor, sources: Tensor) -> Tensor:
    """Targets as sums of sources. Shape: [S, R] on the CPU, [B, R, C, T] -> [B, S, C, T]."""
    if not bool((targets.sum(dim=1) == 1).all()):
        return torch.einsum("sr,brcn->bscn", targets.to(sources.device), sources)
    picked = targets.argmax(dim=1).tolist()  # each target is one source: nothing to add
    if picked == list(range(picked[0], picked[0] + len(picked))):
        return sources[:, picked[0] : picked[-1] + 1].contiguous()
    return torch.stack([sources[:, p] for p in picked], dim=1)
