"""The DataModule: from a layout on disk to batches, for every data set alike."""

from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader

from unbraid.data.chunks import Batch, ChunkBatches, WholeTracks
from unbraid.data.sampler import ChunkSampler, EpochSteps
from unbraid.data.store import Store, StoredTrack
from unbraid.data.tracks import SPLITS, Layout, Split, target_matrix
from unbraid.errors import InputError


class MultitrackData(pl.LightningDataModule):
    """Train on random chunks, validate and score on whole tracks.

    Args:
        layout: lists the tracks under `root`.
        root: folder of the data set.
        download: let the layout make or download the data set where `root` does not hold it.
        targets: name of each target and the sources it sums, see `target_matrix`.
        sample_rate: of the batches, in Hz; the store resamples to it.
        channels: of the batches.
        chunk_seconds: length of a training chunk.
        batch_size: chunks per step and process.
        chunks_per_track: how many chunks an epoch draws, times the number of training tracks.
        workers: loader processes; 0 gathers in the training process, which is enough for most models.
        cache_dir: folder of the store.
        seed: of the sampler.
    """

    def __init__(
        self,
        layout: Layout,
        root: str,
        download: bool,
        targets: Mapping[str, list[str]],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        batch_size: int,
        chunks_per_track: int,
        workers: int,
        cache_dir: str,
        seed: int,
    ) -> None:
        super().__init__()
        least = {"batch_size": 1, "chunks_per_track": 1, "workers": 0}
        for name, value in {"batch_size": batch_size, "chunks_per_track": chunks_per_track, "workers": workers}.items():
            if value < least[name]:
                raise InputError(f"{name} must be at least {least[name]}, found {value}")
        for name, folder in {"root": root, "cache_dir": cache_dir}.items():
            if not folder:
                raise InputError(f"{name} is empty, expected a folder")
        self.layout, self.root, self.download = layout, Path(root).expanduser(), download
        self.targets, self.chunk_samples = targets, round(chunk_seconds * sample_rate)
        self.batch_size, self.chunks_per_track, self.workers, self.seed = batch_size, chunks_per_track, workers, seed
        self.store = Store(Path(cache_dir).expanduser() / "store", sample_rate, channels)
        self.tracks: list[StoredTrack] = []

    def prepare_data(self) -> None:
        """Fetch the data set if asked to, and fill the store; what can be said before decoding is said before."""
        if self.download:
            self.layout.fetch(self.root)
        if not self.root.is_dir():
            raise InputError(f"data.root={self.root}: no such folder")
        tracks = self.layout.tracks(self.root)
        for split in SPLITS:
            if not any(track.split == split for track in tracks):
                raise InputError(f"data.root={self.root}: has no tracks in its {split} split")
        target_matrix(self.targets, sorted(tracks[0].sources))
        self.store.open(tracks)

    def setup(self, stage: str) -> None:
        if not self.tracks:
            self.tracks = self.store.open(self.layout.tracks(self.root), progress=False)

    def split(self, split: Split) -> list[StoredTrack]:
        """The tracks of one split, in a fixed order."""
        return [track for track in self.tracks if track.split == split]

    def target_weights(self) -> Tensor:
        """Shape: [targets, sources]."""
        return target_matrix(self.targets, self.tracks[0].sources)

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, world_size = self._ranks()
        tracks = self.split("train")
        lengths = [track.length for track in tracks]
        sampler = ChunkSampler(self.seed, lengths, self.chunk_samples, self.batch_size, rank, world_size)
        steps = max(1, self.chunks_per_track * len(tracks) // (self.batch_size * world_size))
        return self._loader(ChunkBatches(tracks, self.target_weights(), sampler), EpochSteps(steps))

    def val_dataloader(self) -> DataLoader[Batch]:
        rank, world_size = self._ranks()
        return self._loader(WholeTracks(self.split("valid")[rank::world_size], self.target_weights()), None)

    def _loader(self, dataset: ChunkBatches | WholeTracks, steps: EpochSteps | None) -> DataLoader[Batch]:
        return DataLoader(
            dataset, batch_size=None, sampler=steps, num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )  # fmt: skip

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
