"""Store decoded tracks on disk. Each track is decoded and resampled once; later runs read the decoded samples.

An entry of the store is a folder for one track. The name of this folder is a hash of all values on which the samples depend:
paths, sizes and modification times of the files, sample rate, channels and store version. A changed file therefore gets a new
entry, and several runs can use the same entry. While an entry is written, the entry is locked and has a
temporary name. The complete entry gets its final name. If a run is killed, the next run decodes the missing tracks.
"""

import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from torch import Tensor, from_numpy
from tqdm import tqdm

from unbraid.audio import ChannelChoice
from unbraid.data.decoding import check_headers, raise_all, streams_of
from unbraid.data.fill import VERSION, Order, drop, fill, is_intact, lock_of, read_meta, real_folder
from unbraid.data.garbage import without_collector
from unbraid.data.health import Health
from unbraid.data.parallel import cores, in_processes
from unbraid.data.stretch import Stretch
from unbraid.data.tracks import MIXTURE, Split, Track
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError

# A further process saves time if it decodes for about two seconds.
SECONDS_WORTH_A_PROCESS = 300
# Upper bound of the memory per second of one stream: decoded and resampled samples, and the health examination.
BYTES_PER_STREAM_SECOND = 44100 * 2 * 4 * 4


def spell_size(size: float) -> str:
    """Return a number of bytes as a text in MB or GB, with one decimal."""
    unit, factor = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
    return f"{size / factor:.1f} {unit}"


@dataclass(frozen=True)
class StoredTrack:
    """A decoded track in the store. The int16 samples of the track have rows: each row is the mixture or one source.

    Args:
        name: name of the track.
        split: `train`, `valid` or `test`.
        entry: folder that contains the decoded track.
        rows: name of each row of the samples: `mixture`, then the sources. If the track has one source and no separate mixture,
            there is only the row of this source.
        shape: number of rows, channels and samples.
        blocks: number of blocks of 100 ms whose level is stored.
        scale: factor that converts the int16 samples to float samples, equal for all rows.
        residual: name of the source that is the mixture minus all other sources. None: no source is computed in this way.
        aligned: False if the vocals are the mixture minus the instrumental version, and these two versions are not aligned in
            time.
        is_copy: True for a copy by offline augmentation.
        repairs: kinds of changes that decoding made to the audio, such as `resampled files`; see `health.repairs`.
        unknown: names of sources without a recording that the mixture may contain, see `Track`.
        weight: number of training chunks for each chunk from a track of weight 1.
    """

    name: str
    split: Split
    entry: Path
    rows: tuple[str, ...]
    shape: tuple[int, int, int]
    blocks: int
    scale: float
    residual: str | None
    aligned: bool
    is_copy: bool
    repairs: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    weight: int = 1

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the names of the sources, also of unknown sources, sorted."""
        return tuple(sorted({*self.rows, *self.unknown} - {MIXTURE}))

    @property
    def length(self) -> int:
        """Return the length of the track in samples per channel."""
        return self.shape[-1]

    @property
    def samples(self) -> np.ndarray:
        """Return the int16 samples as a memory map of the file. Shape: [rows, channels, samples]."""
        return np.memmap(self.entry / "samples.i16", np.int16, mode="r", shape=self.shape)

    def read(self, row: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Yield a segment of one row (mixture or source), one channel after the other.

        All channels use the same array, so copy a channel before you request the next channel. The file is read directly, which
        is faster than a new memory map of the file.

        Args:
            row: index of the row, for example from the method `row`.
            start: index of the first sample of the segment.
            stop: index of the first sample after the segment.

        Shape:
            yielded value: [stop - start], int16.

        Yields:
            The samples of each channel.

        Raises:
            InputError: the file of the samples is truncated.
        """
        samples = np.empty(stop - start, np.int16)
        with (self.entry / "samples.i16").open("rb", buffering=0) as file:
            for channel in range(self.shape[1]):
                file.seek(2 * ((row * self.shape[1] + channel) * self.length + start))
                if file.readinto(samples.data) != samples.nbytes:
                    raise InputError(
                        file.name,
                        "the file is truncated",
                        hint=f"Remove the folder {self.entry}, then the track is decoded again.",
                    )
                yield samples

    def levels(self) -> np.ndarray:
        """Return the RMS level of each block of 100 ms in dB relative to full scale. Shape: [rows, blocks], int8."""
        return np.fromfile(self.entry / "levels.i8", np.int8).reshape(-1, self.blocks)

    def row(self, name: str) -> int:
        """Return the index of the row `name`: `mixture` or a source.

        If a track has only one row, this row is both the mixture and the source.
        """
        return self.rows.index(name) if name in self.rows or name != MIXTURE else 0

    def health(self) -> Health:
        """Return the measurements of the audio (such as clipping) that were made when the track was decoded."""
        return Health(**read_json(self.entry / "health.json", finite=False))

    def tensor(self, names: Sequence[str] | None = None) -> Tensor:
        """Return the waveforms in `names` as float32. None: mixture and all sources. Shape: [names, channels, samples].

        The waveform of an unknown source is silent.
        """
        names = names or (MIXTURE, *self.sources)
        unknown = [name in self.unknown for name in names]
        rows = [0 if skipped else self.row(name) for name, skipped in zip(names, unknown, strict=True)]
        waveforms = np.multiply(self.samples[rows], np.float32(self.scale))
        waveforms[unknown] = 0
        return from_numpy(waveforms)


