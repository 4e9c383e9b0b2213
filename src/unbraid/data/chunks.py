"""Batches: random chunks for training, whole tracks for validation and scoring.

The data loader returns each training batch as a `RawBatch`, which contains the samples of the chunks. If the samples of all
tracks are already in GPU memory, the raw batch contains only the positions of the chunks.

`BatchMixer` converts each raw batch to a `Batch` of float32 waveforms, on the device of the network. `BatchMixer` also scales
and augments the sources, and computes the mixture and the targets as sums of sources.
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
from unbraid.data.targets import known_targets
from unbraid.data.tracks import MIXTURE


class Batch(NamedTuple):
    """A batch for training (chunks of several tracks) or for validation (one whole track): mixtures and targets.

    Args:
        mixture: waveforms of the mixtures.
        sources: waveforms of the targets.
        magnitude_difference: True or False for each target. Let X be the mixture, and Y the sum of all other sources. If True,
            the data set has no recording of the target. Then `sources` contains the waveform X - Y, and the reference STFT
            magnitudes are max(|X| - |Y|, 0), where |X| and |Y| are the STFT magnitudes of X and Y.
        beside: additional information about the chunks, such as their pitch over time. None if the task does not need
            additional information.
        known: True for each target whose waveform in `sources` is true, False if nobody knows this waveform. Losses and scores
            leave out unknown targets. None: all targets are known.

    Shape:
        mixture: [B, C, T]; sources: [B, targets, C, T]; known: bool [B, targets].
    """

    mixture: Tensor
    sources: Tensor
    magnitude_difference: tuple[bool, ...]
    beside: Any = None
    known: Tensor | None = None


class SideInfo(Protocol):
    """Interface of objects that return additional information about training chunks, such as the pitch over time."""

    def gather(self, tracks: Tensor, starts: Tensor, samples: int) -> Any:
        """Return the additional information, such as the pitch, about the chunks of a batch.

        Args:
            tracks: index of the track of each chunk.
            starts: index of the first sample of each chunk, counted from the start of the track.
            samples: length of the chunks, in samples.

        Shape:
            tracks, starts: int64 [B].

        Returns:
            A tuple of tensors. The first axis of each tensor has length B.
        """


class RawBatch(NamedTuple):
    """A training batch from the data loader, before `BatchMixer` converts the samples to float32 and augments the sources.

    Args:
        step: number of the training step, counted over the whole run.
        rows: samples of the chunks of each example. Each row is the mixture or one source. None if the samples of all tracks
            are in GPU memory, where `BatchMixer` gathers the chunks.
        tracks: index of the track from which each row is taken.
        starts: index of the first sample of each row, counted from the start of the track.
        samples: length T of the chunks, in samples.

    Shape:
        rows: [B, R, C, T], where R is the number of rows of an example; tracks, starts: int64 [B, R].
    """

    step: int
    rows: Tensor | None
    tracks: Tensor
    starts: Tensor
    samples: int


class ChunkBatches(Dataset[RawBatch]):
    """Data set for the loader: the item at index `step` is the raw batch (chunks before augmentation) of this training step.

    Args:
        sampler: object that draws the tracks, the start positions and the length of the chunks of a step.
        rows: names of the waveforms (rows) of an example: `mixture` or names of sources. If the sampler draws only sources, the
            mixture uses the track and the start position that are drawn for the first source.
        bank: object that keeps the samples in RAM or on disk. None if the samples are in GPU memory; the raw batch then
            contains only tracks and start positions.
    """

    def __init__(self, sampler: ChunkSampler, rows: Sequence[str], bank: Bank | None) -> None:
        self.sampler, self.bank = sampler, bank
        sources = [row for row in rows if row != MIXTURE]
        own_column = sampler.holds.shape[1] == len(rows)  # the sampler draws the mixture too
        self.columns = [*range(len(rows))] if own_column else [0 if row == MIXTURE else sources.index(row) for row in rows]

    def __getitem__(self, step: int) -> RawBatch:
        tracks, starts = (torch.from_numpy(part[:, self.columns]) for part in self.sampler.draw(step))
        samples = self.sampler.samples(step)
        rows = None if self.bank is None else self.bank.gather(tracks, starts, samples)
        return RawBatch(step, rows, tracks, starts, samples)


class BatchMixer:
    """Convert each `RawBatch` to a `Batch` on the device of the network. Scale and augment the sources of the chunks.

    Args:
        tracks: tracks of the training split.
        rows: names of the waveforms in a raw batch: either `mixture` and the sources that the targets contain, or all sources
            without `mixture`. In the second case, the mixture is computed as the sum of the sources. If sources are unknown in
            some tracks, the second case has `mixture` as the last row, see `_mixed`.
        targets: weight of each source in each target. The sources are the names in `rows` without `mixture`.
        magnitude_difference: True or False for each target, see `Batch.magnitude_difference`.
        augmentation: augmentations by name, applied in this order. Augmentations are not applied if `mixture` is the first
            row.
        sample_rate: sample rate of the batches, in Hz.
        seed: random seed of the run.
        rank: rank of this process; each rank draws different augmentations.
        bank: object that keeps the samples in GPU memory; None if the raw batches already contain the samples.
        side_info: object that returns additional information about the chunks, such as their pitch. If the sources of an
            example are chunks of different tracks, the information describes the chunk of the first source.
        song_scales: mean and standard deviation of the mixture of each track. Before augmentation, each chunk is normalised by
            the values of the track from which the chunk is taken. None: chunks are not normalised.
        unknown: True for each row that is unknown in a track, in the order of `rows`. None: all sources are known.

    Shape:
        targets: [targets, sources]; song_scales: [2, tracks]; unknown: bool [tracks, rows].
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
        side_info: SideInfo | None = None,
        song_scales: Tensor | None = None,
        unknown: Tensor | None = None,
    ) -> None:
        self.side_info, self.song_scales, self.unknown = side_info, song_scales, unknown
        self.scales = torch.tensor([track.scale for track in tracks])
        self.has_mixture, self.targets, self.magnitude_difference = rows[0] == MIXTURE, targets, magnitude_difference
        self.augmentation, self.sample_rate, self.bank = augmentation, sample_rate, bank
        self.seed, self.rank = seed, rank

    def __call__(self, chunks: RawBatch) -> Batch:
        """Convert a raw batch to float32 mixtures and targets. Augment the sources, unless the raw batch contains mixtures."""
        # b batch, r row, c channel, n sample
        if chunks.rows is None:
            assert self.bank is not None
            rows = self.bank.gather(chunks.tracks, chunks.starts, chunks.samples)
        else:
            rows = chunks.rows
        self.scales = self.scales.to(rows.device)
        floats = rows if rows.is_floating_point() else rows * self.scales[chunks.tracks][..., None, None]
        if self.song_scales is not None:
            self.song_scales = self.song_scales.to(rows.device)
            mean, deviation = self.song_scales[:, chunks.tracks, None, None]
            floats = (floats - mean) / deviation
        extra = self.side_info and self.side_info.gather(chunks.tracks[:, 0], chunks.starts[:, 0], chunks.samples)
        if self.has_mixture:
            mixture, sources, known = floats[:, 0].contiguous(), floats[:, 1:], self._known(chunks, slice(1, None))
        elif self.unknown is None:
            sources, known = self._augmented(floats, chunks.step), None
            mixture = sources.sum(dim=1)
        else:
            mixture, sources, known = self._mixed(floats, chunks)
        known = None if known is None else known_targets(self.targets, ~known)
        return Batch(mixture, combine(self.targets, sources), self.magnitude_difference, extra, known)

    def _known(self, chunks: RawBatch, rows: slice) -> Tensor | None:
        """Return True for each known source of each example; None if all sources of all tracks are known."""
        if self.unknown is None:
            return None
        self.unknown = self.unknown.to(chunks.tracks.device)
        return ~self.unknown[chunks.tracks, torch.arange(self.unknown.shape[1], device=chunks.tracks.device)][:, rows]

    def _mixed(self, floats: Tensor, chunks: RawBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Augment the known sources, and add them to the rest of the mixture, which contains the unknown sources.

        In an example with unknown sources, all rows come from one song. The rest is the mixture minus the known sources. It is
        not augmented. Augmentations such as `Remix` move sources between examples. A source is known after the augmentation
        only if it is known before, and if no unknown source was moved or added to its row. To find such rows, the samples of
        unknown sources are NaN during the augmentation.

        Args:
            floats: waveforms of the sources and the mixture, which is the last row.
            chunks: raw batch with the tracks and the start positions of the rows.

        Shape:
            floats: [B, R + 1, C, T]. Results: mixture [B, C, T], sources [B, R, C, T], known bool [B, R].

        Returns:
            The mixture, the augmented sources (silent if unknown), and the mask of the known sources.
        """
        known = self._known(chunks, slice(None, -1))
        assert known is not None
        sources = floats[:, :-1].masked_fill(~known[..., None, None], 0)
        rest = (floats[:, -1] - sources.sum(dim=1)).masked_fill(known.all(dim=1)[:, None, None], 0)
        if self.augmentation:
            sources = self._augmented(sources.masked_fill(~known[..., None, None], torch.nan), chunks.step)
            known = known & ~sources.isnan().any(dim=(2, 3))
            sources = sources.masked_fill(~known[..., None, None], 0)
        return sources.sum(dim=1) + rest, sources, known

    def _augmented(self, sources: Tensor, step: int) -> Tensor:
        for name, augment in self.augmentation.items():
            sources = augment(sources, self.sample_rate, self._random(name, step))
        return sources

    def _random(self, name: str, step: int) -> np.random.Generator:
        """Return the random generator of the augmentation `name` at a step.

        The generator depends on the seed of the run, the rank, the name and the step.
        """
        key = [self.seed, zlib.crc32(name.encode()) + 2**32]  # the streams of the sampler have smaller numbers
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, step, self.rank]))


class WholeTracks(Dataset[Batch]):
    """Data set whose items are batches of one example: the mixture and the targets of one whole track.

    Args:
        tracks: tracks of one split.
        sources: names of all sources of the data set.
        targets: weight of each source in each target.
        magnitude_difference: True or False for each target, see `Batch.magnitude_difference`.
        side_info: object that returns additional information about each track of `tracks`, such as the pitch.

    Shape:
        targets: [targets, sources].
    """

    def __init__(
        self,
        tracks: Sequence[StoredTrack],
        sources: Sequence[str],
        targets: Tensor,
        magnitude_difference: tuple[bool, ...],
        side_info: SideInfo | None = None,
    ) -> None:
        self.side_info = side_info
        used = targets.any(dim=0)
        self.tracks, self.targets, self.magnitude_difference = tracks, targets[:, used], magnitude_difference
        self.rows = [MIXTURE, *(name for name, needed in zip(sources, used.tolist(), strict=True) if needed)]

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> Batch:
        track = self.tracks[index]
        samples = track.tensor(self.rows)[None]
        sources = combine(self.targets, samples[:, 1:])
        extra = self.side_info and self.side_info.gather(torch.tensor([index]), torch.tensor([0]), track.length)
        unknown = torch.tensor([[row in track.unknown for row in self.rows[1:]]])
        known = known_targets(self.targets, unknown) if unknown.any() else None
        return Batch(samples[:, 0], sources, self.magnitude_difference, extra, known)


def combine(targets: Tensor, sources: Tensor) -> Tensor:
    """Compute the waveforms of the targets as weighted sums of the sources.

    Args:
        targets: weight of each source in each target, a tensor on the CPU.
        sources: waveforms of the sources.

    Shape:
        targets: [targets, sources]; sources: [B, sources, C, T]; the result: [B, targets, C, T].

    Returns:
        The waveforms of the targets, contiguous in memory.
    """
    if not bool((targets.sum(dim=1) == 1).all()):
        return torch.einsum("sr,brcn->bscn", targets.to(sources.device), sources)
    picked = targets.argmax(dim=1).tolist()  # each target is one source
    if picked == list(range(picked[0], picked[0] + len(picked))):
        return sources[:, picked[0] : picked[-1] + 1].contiguous()
    return torch.stack([sources[:, p] for p in picked], dim=1)
