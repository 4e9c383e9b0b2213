"""Keep the audio samples of the training tracks during a run, and gather random chunks of the tracks into batches.

A bank is an object that keeps these samples. For each track, the bank has rows (waveforms): the mixture and the sources. The
residency of a bank is the place of the samples. There are three residencies:

- `disk`: each chunk is read from the files of decoded tracks. The memory of a process does not grow with the size of the data
  set. The operating system caches the files, and all runs on a machine share this cache.
- `host`: all samples are in RAM.
- `device`: all samples are in GPU memory. One indexing operation returns all chunks of a batch.
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
# Shares of the free GPU memory and of the free RAM that `auto` may use; the rest is for the network and other programs.
SHARE_OF_DEVICE, SHARE_OF_HOST = 0.6, 0.5


class Bank(Protocol):
    """Interface of a bank: an object that keeps the audio samples of the training tracks, and returns chunks of the tracks.

    For each track, a bank has the same rows. A row is the waveform of the mixture or of one source.
    """

    def gather(self, tracks: Tensor, starts: Tensor, samples: int) -> Tensor:
        """Return one chunk for each row (mixture or source) of each example of a batch.

        If a track ends before the end of a chunk, the chunk is extended by silence.

        Args:
            tracks: index of the track from which each chunk is taken.
            starts: index of the first sample of each chunk, counted from the start of the track.
            samples: length T of the chunks, in samples.

        Shape:
            tracks, starts: int64 [B, R], where R is the number of rows of the bank; the result: [B, R, C, T].

        Returns:
            The samples, as stored (int16) or scaled (float32 in [-1, 1]).
        """


class HostBank:
    """Gather training chunks on the CPU, from RAM or from the files of the decoded tracks.

    Args:
        tracks: tracks of the training split.
        names: names of the waveforms (rows) that the bank keeps for each track: `mixture` or names of sources. If a track lacks
            a source, or if the source is unknown, its chunks are silent.
        load: True: all samples are read into RAM now. False: each chunk is read from disk when it is needed.
        scaled: True: `gather` returns float32 samples in [-1, 1]. This is faster if the network is on the CPU. False: `gather`
            returns int16 samples, so that only half as many bytes are copied to a GPU.
    """

    def __init__(self, tracks: Sequence[StoredTrack], names: Sequence[str], load: bool, scaled: bool) -> None:
        self.tracks, self.channels = tracks, tracks[0].shape[1]
        self.rows = [[_row_index(track, name) for name in names] for track in tracks]
        self.loaded = [_rows(track, names) for track in tracks] if load else None
        self.has_mixture = MIXTURE in names
        self.dtype, self.memory = np.float32 if scaled else np.int16, BufferPool(kept=4)

    def gather(self, tracks: Tensor, starts: Tensor, samples: int) -> Tensor:
        """Return one chunk for each row (mixture or source) of each example of a batch, from RAM or disk.

        Args:
            tracks: index of the track from which each chunk is taken.
            starts: index of the first sample of each chunk, counted from the start of the track.
            samples: length T of the chunks, in samples.

        Shape:
            tracks, starts: int64 [B, R], where R is the number of rows of the bank; the result: [B, R, C, T].

        Returns:
            The samples: float32 in [-1, 1] if the bank was created with `scaled=True`, else int16.
        """
        batch, rows = tracks.shape
        if self.has_mixture:  # rows are the outer axis in memory, so mixture and targets are contiguous without a copy
            out = self.memory.take((rows, batch, self.channels, samples), self.dtype).swapaxes(0, 1)
        else:
            out = self.memory.take((batch, rows, self.channels, samples), self.dtype)
        jobs = zip(out, tracks.tolist(), starts.tolist(), strict=True)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # reading and scaling release the GIL
            list(pool.map(self._gather_chunk, jobs))
        return torch.from_numpy(out)

    def _gather_chunk(self, job: tuple[np.ndarray, list[int], list[int]]) -> None:
        """Write the chunks of one example of a batch to an array, one chunk to each row.

        `job` contains three values: the array [rows, C, T] to fill, the index of the track for each row, and the index of the
        first sample of the chunk for each row.
        """
        out, tracks, starts = job
        for column, (track, start) in enumerate(zip(tracks, starts, strict=True)):
            scale = self.tracks[track].scale if self.dtype is np.float32 else 1
            stop = min(start + out.shape[-1], self.tracks[track].length)
            for samples, channel in zip(self._read(track, column, start, stop), out[column], strict=True):
                np.multiply(samples, self.dtype(scale), out=channel[: stop - start])
                channel[stop - start :] = 0

    def _read(self, track: int, column: int, start: int, stop: int) -> Iterable[np.ndarray]:
        """Return the samples [start, stop) of one waveform of a track, one array for each channel.

        `column` is the index of the waveform in the argument `names` of this class.
        """
        if self.rows[track][column] < 0:
            return np.zeros((self.channels, stop - start), np.int16)
        if self.loaded is not None:
            return self.loaded[track][column, :, start:stop]
        return self.tracks[track].read(self.rows[track][column], start, stop)


class DeviceBank:
    """Keep the concatenation of all training tracks as one tensor in GPU memory, and gather chunks from this tensor.

    Args:
        tracks: tracks of the training split.
        names: names of the waveforms (rows) that the bank keeps for each track: `mixture` or names of sources.
        chunk: length of the longest chunk, in samples.
        device: device of the tensor.
    """

    def __init__(self, tracks: Sequence[StoredTrack], names: Sequence[str], chunk: int, device: torch.device) -> None:
        spans = [max(track.length, chunk) for track in tracks]  # tracks shorter than a chunk are padded with silence
        offsets = np.cumsum([0, *spans])
        self.samples = torch.zeros((len(names), tracks[0].shape[1], int(offsets[-1])), dtype=torch.int16, device=device)
        for track, offset in zip(tracks, offsets.tolist(), strict=False):
            self.samples[..., offset : offset + track.length] = torch.from_numpy(_rows(track, names)).to(device)
        self.offsets = torch.from_numpy(offsets).to(device)
        self.rows = torch.arange(len(names), device=device)

    def gather(self, tracks: Tensor, starts: Tensor, samples: int) -> Tensor:
        """Return one chunk for each row (mixture or source) of each example of a batch, gathered in GPU memory.

        Args:
            tracks: index of the track from which each chunk is taken.
            starts: index of the first sample of each chunk, counted from the start of the track.
            samples: length T of the chunks, in samples.

        Shape:
            tracks, starts: int64 [B, R], where R is the number of rows of the bank; the result: int16 [B, R, C, T].

        Returns:
            The samples as stored. The caller multiplies the samples by the scale factors of the tracks.
        """
        # A view of all windows of the bank: indexing copies the requested chunks only.
        return self.samples.unfold(-1, samples, 1)[self.rows, :, self.offsets[tracks] + starts]


def _row_index(track: StoredTrack, name: str) -> int:
    """Return the index of the row with the waveform `name` (mixture or source) of a track; -1 if the track lacks the source."""
    return track.row(name) if name in (*track.rows, MIXTURE) else -1


def _rows(track: StoredTrack, names: Sequence[str]) -> np.ndarray:
    """Copy the waveforms `names` of a track. A source that the track lacks is silent. Shape: int16 [names, C, samples]."""
    samples = track.samples
    rows = [_row_index(track, name) for name in names]
    return np.stack([samples[row] if row >= 0 else np.zeros_like(samples[0]) for row in rows])


def size(tracks: Sequence[StoredTrack], names: Sequence[str]) -> int:
    """Return the size in bytes of the int16 samples of the waveforms `names` (mixture, sources) in all tracks."""
    return sum(len(names) * track.shape[1] * track.length * 2 for track in tracks)


def choose(residency: Residency, needed: int, device: torch.device, processes: int) -> Residency:
    """Choose the place of the training samples: GPU memory, RAM or disk.

    If the user requests a place, this place is chosen. If the user requests `auto`, the fastest place with enough free memory
    is chosen.

    Args:
        residency: value of `data.residency`: `auto`, `disk`, `host` (RAM) or `device` (GPU memory).
        needed: size of the training samples, in bytes.
        device: device of the network.
        processes: number of processes of this run on this machine. Each process has its own copy of the samples.

    Returns:
        `device`, `host` or `disk`.

    Raises:
        InputError: the requested memory (`host` or `device`) has too little free space.
    """
    free = {"host": psutil.virtual_memory().available // processes, "device": 0}
    if device.type == "cuda":
        free["device"] = torch.cuda.mem_get_info(device)[0]
    if residency == "auto":
        shares: tuple[tuple[Residency, float], ...] = (("device", SHARE_OF_DEVICE), ("host", SHARE_OF_HOST))
        return next((name for name, share in shares if needed <= share * free[name]), "disk")
    if residency != "disk" and needed > free[residency]:
        raise InputError(
            f"data.residency={residency}",
            "the training samples do not fit into the free memory",
            found=f"{spell_size(free[residency])} free",
            expected=spell_size(needed),
            hint="Set data.residency=auto or data.residency=disk",
        )
    return residency