class Store:
    """Decode tracks at one sample rate and number of channels into a folder, and open the decoded tracks.

    Args:
        folder: folder of the decoded tracks, with one subfolder (entry) for each track. A missing folder is created.
        sample_rate: sample rate in Hz.
        channels: number of channels, 1 or 2.
        num_decode_workers: number of processes that decode. None: one for each core, or fewer if the memory is too small.
        surround: conversion of files with more than two channels to stereo, see `unbraid.audio.channels`.
    """

    def __init__(
        self,
        folder: Path,
        sample_rate: int,
        channels: int,
        num_decode_workers: int | None = None,
        surround: ChannelChoice = "downmix",
    ) -> None:
        self.folder, self.sample_rate, self.channels = folder, sample_rate, channels
        self.num_decode_workers, self.surround = num_decode_workers, surround

    def at(self, sample_rate: int, channels: int) -> "Store":
        """Return a `Store` with the same folder, for tracks with the given sample rate (in Hz) and number of channels."""
        return Store(self.folder, sample_rate, channels, self.num_decode_workers, self.surround)

    def open(self, tracks: Sequence[Track], progress: bool = True) -> list[StoredTrack]:
        """Open all tracks. Tracks that are not in the store yet are decoded first.

        An `InputError` is raised before decoding if the headers of files are invalid. If an error is found while a track is
        decoded, it is raised after all other tracks are decoded. An `InputError` is also raised if the disk is full or
        read-only.

        Args:
            tracks: tracks to open.
            progress: whether a progress bar and the size of the decoded samples are shown.

        Returns:
            The stored tracks, in the order of `tracks`.
        """
        entries, stored, missing = self._look_up(tracks)
        if missing:
            self._fill(missing, progress)
        return [
            found or _load(track, entry, read_json(entry / "meta.json", finite=False))
            for track, entry, found in zip(tracks, entries, stored, strict=True)
        ]

    @without_collector()
    def _look_up(self, tracks: Sequence[Track]) -> tuple[list[Path], list[StoredTrack | None], list[Order]]:
        """Return the entry and the stored track of each track, and the orders of tracks without a complete entry.

        The stored track is None if the entry is missing or incomplete.
        """
        orders = self._orders(tracks)
        entries = [order.entry for order in orders]
        metas = map(read_meta, entries)
        stored = [
            None if meta is None else _load(track, entry, meta)
            for track, entry, meta in zip(tracks, entries, metas, strict=True)
        ]
        return entries, stored, [order for order, found in zip(orders, stored, strict=True) if found is None]

    def _orders(self, tracks: Sequence[Track]) -> list[Order]:
        real_folder.cache_clear()  # a link may have changed since the last call
        return [Order(track, self.sample_rate, self.channels, self.folder, self.surround) for track in tracks]

    def _fill(self, orders: list[Order], progress: bool) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            seconds = _durations(orders, progress)
            self._announce(orders, seconds, progress)
            workers = self._workers(orders, seconds)
            hours = sum(seconds) / 3600
            shape = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"  # the percentage is by duration
            errors: list[InputError] = []
            with tqdm(
                total=hours, desc=f"decoding 0/{len(orders)}", bar_format=shape, disable=not progress, leave=False
            ) as bar:
                for done, (number, error) in enumerate(in_processes(fill, orders, workers), start=1):
                    errors += [error] if isinstance(error, InputError) else []
                    bar.set_description_str(f"decoding {done}/{len(orders)}", refresh=False)
                    # Printing each of many short tracks would take longer than decoding them.
                    bar.set_postfix_str(orders[number].track.name, refresh=done == len(orders))
                    bar.update(min(seconds[number] / 3600, hours - bar.n))  # rounding errors may exceed the total
        except OSError as error:
            raise InputError(self.folder, f"the folder cannot be written: {error.strerror or error}") from error
        raise_all(errors)

    def _announce(self, orders: list[Order], seconds: list[float], progress: bool) -> None:
        """Print the size that the decoded samples will have. Raise an `InputError` if the size exceeds the free disk space."""
        rows = [1 if order.has_one_row else 1 + len(order.track.source_names) for order in orders]
        size = round(sum(s * r for s, r in zip(seconds, rows, strict=True)) * self.sample_rate * self.channels * 2)
        free = shutil.disk_usage(self.folder).free
        amount = f"{len(orders)} tracks, {sum(seconds) / 3600:.2f} h"
        if size > free:
            expected = f"{spell_size(size)} for {len(orders)} tracks ({sum(seconds) / 3600:.2f} h of audio)"
            hint = "Choose a folder on another disk with data.cache_dir."
            raise InputError(
                self.folder, "the disk has too little free space", found=spell_size(free), expected=expected, hint=hint
            )
        if progress:
            sizes = f"{spell_size(size)}, {spell_size(free)} are free"
            tqdm.write(f"decoding {amount} into {self.folder}: {sizes}", file=sys.stderr)

    def _workers(self, orders: list[Order], seconds: list[float]) -> int:
        work = [s * len(streams_of(order.track)) for s, order in zip(seconds, orders, strict=True)]
        if self.num_decode_workers is not None:
            return min(self.num_decode_workers, len(orders))
        in_memory = int(psutil.virtual_memory().available / (max(*work, 1) * BYTES_PER_STREAM_SECOND))
        worthwhile = math.ceil(sum(work) / SECONDS_WORTH_A_PROCESS)
        return max(1, min(cores(), len(orders), worthwhile, in_memory))

    def drop_damaged(self, tracks: Sequence[Track]) -> list[Track]:
        """Compare the decoded tracks in the store with their checksums, and delete those that differ or lack checksums.

        Args:
            tracks: tracks to verify. Tracks that are not in the store are skipped.

        Returns:
            The tracks whose decoded samples were deleted. They are decoded again when the store is opened.
        """
        damaged = []
        for track, order in zip(tracks, self._orders(tracks), strict=True):
            if not order.entry.is_dir():
                continue
            with lock_of(order.entry):
                if order.entry.is_dir() and not is_intact(order.entry):
                    drop(order.entry)
                    damaged.append(track)
        return damaged

    def size(self) -> int:
        """Return the size in bytes of the samples of all decoded tracks in the folder, at all sample rates."""
        return sum(path.stat().st_size for path in self.folder.glob("*/samples.i16"))

    def stale(self) -> list[Path]:
        """Return the outdated folders of decoded tracks. Runs cannot use these folders.

        A folder is outdated for one of three reasons. The audio files of the track were changed or deleted. Another version of
        this program has written the folder. The process that wrote the folder was killed.
        """
        return sorted(path for path in self.folder.glob("*") if path.name != "locks" and not _is_current(path))

    def clean(self) -> int:
        """Delete the track folders that `stale` returns. Return the size of the deleted samples in bytes."""
        before = self.size()
        for path in self.stale():
            with lock_of(path):  # another process may be writing it
                if not _is_current(path):
                    drop(path)
        return before - self.size()


