"""The store: each track decoded and resampled once, then memory-mapped for ever.

An entry is a folder named by the hash of everything that its samples depend on (paths, sizes and modification times, rate,
channels, store version), so it is never stale and many runs share it. It is written under a lock and a temporary name and
renamed into place: a killed run leaves no entry that is half made, and the next one goes on where it stopped.
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

from unbraid import audio
from unbraid.audio import ChannelChoice
from unbraid.data.decoding import streams_of
from unbraid.data.fill import VERSION, Order, drop, fill, is_whole, lock_of
from unbraid.data.health import Health
from unbraid.data.parallel import cores, in_processes
from unbraid.data.tracks import MIXTURE, Split, Track
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError

# Starting a process pays from about two seconds of decoding on.
SECONDS_WORTH_A_PROCESS = 300
# Decoded streams, their resampled copies and what examining them needs, at most, per second of one stream.
BYTES_PER_STREAM_SECOND = 44100 * 2 * 4 * 4


def spell_size(size: int) -> str:
    """Bytes in the unit that reads best."""
    unit, factor = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
    return f"{size / factor:.1f} {unit}"


@dataclass(frozen=True)
class StoredTrack:
    """A track's samples at the store's rate: int16, one scale for all of its rows.

    Args:
        name: of the track.
        split: of the track.
        entry: its folder.
        rows: what each row of the samples holds: `mixture` and sources; a source that is its own mixture has one row.
        shape: of the samples: rows, channels, samples.
        blocks: of 100 ms, of which the loudness is known.
        scale: of one step of 16 bits.
        residual: the source that is the mixture less all the others, if one is.
        aligned: whether it is, which a pair of mixture and instrumental version may not be.
        is_copy: at another pitch or tempo.
        repairs: kinds of `health.repairs` that decoding made.
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

    @property
    def sources(self) -> tuple[str, ...]:
        """Sorted by name."""
        return tuple(name for name in self.rows if name != MIXTURE)

    @property
    def length(self) -> int:
        """In samples."""
        return self.shape[-1]

    @property
    def samples(self) -> np.ndarray:
        """The file, mapped into memory; what was read is let go with the array. Shape: [rows, channels, samples]."""
        return np.memmap(self.entry / "samples.i16", np.int16, mode="r", shape=self.shape)

    def read(self, row: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """A stretch of one row, channel by channel in one array; mapping the file anew would cost more than the copy."""
        samples = np.empty(stop - start, np.int16)
        with (self.entry / "samples.i16").open("rb", buffering=0) as file:
            for channel in range(self.shape[1]):
                file.seek(2 * ((row * self.shape[1] + channel) * self.length + start))
                if file.readinto(samples.data) != samples.nbytes:
                    raise InputError(f"{file.name}: is cut off; remove {self.entry} and it is made again")
                yield samples

    def levels(self) -> np.ndarray:
        """RMS of each 100 ms in dB of full scale. Shape: [rows, blocks]."""
        return np.fromfile(self.entry / "levels.i8", np.int8).reshape(-1, self.blocks)

    def row(self, name: str) -> int:
        """The number of the row that holds the mixture or a source."""
        return self.rows.index(name) if name in self.rows or name != MIXTURE else 0

    def health(self) -> Health:
        return Health(**read_json(self.entry / "health.json", finite=False))

    def tensor(self, names: Sequence[str] | None = None) -> Tensor:
        """The whole track, float32: mixture and sources, or what is named. Shape: [names, channels, samples]."""
        rows = [self.row(name) for name in names or (MIXTURE, *self.sources)]
        return from_numpy(np.multiply(self.samples[rows], np.float32(self.scale)))


class Store:
    """Decoded tracks at one sample rate and channel count.

    Args:
        folder: where the entries lie; made if missing, never beside the user's files.
        sample_rate: in Hz.
        channels: 1 or 2.
        num_decode_workers: processes that fill it; None: as many as there are cores and as memory holds.
        surround: how stereo is made of files with more than two channels.
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
        """Return the same store at another rate in Hz and number of channels."""
        return Store(self.folder, sample_rate, channels, self.num_decode_workers, self.surround)

    def open(self, tracks: Sequence[Track], progress: bool = True) -> list[StoredTrack]:
        """All tracks, in order, decoding those that are not in the store yet.

        Raises:
            InputError: files cannot be used (all others are in the store then), or the folder cannot hold the samples.
        """
        orders = [Order(track, self.sample_rate, self.channels, self.folder, self.surround) for track in tracks]
        entries = [order.entry for order in orders]
        missing = [order for order, entry in zip(orders, entries, strict=True) if not is_whole(entry)]
        if missing:
            self._fill(missing, progress)
        return [_load(track, entry) for track, entry in zip(tracks, entries, strict=True)]

    def _fill(self, orders: list[Order], progress: bool) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            seconds = list(_durations(orders))
            self._announce(orders, seconds, progress)
            workers = self._workers(orders, seconds)
            hours = sum(seconds) / 3600
            shape = "{desc} {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} h [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
            refused = []
            with tqdm(total=hours, unit="h", desc="decoding", bar_format=shape, disable=not progress, leave=False) as bar:
                for done, (number, error) in enumerate(in_processes(fill, orders, workers), start=1):
                    refused += [error] if isinstance(error, InputError) else []
                    bar.set_description_str(f"decoding {done}/{len(orders)}", refresh=False)
                    bar.update(min(seconds[number] / 3600, hours - bar.n))  # sums of fractions may exceed their total
                    bar.set_postfix_str(orders[number].track.name)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        if len(refused) == 1:
            raise refused[0]
        if refused:
            raise InputError("; ".join(sorted(map(str, refused))))

    def _announce(self, orders: list[Order], seconds: list[float], progress: bool) -> None:
        """The size before it starts; InputError where the disk is too small for it."""
        rows = [1 if order.has_one_row else 1 + len(order.track.source_names) for order in orders]
        size = round(sum(s * r for s, r in zip(seconds, rows, strict=True)) * self.sample_rate * self.channels * 2)
        free = shutil.disk_usage(self.folder).free
        what = f"{len(orders)} tracks, {sum(seconds) / 3600:.2f} h"
        if size > free:
            raise InputError(
                f"{self.folder}: the store needs {spell_size(size)} for {what}, and {spell_size(free)} are free; "
                "choose another disk with data.cache_dir"
            )
        if progress:
            sizes = f"{spell_size(size)}, {spell_size(free)} are free"
            tqdm.write(f"decoding {what} into {self.folder}: {sizes}", file=sys.stderr)

    def _workers(self, orders: list[Order], seconds: list[float]) -> int:
        work = [s * len(streams_of(order.track)) for s, order in zip(seconds, orders, strict=True)]
        if self.num_decode_workers is not None:
            return min(self.num_decode_workers, len(orders))
        in_memory = int(psutil.virtual_memory().available / (max(*work, 1) * BYTES_PER_STREAM_SECOND))
        worthwhile = math.ceil(sum(work) / SECONDS_WORTH_A_PROCESS)
        return max(1, min(cores(), len(orders), worthwhile, in_memory))

    def size(self) -> int:
        """In bytes, of all entries at any rate."""
        return sum(path.stat().st_size for path in self.folder.glob("*/samples.i16"))

    def stale(self) -> list[Path]:
        """Entries of files that have changed or gone, of other versions of the store, and what killed processes left."""
        return sorted(path for path in self.folder.glob("*") if path.name != "locks" and not _is_current(path))

    def clean(self) -> int:
        """Drop what is stale; returns how many bytes that were."""
        before = self.size()
        for path in self.stale():
            with lock_of(path):  # another process may be about to finish it
                if not _is_current(path):
                    drop(path)
        return before - self.size()


def _durations(orders: Sequence[Order]) -> Iterator[float]:
    """Seconds of each track by the headers of its files; 0 where they cannot be read, which decoding will say."""
    for order in orders:
        try:
            yield audio.seconds(streams_of(order.track)[0].path) / (order.track.stretch.tempo if order.track.stretch else 1)
        except (InputError, IndexError):
            yield 0.0


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


def _load(track: Track, entry: Path) -> StoredTrack:
    meta: dict[str, Any] = read_json(entry / "meta.json", finite=False)
    return StoredTrack(
        track.name, track.split, entry, tuple(meta["rows"]), tuple(meta["shape"]), meta["blocks"],
        meta["scale"], track.residual, meta["aligned"], track.stretch is not None,
        tuple(meta["repairs"]),
    )  # fmt: skip
