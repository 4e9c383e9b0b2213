"""Lightning data module for all data sets of multitrack songs: from the files on disk to batches.

A layout is an object that lists the tracks in the folder of a data set. The tracks are decoded once, and the result is written
to a folder, the store. Batches are read from the store.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unbraid.audio import ChannelChoice
from unbraid.data.augmentation import Augmentation
from unbraid.data.banks import DeviceBank, HostBank, Residency, choose, size
from unbraid.data.chunks import Batch, BatchMixer, ChunkBatches, RawBatch, SideInfo, WholeTracks
from unbraid.data.collection import TrackCollection
from unbraid.data.loaders import StepLoader, UnsizedLoader, as_it_is, ignore_signals
from unbraid.data.rows import TrainingRows
from unbraid.data.sampler import ChunkSampler, EpochSteps, Sampling, epoch_position
from unbraid.data.silence import SilentChunks
from unbraid.data.statistics import song_scales
from unbraid.data.store import Store, StoredTrack, spell_size
from unbraid.data.targets import target_matrix
from unbraid.data.tracks import MIXTURE, SPLITS, Layout, Listing, OfflineChange, Split, few
from unbraid.runs.errors import InputError, check_counts


class MultitrackData(pl.LightningDataModule):
    """Provide the batches of a multitrack data set: random chunks for training, whole tracks for validation and scoring.

    Args:
        layout: object that knows the folder structure of the data set and lists the tracks in `root`.
        root: folder of the data set.
        download: whether `layout` downloads or renders the data set if `root` does not contain it.
        targets: dictionary from the name of each target to a list of source names, see `target_matrix`.
        sample_rate: sample rate of the batches, in Hz; all tracks are resampled to this rate.
        channels: number of audio channels of the batches.
        surround: conversion of files with more than two channels to stereo, see `unbraid.audio.channels`.
        chunk_seconds: length of a training chunk, in seconds. With `Sampling.shortest_seconds`: of the longest chunk.
        batch_size: number of chunks per step and process.
        chunks_per_track: average number of chunks per training track in an epoch.
        sampling: options for drawing the chunks, see `Sampling`.
        augmentation: augmentations of the training chunks by name, applied in this order. An augmentation that is None is
            skipped.
        offline_augmentation: changes of pitch and tempo, and effects, by name. Each adds a copy of every training track. The
            copies are rendered before training. A change that is None is skipped.
        residency: place of the training samples during a run: `disk`, `host` (RAM), `device` (GPU memory) or `auto`, see
            `banks`.
        num_workers: number of loader processes. 0: the training process gathers the chunks itself, which is fast enough for
            most models.
        num_decode_workers: number of processes that decode tracks into the store. None: as many as the cores and the memory
            allow.
        cache_dir: folder that contains the store of decoded tracks.
        seed: random seed of the sampler and of the augmentations.
        exclude: names of tracks that are not used.

    Raises:
        InputError: an argument is out of range.
    """

    kind = "audio"

    def __init__(
        self,
        layout: Layout,
        root: str,
        download: bool,
        targets: Mapping[str, list[str]],
        sample_rate: int,
        channels: int,
        surround: ChannelChoice,
        chunk_seconds: float,
        batch_size: int,
        chunks_per_track: int,
        sampling: Sampling,
        augmentation: Mapping[str, Augmentation | None],
        offline_augmentation: Mapping[str, OfflineChange | None],
        residency: Residency,
        num_workers: int,
        num_decode_workers: int | None,
        cache_dir: str,
        seed: int,
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__()
        check_counts(batch_size=batch_size, chunks_per_track=chunks_per_track, num_decode_workers=num_decode_workers)
        if num_workers < 0:
            raise InputError("num_workers", "out of range", found=num_workers, expected="at least 0")
        shortest = sampling.shortest_seconds
        if shortest is not None and not 0 < shortest <= chunk_seconds:
            expected = f"a duration in (0, {chunk_seconds:.4g}] s, which ends at chunk_seconds"
            raise InputError("sampling.shortest_seconds", found=f"{shortest:g} s", expected=expected)
        self.shortest_samples = None if shortest is None else max(1, round(shortest * sample_rate))
        for name, folder in {"root": root, "cache_dir": cache_dir}.items():
            if not folder:
                raise InputError(name, "the path is empty", expected="the path of a folder")
        self.root, self.download, self.targets = Path(root).expanduser(), download, targets
        self.chunk_samples, self.chunk_seconds = round(chunk_seconds * sample_rate), chunk_seconds
        self.batch_size, self.chunks_per_track, self.num_workers, self.seed = batch_size, chunks_per_track, num_workers, seed
        self.sampling, self.residency = sampling, residency
        self.augmentation = {name: augment for name, augment in augmentation.items() if augment is not None}
        self.cache_dir = Path(cache_dir).expanduser()
        self.store = Store(self.cache_dir / "store", sample_rate, channels, num_decode_workers, surround)
        changes = [change for change in offline_augmentation.values() if change is not None]
        self.collection = TrackCollection(layout, self.root, download, targets, changes, self.store, exclude)
        self.tracks: list[StoredTrack] = []
        self.mixer: BatchMixer | None = None
        self._place: Residency | None = None
        self._side_info: Callable[[Sequence[StoredTrack]], SideInfo] | None = None
        self._normalise_songs = False

    # From the data set to the store

    def prepare_data(self) -> None:
        """Download the data set if `download` is set, check its files, and decode its tracks into the store (`cache_dir`).

        Raises:
            InputError: the network is not on a GPU, but `data.residency=device`.
        """
        if self.trainer and self.residency == "device" and self._device().type != "cuda":
            where, hint = "data.residency=device", "Set data.residency=auto"
            raise InputError(where, "the network is not on a GPU", found=self._device().type, expected="cuda", hint=hint)
        self.collection.prepare()

    def setup(self, stage: str) -> None:
        """Open the decoded tracks at the first call. Omit tracks whose mixture and instrumental version are not aligned."""
        if self.tracks:
            return
        self.tracks = self.collection.keep_aligned(self.stored())
        self.collection.check_splits(self.tracks, SPLITS)

    def stored(self) -> list[StoredTrack]:
        """Return all tracks, also excluded tracks whose files are not aligned, and all copies by offline augmentation."""
        return self.collection.open(progress=False)

    def whole(self, split: Split, sample_rate: int, channels: int, progress: bool = False) -> list[StoredTrack]:
        """Return the whole tracks of one split for scoring. Tracks of other splits are not decoded.

        Args:
            split: split to open.
            sample_rate: sample rate of the tracks, in Hz.
            channels: number of audio channels of the tracks.
            progress: whether a progress bar is shown while tracks are decoded.

        Returns:
            The tracks of the split, without copies by offline augmentation, and without tracks whose mixture and instrumental
            are not aligned.
        """
        return self.collection.open_split(split, sample_rate, channels, progress)

    def listing(self) -> Listing:
        """List the tracks of the data set, and the errors that the user must resolve. Audio files are not decoded."""
        return self.collection.listing()

    def check(self, listing: Listing, splits: Sequence[Split]) -> None:
        """Raise an InputError if the listed tracks cannot be used, for example because one of `splits` is empty."""
        self.collection.check(listing, splits)

    def notices(self) -> list[str]:
        """Return one line for each message about files, and one line for each kind of change by decoding, such as padding."""
        return self.collection.notices(self.tracks)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Return a dictionary from the name of each excluded track to the reason why the track is excluded."""
        return self.collection.left_out

    @property
    def messages(self) -> Sequence[str]:
        """Return the messages of the layout about the files of the data set, such as files that are not used."""
        return self.collection.messages

    @property
    def sources(self) -> list[str]:
        """Return the names of all sources of the data set, sorted; empty before the tracks are listed."""
        return self.collection.sources

    def split(self, split: Split) -> list[StoredTrack]:
        """Return the tracks of one split, in a fixed order."""
        return [track for track in self.tracks if track.split == split]

    def target_weights(self) -> Tensor:
        """Return the weight of each source in each target. Shape: [targets, sources]."""
        return target_matrix(self.targets, self.sources)

    def magnitude_difference(self) -> tuple[bool, ...]:
        """Return True for each target that is the mixture minus all other sources, see `Batch.magnitude_difference`."""
        residual = [source == self.tracks[0].residual for source in self.sources]
        return tuple((weights > 0).tolist() == residual for weights in self.target_weights())

    # From the store to batches

    @property
    def steps_per_epoch(self) -> int:
        """Number of training batches of an epoch."""
        return self.sampler().steps_per_epoch

    def train_dataloader(self) -> DataLoader[RawBatch]:
        """Return the loader of the training chunks. Create the `BatchMixer` that converts chunks to batches on the device."""
        rows, sampler, place, chunk = self.rows(), self.sampler(), self.place(), self.chunk_samples
        tracks, names = rows.tracks, rows.names
        on_device = DeviceBank(tracks, names, chunk, self._device()) if place == "device" else None
        bank = None if on_device else HostBank(tracks, names, place == "host", self._device().type == "cpu")
        weights = rows.weights([name for name in names if name != MIXTURE])
        self.mixer = BatchMixer(
            tracks, names, weights, self.magnitude_difference(), self.augmentation, self.store.sample_rate, self.seed,
            sampler.rank, on_device, self._side_info_of(tracks), self._song_scales(tracks), rows.unknown,
        )  # fmt: skip
        steps = EpochSteps(sampler.steps_per_epoch, lambda: epoch_position(self.trainer))
        return self._loader(ChunkBatches(sampler, names, bank), steps, 0 if on_device else self.num_workers, StepLoader)

    def on_after_batch_transfer(self, batch: Batch | RawBatch, dataloader_idx: int = 0) -> Batch:
        """Convert a raw training batch to a `Batch` on the device; validation batches are returned unchanged."""
        if isinstance(batch, Batch):
            return batch
        assert self.mixer is not None
        return self.mixer(batch)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of the validation tracks that this process validates.

        If there are more processes than tracks, some processes get no track. Lightning would skip validation on a process whose
        loader has length 0, and the other processes would wait for this process forever. Therefore, if there are more processes
        than tracks, the result is an `UnsizedLoader`: `len()` of this loader raises an error.
        """
        rank, world_size = self._ranks()
        tracks = self.split("valid")
        return self._whole(tracks[rank::world_size], UnsizedLoader if len(tracks) < world_size else StepLoader)

    def in_order(self, split: Split) -> DataLoader[Batch]:
        """Return a loader of all tracks of a split, one whole track per batch."""
        return self._whole(self.split(split))

    def _whole(self, tracks: Sequence[StoredTrack], kind: type[StepLoader] = StepLoader) -> DataLoader[Batch]:
        dataset = WholeTracks(
            tracks, self.sources, self.target_weights(), self.magnitude_difference(), self._side_info_of(tracks)
        )
        return self._loader(dataset, None, self.num_workers, kind)

    def add_side_info(self, function: Callable[[Sequence[StoredTrack]], SideInfo]) -> None:
        """Add information, such as the pitch, to the batches. `function` returns the information about a list of tracks."""
        self._side_info = function

    def _side_info_of(self, tracks: Sequence[StoredTrack]) -> SideInfo | None:
        return None if self._side_info is None else self._side_info(tracks)

    def normalise_songs(self) -> None:
        """Switch on the normalisation of the sources in training batches.

        Each source is normalised by two numbers: the mean and the standard deviation of a mixture. This is the mixture of the
        track from which the source is taken.
        """
        self._normalise_songs = True

    def _song_scales(self, tracks: Sequence[StoredTrack]) -> Tensor | None:
        if not self._normalise_songs:
            return None
        return song_scales(tracks, self.cache_dir / "statistics", progress=self._ranks()[0] == 0)

    def fingerprint(self) -> str:
        """Return a hash of the data set (names, splits, lengths and levels of all tracks): 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for track in sorted(self.tracks, key=lambda track: (track.split, track.name)):
            digest.update(f"{track.split} {track.name} {track.rows} {track.shape} {track.scale}".encode())
            digest.update(f"unknown {track.unknown}".encode() if track.unknown else b"")
            digest.update(f"weight {track.weight}".encode() if track.weight > 1 else b"")
            digest.update(track.levels().tobytes())
        return digest.hexdigest()[:16]

    def check_known(self) -> None:
        """Raise an InputError if a source is unknown in a track: only separators can leave out unknown targets."""
        if track := next((track for track in self.tracks if track.unknown), None):
            problem = f"the sources {few(track.unknown)} are unknown, but this model needs all sources"
            hint = "Set data.layout.missing=silence, or train a separator."
            raise InputError(track.name, problem, hint=hint)

    def labels(self) -> list[str]:
        """Return the names of the targets, in the order of `Batch.sources`."""
        return list(self.targets)

    def sampler(self) -> ChunkSampler:
        """Return the sampler that draws the training chunks of this process."""
        rows = self.rows()
        tracks, drawn, below_db = rows.tracks, rows.drawn, self.sampling.skip_below_db
        silent = None
        if below_db is not None:
            silent = SilentChunks(tracks, drawn, rows.weights(drawn), self.store.sample_rate, below_db)
        return ChunkSampler(
            self.seed, [track.length for track in tracks], rows.holds(drawn), self.chunk_samples,
            self.batch_size, self.chunks_per_track, self.sampling, silent, *self._ranks(), rows.song_column,
            [track.weight for track in tracks], self.trainer.accumulate_grad_batches if self.trainer else 1,
            self.shortest_samples,
        )  # fmt: skip

    def rows(self) -> TrainingRows:
        """Return the waveforms that are read for a training chunk, and the tracks in which they are known."""
        mixed = bool(self.augmentation or self.sampling.remix)
        return TrainingRows(self.split("train"), self.sources, self.target_weights(), mixed)

    def place(self) -> Residency:
        """Return the place of the training samples: `disk`, `host` (RAM) or `device` (GPU memory).

        The place is chosen at the first call.
        """
        if self._place is None:
            processes = self.trainer.world_size // self.trainer.num_nodes if self.trainer else 1
            self._place = choose(self.residency, size(self.split("train"), self.rows().names), self._device(), processes)
        return self._place

    def residence(self) -> str:
        """Return the size and the place of the training samples as text, such as `2.1 GB in RAM`."""
        location = {"disk": "on disk", "host": "in RAM", "device": "in GPU memory"}[self.place()]
        return f"{spell_size(size(self.split('train'), self.rows().names))} {location}"

    def _loader(
        self, dataset: Dataset[Any], steps: EpochSteps | None, num_workers: int, kind: type[StepLoader]
    ) -> DataLoader[Any]:
        return kind(
            dataset,
            batch_size=None,
            sampler=steps,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=self._device().type == "cuda",
            collate_fn=as_it_is,
            worker_init_fn=ignore_signals,
        )

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _ranks(self) -> tuple[int, int]:
        """Return the rank of this process, and the number of processes of the run."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
