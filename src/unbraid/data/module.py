"""The DataModule: from a layout on disk to batches, for every data set alike."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unbraid.audio import ChannelChoice
from unbraid.data import excluded_tracks, listings
from unbraid.data.augmentation import Augmentation
from unbraid.data.banks import DeviceBank, HostBank, Residency, choose, size
from unbraid.data.chunks import Batch, BatchMixer, ChunkBatches, RawBatch, SideInfo, WholeTracks
from unbraid.data.loaders import StepLoader, UnsizedLoader, as_it_is, ignore_signals
from unbraid.data.roots import places_in, remember
from unbraid.data.sampler import ChunkSampler, EpochSteps, Sampling, epoch_position
from unbraid.data.silence import SilentChunks
from unbraid.data.store import Store, StoredTrack, spell_size
from unbraid.data.stretch import Stretch
from unbraid.data.targets import target_matrix
from unbraid.data.tracks import MIXTURE, SPLITS, Layout, Listing, Split, Track
from unbraid.runs.errors import InputError, check_counts


class MultitrackData(pl.LightningDataModule):
    """Train on random chunks, validate and score on whole tracks.

    Args:
        layout: lists the tracks under `root`.
        root: folder of the data set.
        download: let the layout make or download the data set where `root` does not hold it.
        targets: name of each target and the sources it sums, see `target_matrix`.
        sample_rate: of the batches, in Hz; the store resamples to it.
        channels: of the batches.
        surround: how stereo is made of files with more than two channels, see `unbraid.audio.channels`.
        chunk_seconds: length of a training chunk.
        batch_size: chunks per step and process.
        chunks_per_track: how many chunks an epoch draws, times the number of training tracks.
        sampling: how they are drawn.
        augmentation: what changes the sources of training chunks, in this order, by name; None leaves one out.
        offline_augmentation: versions of every training track at other pitches and tempos, rendered into the store, by name;
            None removes one.
        residency: where the training samples lie while a run lasts: `disk`, `host`, `device`, or the fastest that holds them.
        num_workers: loader processes; 0 gathers in the training process, which is enough for most models.
        num_decode_workers: processes that fill the store; None: as many as there are cores and as memory holds.
        cache_dir: folder of the store.
        seed: of the sampler.
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
        offline_augmentation: Mapping[str, Stretch | None],
        residency: Residency,
        num_workers: int,
        num_decode_workers: int | None,
        cache_dir: str,
        seed: int,
    ) -> None:
        super().__init__()
        check_counts(batch_size=batch_size, chunks_per_track=chunks_per_track, num_decode_workers=num_decode_workers)
        if num_workers < 0:
            raise InputError(f"num_workers must be at least 0, found {num_workers}")
        _check_folders(root=root, cache_dir=cache_dir)
        self.layout, self.root, self.download = layout, Path(root).expanduser(), download
        self.targets, self.chunk_samples, self.chunk_seconds = targets, round(chunk_seconds * sample_rate), chunk_seconds
        self.batch_size, self.chunks_per_track, self.num_workers, self.seed = batch_size, chunks_per_track, num_workers, seed
        self.sampling, self.offline_augmentation, self.residency = (
            sampling,
            [copy for copy in offline_augmentation.values() if copy is not None],
            residency,
        )
        self.augmentation = {name: augment for name, augment in augmentation.items() if augment is not None}
        self.cache_dir = Path(cache_dir).expanduser()
        self.store = Store(self.cache_dir / "store", sample_rate, channels, num_decode_workers, surround)
        self.opened: list[StoredTrack] | None = None
        self.tracks: list[StoredTrack] = []
        self.names: list[str] = []
        self.left_out: dict[str, str] = {}
        self.messages: list[str] = []
        self.own_splits = False
        self.mixing: BatchMixer | None = None
        self.placed: Residency | None = None
        self._side_info: Callable[[Sequence[StoredTrack]], SideInfo] | None = None

    # From the disk to the store

    def prepare_data(self) -> None:
        """Fetch the data set if asked to, and fill the store; what can be said before decoding is said before."""
        if self.trainer and self.residency == "device" and self._device().type != "cuda":
            raise InputError(f"data.residency=device: the network runs on {self._device().type}, expected a GPU; use auto")
        if self.opened is None:
            self._fetch()
        self._open(progress=True)

    def setup(self, stage: str) -> None:
        if self.tracks:
            return
        self.tracks = self._aligned(self.stored())
        self._check_splits(self.tracks, SPLITS)

    def stored(self) -> list[StoredTrack]:
        """Every track, of every split, with the copies, and with those that are left out because they are not aligned."""
        return self._open(progress=False)

    def whole(self, split: Split, sample_rate: int, channels: int, progress: bool = False) -> list[StoredTrack]:
        """The tracks of one split at any rate, to score them; the other splits are not decoded for it.

        Raises:
            InputError: see `prepare_data`; or the split has no tracks.
        """
        self._fetch()
        tracks = [track for track in self._list([split]) if track.split == split and track.stretch is None]
        stored = self._aligned(self.store.at(sample_rate, channels).open(tracks, progress))
        self._remember()
        self._check_splits(stored, [split])
        return stored

    def _remember(self) -> None:
        """Keep the folders that were read, see `roots`."""
        remember([str(self.root), *places_in(listings.options_of(self.layout))])

    def _open(self, progress: bool) -> list[StoredTrack]:
        if self.opened is None:  # Lightning asks again for what a command has asked for
            self.opened = self.store.open(self._list(SPLITS), progress)
            self._remember()
            self._aligned(self.opened)
        return self.opened

    def _aligned(self, tracks: Sequence[StoredTrack]) -> list[StoredTrack]:
        """Without the pairs that are not, which count as left out."""
        apart = (track.name for track in tracks if not track.aligned)
        self.left_out |= dict.fromkeys(apart, excluded_tracks.NOT_ALIGNED)
        return [track for track in tracks if track.aligned]

    def listing(self) -> Listing:
        """List the tracks under the root, those included that a user must resolve something in. Nothing is decoded."""
        return listings.list_tracks(self.layout, self.root)

    def _list(self, splits: Sequence[Split]) -> list[Track]:
        """All tracks of the data set, with the copies, of which these splits must not be empty."""
        listing = self.listing()
        self.check(listing, splits)
        train = [track for track in listing.tracks if track.split == "train"]
        return listing.tracks + [
            replace(track, name=f"{track.name} ({copy.name})", stretch=copy)
            for copy in self.offline_augmentation
            for track in train
        ]

    def check(self, listing: Listing, splits: Sequence[Split]) -> None:
        """Check that a listing can be used.

        Raises:
            InputError: the listing has errors, one of these splits is empty, or targets name a source that is not there.
        """
        self.left_out |= listing.left_out
        self.messages, self.own_splits = [*listing.messages], listing.own_splits
        listings.check_refused(listing)
        self._check_splits(listing.tracks, splits)
        self.names = sources = listings.sources_of(listing.tracks)
        target_matrix(self.targets, sources)
        for track in listing.tracks:
            if track.split != "train" and (lacking := {*sources} - {*track.source_names}):
                raise InputError(f"{track.name}: has no source '{min(lacking)}', which other tracks have")

    def _fetch(self) -> None:
        if self.download:
            try:
                self.layout.fetch(self.root)
            except InputError as error:
                raise listings.error_of_layout(error, self.layout, self.root) from error

    def _check_splits(self, tracks: Sequence[Track | StoredTrack], splits: Sequence[Split]) -> None:
        counts = {split: sum(track.split == split for track in tracks) for split in SPLITS}
        for split in splits:
            if not counts[split]:
                drawn = "valid" in listings.options_of(self.layout) and not self.own_splits
                raise listings.empty_split(self.root, split, counts, drawn, self.left_out)

    def notices(self) -> list[str]:
        """Return a line for each message of the layout, and for each kind of repair that decoding made."""
        return [listings.without_root(message, self.root) for message in self.messages] + listings.repair_notices(self.tracks)

    def split(self, split: Split) -> list[StoredTrack]:
        """The tracks of one split, in a fixed order."""
        return [track for track in self.tracks if track.split == split]

    @property
    def sources(self) -> list[str]:
        """Of the whole data set, sorted; known once it has been listed."""
        return self.names

    def target_weights(self) -> Tensor:
        """Shape: [targets, sources]."""
        return target_matrix(self.targets, self.sources)

    def _weights_over(self, sources: Sequence[str]) -> Tensor:
        return self.target_weights()[:, [self.sources.index(source) for source in sources]]

    def magnitude_difference(self) -> tuple[bool, ...]:
        """Of each target, see `Batch`."""
        residual = [source == self.tracks[0].residual for source in self.sources]
        return tuple((weights > 0).tolist() == residual for weights in self.target_weights())

    # From the store to batches

    def train_dataloader(self) -> DataLoader[RawBatch]:
        tracks, sampler, rows = self.split("train"), self.sampler(), self.rows()
        place, chunk = self.place(), self.chunk_samples
        on_device = DeviceBank(tracks, rows, chunk, self._device()) if place == "device" else None
        bank = None if on_device else HostBank(tracks, rows, chunk, place == "host", self._device().type == "cpu")
        weights = self._weights_over([row for row in rows if row != MIXTURE])
        self.mixing = BatchMixer(
            tracks, rows, weights, self.magnitude_difference(), self.augmentation, self.store.sample_rate, self.seed,
            sampler.rank, on_device, self._side_info_of(tracks),
        )  # fmt: skip
        steps = EpochSteps(sampler.steps_per_epoch, lambda: epoch_position(self.trainer))
        return self._loader(ChunkBatches(sampler, rows, bank), steps, 0 if on_device else self.num_workers, StepLoader)

    def on_after_batch_transfer(self, batch: Batch | RawBatch, dataloader_idx: int = 0) -> Batch:
        """Makes chunks that have come to the device a batch."""
        if isinstance(batch, Batch):
            return batch
        assert self.mixing is not None
        return self.mixing(batch)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Some processes have no track if there are more processes than tracks.

        Lightning skips validation on a process whose loader has length zero, and the others would wait for it for ever. So all
        processes get a loader of unknown length then.
        """
        rank, world_size = self._ranks()
        tracks = self.split("valid")
        return self._whole(tracks[rank::world_size], UnsizedLoader if len(tracks) < world_size else StepLoader)

    def in_order(self, split: Split) -> DataLoader[Batch]:
        """Every track of a split, whole, a batch each."""
        return self._whole(self.split(split))

    def _whole(self, tracks: Sequence[StoredTrack], kind: type[StepLoader] = StepLoader) -> DataLoader[Batch]:
        dataset = WholeTracks(
            tracks, self.sources, self.target_weights(), self.magnitude_difference(), self._side_info_of(tracks)
        )
        return self._loader(dataset, None, self.num_workers, kind)

    def add_side_info(self, function: Callable[[Sequence[StoredTrack]], SideInfo]) -> None:
        """Add to each batch what the function knows of its tracks, such as their pitch."""
        self._side_info = function

    def _side_info_of(self, tracks: Sequence[StoredTrack]) -> SideInfo | None:
        return None if self._side_info is None else self._side_info(tracks)

    def fingerprint(self) -> str:
        """Of what the tracks sound like, whichever machine they lie on: names, splits, lengths, and levels of every 100 ms."""
        found = hashlib.sha256()
        for track in sorted(self.tracks, key=lambda track: (track.split, track.name)):
            found.update(f"{track.split} {track.name} {track.rows} {track.shape} {track.scale}".encode())
            found.update(track.levels().tobytes())
        return found.hexdigest()[:16]

    def labels(self) -> list[str]:
        """Of what a batch has for each track: the targets."""
        return list(self.targets)

    def sampler(self) -> ChunkSampler:
        """Of this process."""
        tracks = self.split("train")
        sources = [row for row in self.rows() if row != MIXTURE]
        silent = None
        if self.sampling.skip_below_db is not None:
            weights = self._weights_over(sources)
            silent = SilentChunks(
                tracks, sources, weights, self.chunk_seconds, self.store.sample_rate, self.sampling.skip_below_db
            )
        return ChunkSampler(
            self.seed, [track.length for track in tracks], self._holds(sources), self.chunk_samples,
            self.batch_size, self.chunks_per_track, self.sampling, silent, *self._ranks(),
        )  # fmt: skip

    def rows(self) -> list[str]:
        """What is gathered for training: the mixture and what targets need, or all sources where mixtures are made of them."""
        # Those of the targets come first, in the targets' order: targets that are sources are then a view and no copy.
        weights = self.target_weights()
        used = list(dict.fromkeys(self.sources[i] for row in weights for i in torch.nonzero(row).flatten().tolist()))
        if self.augmentation or self.sampling.remix or not self._holds(self.sources).all():
            return [*used, *(source for source in self.sources if source not in used)]
        return [MIXTURE, *used]

    def _holds(self, sources: Sequence[str]) -> np.ndarray:
        return np.array([[source in track.sources for source in sources] for track in self.split("train")])

    def place(self) -> Residency:
        """Where the training samples lie; chosen once, for what is free changes with every answer."""
        if self.placed is None:
            processes = self.trainer.world_size // self.trainer.num_nodes if self.trainer else 1
            self.placed = choose(self.residency, size(self.split("train"), self.rows()), self._device(), processes)
        return self.placed

    def residence(self) -> str:
        """The same in words."""
        words = {"disk": "on disk", "host": "in RAM", "device": "in GPU memory"}[self.place()]
        return f"{spell_size(size(self.split('train'), self.rows()))} {words}"

    def _loader(
        self, dataset: Dataset[Any], steps: EpochSteps | None, num_workers: int, kind: type[StepLoader]
    ) -> DataLoader[Any]:
        pinned = self._device().type == "cuda"
        return kind(
            dataset,
            batch_size=None,
            sampler=steps,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pinned,
            collate_fn=as_it_is,
            worker_init_fn=ignore_signals,
        )

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def _check_folders(**folders: str) -> None:
    for name, folder in folders.items():
        if not folder:
            raise InputError(f"{name} is empty, expected a folder")