def _durations(orders: Sequence[Order], progress: bool) -> list[float]:
    """Return the duration of each track in seconds, from the headers of its files. Invalid headers raise an `InputError`."""
    errors, seconds = check_headers([order.track for order in orders], progress)
    raise_all(errors)
    tempos = [order.track.change.tempo if isinstance(order.track.change, Stretch) else 1 for order in orders]
    return [duration / tempo for duration, tempo in zip(seconds, tempos, strict=True)]


def _is_current(entry: Path) -> bool:
    try:
        meta = read_json(entry / "meta.json", finite=False)
    except (OSError, ValueError):
        return False
    return meta.get("version") == VERSION and all(_is_unchanged(*file) for file in meta["files"])


def _is_unchanged(path: str, size: int, time: int) -> bool:
    try:
        stat = Path(path).stat()
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (size, time)


def _load(track: Track, entry: Path, meta: dict[str, Any]) -> StoredTrack:
    """Return a stored track. `meta` is the content of `meta.json`."""
    return StoredTrack(
        track.name, track.split, entry, tuple(meta["rows"]), tuple(meta["shape"]), meta["blocks"],
        meta["scale"], track.residual, meta["aligned"], track.change is not None,
        tuple(meta["repairs"]), track.unknown, track.weight,
    )  # fmt: skip
