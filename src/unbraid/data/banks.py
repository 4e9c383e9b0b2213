"""Banks: where the samples of the training tracks lie while a run lasts, and how chunks are gathered from there.

On `disk` each chunk is read from the store's files, which the kernel keeps in its cache and all runs of a machine share; memory
does not grow with the data set. `host` has all samples in RAM; `device` has them in the memory of the GPU, where a batch is one
indexed operation.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol

import numpy as np
import psutil
import torch
from torch import Tensor

from unbraid.audio.buffers import BufferPool
from unbraid.data.store import StoredTrack, spell_size
from unbraid.data.tracks import MIXTURE
from unbraid.runs.errors import InputError

Residency = Literal["auto", "disk", "host", "device"]
# What `auto` leaves to the network and to everything else.
SHARE_OF_DEVICE, SHARE_OF_HOST = 0.6, 0.5


class Bank(Protocol):
    """Samples of some rows of some tracks."""

    def gather(self, tracks: Tensor, starts: Tensor) -> Tensor:
        """Chunks, silent beyond the ends of the tracks.

        Shape:
            tracks, starts [B, R] -> [B, R, channels, chunk], for the R rows of the bank; int16, or float32 already scaled.
        """


class HostBank:
    """In RAM, or on disk and read anew for each chunk.

    Args:
        tracks: of the training split.
        names: the rows to gather, mixture or sources; a track that lacks one is never asked for it.
        chunk: length of a chunk in samples.
        load: read everything now.
        scaled: give float32: for a network on the CPU this is one pass over memory less; a GPU is sent half the bytes.
    """

    def __init__(self, tracks: Sequence[StoredTrack], names: Sequence[str], chunk: int, load: bool, scaled: bool) -> None:
        self.tracks, self.chunk, self.channels = tracks, chunk, tracks[0].shape[1]
        self.rows = [[_row(track, name) for name in names] for track in tracks]
        self.loaded = [_rows(track, names) for track in tracks] if load else None
        self.has_mixture = MIXTURE in names
        self.dtype, self.memory = np.float32 if scaled else np.int16, BufferPool(kept=4)

    def gather(self, tracks: Tensor, starts: Tensor) -> Tensor:
        batch, rows = tracks.shape
        if self.has_mixture:  # row by row in memory, so that mixtures and targets are whole tensors without a copy
            out = self.memory.take((rows, batch, self.channels, self.chunk), self.dtype).swapaxes(0, 1)
        else:
            out = self.memory.take((batch, rows, self.channels, self.chunk), self.dtype)
        jobs = zip(out, tracks.tolist(), starts.tolist(), strict=True)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # reading and scaling need no interpreter
            list(pool.map(self._gather_chunk, jobs))
        return torch.from_numpy(out)

    def _gather_chunk(self, job: tuple[np.ndarray, list[int], list[int]]) -> None:
        """Shape: out [R, channels, chunk]."""
        out, tracks, starts = job
        for column, (track, start) in enumerate(zip(tracks, starts, strict=True)):
            scale = self.tracks[track].scale if self.dtype is np.float32 else 1
            stop = min(start + self.chunk, self.tracks[track].length)
            for samples, channel in zip(self._read(track, column, start, stop), out[column], strict=True):
                np.multiply(samples, self.dtype(scale), out=channel[: stop - start])
                channel[stop - start :] = 0

    def _read(self, track: int, column: int, start: int, stop: int) -> Iterable[np.ndarray]:
        """One row of a track, channel by channel."""
        if self.loaded is not None:
            return self.loaded[track][column, :, start:stop]
        return self.tracks[track].read(self.rows[track][column], start, stop)


class DeviceBank:
    """One tensor of all tracks, end to end, in the memory of a device. Arguments as `HostBank`."""

    def __init__(self, tracks: Sequence[StoredTrack], names: Sequence[str], chunk: int, device: torch.device) -> None:
        spans = [max(track.length, chunk) for track in tracks]  # a chunk of a short track must end in silence
        offsets = np.cumsum([0, *spans])
        self.samples = torch.zeros((len(names), tracks[0].shape[1], int(offsets[-1])), dtype=torch.int16, device=device)
        for track, offset in zip(tracks, offsets.tolist(), strict=False):
            self.samples[..., offset : offset + track.length] = torch.from_numpy(_rows(track, names)).to(device)
        self.chunk = chunk
        self.offsets = torch.from_numpy(offsets).to(device)
        self.rows = torch.arange(len(names), device=device)

    def gather(self, tracks: Tensor, starts: Tensor) -> Tensor:
        # Every window of the bank as a view: indexing it copies the chunks and nothing else.
        return self.samples.unfold(-1, self.chunk, 1)[self.rows, :, self.offsets[tracks] + starts]


def _row(track: StoredTrack, name: str) -> int:
    return track.row(name) if name in (*track.rows, MIXTURE) else -1


def _rows(track: StoredTrack, names: Sequence[str]) -> np.ndarray:
    """Copied to memory; what the track lacks is silent. Shape: [names, channels, samples]."""
    samples = track.samples
    rows = [_row(track, name) for name in names]
    return np.stack([samples[row] if row >= 0 else np.zeros_like(samples[0]) for row in rows])


def size(tracks: Sequence[StoredTrack], names: Sequence[str]) -> int:
    """Bytes of the rows that are needed."""
    return sum(len(names) * track.shape[1] * track.length * 2 for track in tracks)


def choose(asked: Residency, needed: int, device: torch.device, processes: int) -> Residency:
    """Where samples of `needed` bytes shall lie: what is asked for; for `auto` the first of device, host, disk that holds them.

    Args:
        asked: by the config.
        needed: in bytes.
        device: of the network.
        processes: of this run on this machine, each of which has samples of its own.

    Raises:
        InputError: what is asked for cannot hold them.
    """
    free = {"host": psutil.virtual_memory().available // processes, "device": 0}
    if device.type == "cuda":
        free["device"] = torch.cuda.mem_get_info(device)[0]
    if asked == "auto":
        places: tuple[tuple[Residency, float], ...] = (("device", SHARE_OF_DEVICE), ("host", SHARE_OF_HOST))
        return next((place for place, share in places if needed <= share * free[place]), "disk")
    if asked != "disk" and needed > free[asked]:
        raise InputError(
            f"data.residency={asked}: the samples need {spell_size(needed)}, and {spell_size(free[asked])} are "
            "free; use auto or disk"
        )
    return asked
