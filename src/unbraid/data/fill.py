"""One entry of the store: a track decoded, resampled and written, whole or not at all. Worker processes import this file,
so it stays free of torch.

An entry is a folder with `samples.i16` (int16 [rows, channels, samples], one scale for all), `levels.i8` (loudness of each
row in blocks of 100 ms), `meta.json` and `health.json`.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from unbraid import audio
from unbraid.audio import ChannelChoice
from unbraid.audio.buffers import BufferPool
from unbraid.data.decoding import Decoded, decode, streams_of
from unbraid.data.health import examine, repairs
from unbraid.data.tracks import MIXTURE, AudioStream, Track
from unbraid.runs.documents import read_json

VERSION = 4
BLOCK_SECONDS = 0.1
FLOOR_DB = -127
CACHED = 1 << 16  # samples
MEMORY = BufferPool(kept=8)  # of this process, for one track after the other; a stem file has five streams


@dataclass(frozen=True)
class Order:
    """What to decode, at which rate in Hz and how many channels, and where the entry shall lie."""

    track: Track
    sample_rate: int
    channels: int
    folder: Path
    surround: ChannelChoice = "downmix"

    @property
    def key(self) -> str:
        """A hash of everything that the samples depend on."""
        track = self.track
        structure = {name: [_spell(stream) for stream in streams] for name, streams in track.sources.items()}
        mixture = None if track.mixture is None else _spell(track.mixture)
        how = [self.surround, track.residual, track.lengths, track.stretch and asdict(track.stretch)]
        parts = [VERSION, self.sample_rate, self.channels, structure, mixture, how, fingerprints(track)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]

    @property
    def has_one_row(self) -> bool:
        """Whether the track's only source is its mixture too."""
        return len(self.track.source_names) == 1 and not self.has_own_mixture

    @property
    def has_own_mixture(self) -> bool:
        """A stretched mixture would not be the sum of the stretched sources."""
        return self.track.mixture is not None and self.track.stretch is None

    @property
    def entry(self) -> Path:
        return self.folder / self.key


def _spell(stream: AudioStream) -> list[str | int | None]:
    return [str(stream.path.resolve()), stream.stream, stream.channel]


def fingerprints(track: Track) -> list[list[Any]]:
    """Path, size and modification time of each file of a track."""
    paths = sorted({stream.path.resolve() for stream in streams_of(track)})
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def lock_of(entry: Path) -> FileLock:
    """The lock under which an entry is made or dropped; a few thousand at most, however many tracks."""
    locks = entry.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{entry.name[:3]}.lock")


def fill(order: Order) -> None:
    """Make the entry, unless it is there or another process makes it while we wait."""
    entry = order.entry
    with lock_of(entry):
        if is_whole(entry):
            return
        drop(entry)  # and what a killed process left beside it
        partial = entry.with_suffix(".partial")
        partial.mkdir()
        try:
            _write(order, partial)
            partial.rename(entry)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def is_whole(entry: Path) -> bool:
    """Whether an entry is there as it was written; a power cut may have left less on the disk."""
    try:
        meta = read_json(entry / "meta.json", finite=False)
        return all((entry / name).stat().st_size == size for name, size in meta["sizes"].items())
    except (OSError, ValueError, KeyError):
        return False


def drop(entry: Path) -> None:
    """Take an entry away, under another name first: killed on the way, nothing is left that looks like one."""
    doomed = entry.with_suffix(".partial")
    shutil.rmtree(doomed, ignore_errors=True)
    if entry.is_dir():
        shutil.rmtree(entry.rename(doomed), ignore_errors=True)


def _write(order: Order, folder: Path) -> None:
    track, decoded = order.track, decode(order.track, MEMORY, order.surround)
    health = examine(track, decoded)
    rows = _rows(order, decoded)
    scale = _scale(rows.values())
    levels = np.stack([_levels(row, order.sample_rate) for row in rows.values()])
    # Plain writes: on a full disk they raise, where writing through a memory map would crash the process.
    with (folder / "samples.i16").open("wb") as file:
        for block in _quantised(rows.values(), scale):
            file.write(block.data)
    (folder / "levels.i8").write_bytes(levels.tobytes())
    (folder / "health.json").write_text(json.dumps(asdict(health)))
    meta = {
        "version": VERSION, "scale": scale, "rows": list(rows), "blocks": levels.shape[1],
        "aligned": health.aligned is not False, "repairs": [finding.kind for finding in repairs(track.name, health)],
        "shape": [len(rows), *next(iter(rows.values())).shape], "files": fingerprints(track),
    }  # fmt: skip
    meta["sizes"] = {path.name: path.stat().st_size for path in folder.iterdir()}
    (folder / "meta.json").write_text(json.dumps(meta))


def _rows(order: Order, decoded: Decoded) -> dict[str, np.ndarray]:
    """Return the rows at the store's rate: mixture and sources by name.

    A track of one source that is its own mixture has that one row. Sources are released as they are converted.
    """
    names = list(decoded.sources)
    rows = {MIXTURE: _convert(order, decoded.mixture, decoded.rate)} if order.has_own_mixture else {}
    rows |= {name: _convert(order, decoded.sources.pop(name), decoded.rate) for name in names}
    if MIXTURE not in rows and not order.has_one_row:
        rows = {MIXTURE: np.sum([*rows.values()], axis=0)} | rows
    return rows


def _convert(order: Order, samples: np.ndarray, rate: int) -> np.ndarray:
    samples = audio.to_channels(samples, order.channels)
    if order.track.stretch is not None:
        samples = order.track.stretch(samples, rate)
    return audio.resample(samples, rate, order.sample_rate)


def _scale(rows: Iterable[np.ndarray]) -> float:
    """The smallest power of two that holds all samples in 16 bits: what has 16 bits already is stored as it is."""
    step = max(1e-8 / 32767, *(max(float(row.max()) / 32767, float(-row.min()) / 32768) for row in rows))
    return 2.0 ** math.ceil(math.log2(step))


def _quantised(rows: Iterable[np.ndarray], scale: float) -> Iterator[np.ndarray]:
    """All rows in int16, channel after channel, in blocks that stay in the processor's cache."""
    scratch = np.empty(CACHED, np.float32)
    for channel in (channel for row in rows for channel in row):
        for start in range(0, len(channel), CACHED):
            block = np.divide(channel[start : start + CACHED], np.float32(scale), out=scratch[: len(channel) - start])
            yield np.rint(block, out=block).astype(np.int16)


def _levels(row: np.ndarray, rate: int) -> np.ndarray:
    """RMS of each block in dB of full scale, int8; a last, shorter block counts. Shape: [channels, samples] -> [blocks]."""
    block = round(BLOCK_SECONDS * rate)
    whole = row.shape[1] // block * block
    blocks = row[:, :whole].reshape(len(row), -1, block)
    means = np.vecdot(blocks, blocks).mean(axis=0) / block
    if rest := row.shape[1] - whole:
        means = np.append(means, np.square(row[:, -rest:]).mean())
    return np.clip(np.rint(10 * np.log10(np.maximum(means, 1e-13))), FLOOR_DB, 0).astype(np.int8)
