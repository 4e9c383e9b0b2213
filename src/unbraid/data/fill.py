"""Decode a track, resample it, and write the result to a folder on disk.

The store is the folder of all decoded tracks. An entry of the store is the folder of one decoded track. An entry is
complete or absent, because its folder is written under a temporary name and renamed at the end. An entry contains four files:

- `samples.i16`: int16 [rows, channels, samples] with one scale factor for all rows. Each row is the mixture or one source;
- `levels.i8`: the RMS level of each row in blocks of 100 ms, in dB relative to full scale;
- `meta.json`: format version, scale, names of the rows, sizes and checksums of the files;
- `health.json`: the measurements of `unbraid.data.health`.

Worker processes import this module, so it does not import torch.
"""

import hashlib
import json
import math
import os
import shutil
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from unbraid import audio
from unbraid.audio import ChannelChoice
from unbraid.audio.buffers import BufferPool
from unbraid.data.decoding import Decoded, decode, streams_of
from unbraid.data.health import examine, repairs
from unbraid.data.stretch import Stretch
from unbraid.data.tracks import MIXTURE, AudioStream, Track
from unbraid.runs.documents import parse_json, read_regular
from unbraid.runs.locks import FileLock

VERSION = 4
BLOCK_SECONDS = 0.1
CHECKSUMS = b', "checksums": '  # the last key of `meta.json`; the checksum of `meta.json` is that of the text before this key
FLOOR_DB = -127  # lowest level, because levels are stored as int8
CACHED = 1 << 16  # samples per block, small enough for the cache of the processor
MEMORY = BufferPool(kept=8)  # decoding buffers of this process, reused for each track; a stem file has five streams


@dataclass(frozen=True)
class Order:
    """A request to decode one track, and to write the decoded track into the store, the folder of all decoded tracks.

    Args:
        track: track to decode.
        sample_rate: sample rate of the decoded track, in Hz.
        channels: number of channels of the decoded track.
        folder: folder of the store. The decoded track is written to a subfolder of this folder.
        surround: conversion of files with more than two channels to stereo, see `unbraid.audio.channels`.
    """

    track: Track
    sample_rate: int
    channels: int
    folder: Path
    surround: ChannelChoice = "downmix"

    @property
    def key(self) -> str:
        """Return the name of the folder of the decoded track: a hash of all values on which the decoded samples depend."""
        track, files = self.track, _files(self.track)

        def spelled(stream: AudioStream) -> list[str | int | None]:
            return [files[str(stream.path)][0], stream.stream, stream.channel]

        structure = {name: [spelled(stream) for stream in streams] for name, streams in track.sources.items()}
        mixture = None if track.mixture is None else spelled(track.mixture)
        change = asdict(track.change) if isinstance(track.change, Stretch) else track.change and repr(track.change)
        options = [self.surround, track.residual, track.lengths, change]
        parts = [VERSION, self.sample_rate, self.channels, structure, mixture, options, _sorted(files)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]

    @property
    def has_one_row(self) -> bool:
        """Return True if the track has one source and no separate mixture file. Then only one waveform is stored."""
        return len(self.track.source_names) == 1 and not self.has_own_mixture

    @property
    def has_own_mixture(self) -> bool:
        """Return True if the mixture is read from a file, and False if it is computed as the sum of the sources.

        The mixture of a copy by offline augmentation is always computed, so the result is False for a copy.
        """
        return self.track.mixture is not None and self.track.change is None

    @property
    def entry(self) -> Path:
        """Return the path of the folder into which the track is decoded."""
        return self.folder / self.key


File = tuple[str, int, int]  # path without symbolic links, size in bytes, and modification time in ns


def fingerprints(track: Track) -> list[list[Any]]:
    """Return [path, size in bytes, modification time in ns] of each audio file of a track, sorted by the parts of the path."""
    return _sorted(_files(track))


def _files(track: Track) -> dict[str, File]:
    """Return each audio file of a track. The keys are the paths that the layout has listed."""
    return {path: _file(path) for path in {str(stream.path) for stream in streams_of(track)}}


def _sorted(files: dict[str, File]) -> list[list[Any]]:
    return [list(file) for file in sorted({*files.values()}, key=_parts)]


def _parts(file: File) -> list[str]:
    return file[0].split(os.sep)  # noqa: PTH206  # the order of `Path` objects, in which earlier versions have sorted


def _file(path: str) -> File:
    """Return the file of a path. Each folder is resolved once, and `Path` is avoided: this is fast for many tracks."""
    status, (folder, name) = os.lstat(path), os.path.split(path)
    if stat.S_ISLNK(status.st_mode) or name == "..":
        path = str(Path(path).resolve())
        status = os.stat(path)  # noqa: PTH116
    else:
        path = f"{real_folder(folder)}{os.sep}{name}"
    return path, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1 << 16)
def real_folder(folder: str) -> str:
    """Return the absolute path of a folder without symbolic links. `real_folder.cache_clear()` forgets the known folders."""
    return str(Path(folder).resolve()).rstrip(os.sep)


def lock_of(entry: Path) -> FileLock:
    """Return the file lock for the folder of a decoded track. A process that creates or deletes the folder holds the lock.

    Folders whose names begin with the same three hexadecimal digits share a lock file. So at most 4096 lock files exist.
    """
    locks = entry.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{entry.name[:3]}.lock")


def fill(order: Order) -> None:
    """Decode a track that is not in the store yet. If another process is decoding the track, wait for the other process."""
    entry = order.entry
    with lock_of(entry):
        if read_meta(entry):
            return
        drop(entry)  # also deletes the partial entry of a killed process
        partial = entry.with_suffix(".partial")
        partial.mkdir()
        try:
            _write(order, partial)
            partial.rename(entry)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def read_meta(entry: Path) -> dict[str, Any] | None:
    """Read `meta.json` in the folder of a decoded track.

    Args:
        entry: folder of the decoded track.

    Returns:
        The content of the file. None if the folder is incomplete: a file is missing or lacks the size that `meta.json` records,
        or `meta.json` lacks the checksum that it contains.
    """
    try:
        data = read_regular(entry / "meta.json")
        meta: dict[str, Any] = parse_json(data, entry, finite=False)
        checksums = meta.get("checksums")  # missing in entries of earlier versions
        intact = checksums is None or checksums["meta.json"] == zlib.crc32(data.rpartition(CHECKSUMS)[0] + b"}")
        if not intact or any(os.stat(f"{entry}/{name}").st_size != size for name, size in meta["sizes"].items()):  # noqa: PTH116
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return meta


def is_intact(entry: Path) -> bool:
    """Return whether the bytes of all files of a decoded track are those that were written, by their CRC-32 checksums.

    The result is False for an entry without checksums, which an earlier version has written.
    """
    meta = read_meta(entry)
    return (
        meta is not None
        and "checksums" in meta
        and all(_checksum(entry / name) == meta["checksums"].get(name) for name in meta["sizes"])
    )


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total = zlib.crc32(block, total)
    return total


def _text(meta: dict[str, Any]) -> bytes:
    return json.dumps(meta).encode()


def drop(entry: Path) -> None:
    """Delete the folder of a decoded track.

    The folder is renamed before the files are deleted. So a folder with the final name is always complete, even if the
    process is killed during the deletion.
    """
    partial = entry.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if entry.is_dir():
        shutil.rmtree(entry.rename(partial), ignore_errors=True)


def _write(order: Order, folder: Path) -> None:
    track, decoded = order.track, decode(order.track, MEMORY, order.surround)
    health = examine(track, decoded)
    rows = _rows(order, decoded)
    scale = _scale(rows.values())
    levels = np.stack([_levels(row, order.sample_rate) for row in rows.values()])
    files = {"levels.i8": levels.tobytes(), "health.json": json.dumps(asdict(health)).encode()}
    checksums = {name: zlib.crc32(content) for name, content in files.items()} | {"samples.i16": 0}
    # Plain writes raise OSError on a full disk; writing to a memory map would crash the process.
    with (folder / "samples.i16").open("wb") as file:
        for block in _quantised(rows.values(), scale):
            file.write(block.data)
            checksums["samples.i16"] = zlib.crc32(block.data, checksums["samples.i16"])
    for name, content in files.items():
        (folder / name).write_bytes(content)
    meta = {
        "version": VERSION, "scale": scale, "rows": list(rows), "blocks": levels.shape[1],
        "aligned": health.aligned is not False, "repairs": [finding.kind for finding in repairs(track.name, health)],
        "shape": [len(rows), *next(iter(rows.values())).shape], "files": fingerprints(track),
    }  # fmt: skip
    meta["sizes"] = {path.name: path.stat().st_size for path in folder.iterdir()}
    checksums["meta.json"] = zlib.crc32(_text(meta))
    (folder / "meta.json").write_bytes(_text(meta | {"checksums": checksums}))


def _rows(order: Order, decoded: Decoded) -> dict[str, np.ndarray]:
    """Return a dictionary from name (`mixture` or a source) to waveform, at the sample rate of the request `order`.

    If the track has one source and no separate mixture file, the mixture is omitted. This function removes the sources from
    `decoded` to free memory.
    """
    names = list(decoded.sources)
    rows = {MIXTURE: _convert(order, decoded.mixture, decoded.rate)} if order.has_own_mixture else {}
    rows |= {name: _convert(order, decoded.sources.pop(name), decoded.rate) for name in names}
    if MIXTURE not in rows and not order.has_one_row:
        rows = {MIXTURE: np.sum([*rows.values()], axis=0)} | rows
    return rows


def _convert(order: Order, samples: np.ndarray, rate: int) -> np.ndarray:
    samples = audio.to_channels(samples, order.channels)
    if order.track.change is not None:
        samples = order.track.change(samples, rate)
    return audio.resample(samples, rate, order.sample_rate)


def _scale(rows: Iterable[np.ndarray]) -> float:
    """Return the scale of the stored samples: the smallest power of two for which all quotients fit into 16 bits.

    A quotient is a sample divided by the scale. Because the scale is a power of two, files with 16 bits are stored without
    rounding errors.
    """
    step = max(1e-8 / 32767, *(max(float(row.max()) / 32767, float(-row.min()) / 32768) for row in rows))
    return 2.0 ** math.ceil(math.log2(step))


def _quantised(rows: Iterable[np.ndarray], scale: float) -> Iterator[np.ndarray]:
    """Yield the samples of all rows as int16, channel by channel, in blocks that fit into the cache of the processor."""
    scratch = np.empty(CACHED, np.float32)
    for channel in (channel for row in rows for channel in row):
        for start in range(0, len(channel), CACHED):
            block = np.divide(channel[start : start + CACHED], np.float32(scale), out=scratch[: len(channel) - start])
            yield np.rint(block, out=block).astype(np.int16)


def _levels(row: np.ndarray, rate: int) -> np.ndarray:
    """Return the RMS level of each block of 100 ms in dB relative to full scale. Shape: [C, T] -> int8 [blocks]."""
    block = round(BLOCK_SECONDS * rate)
    whole = row.shape[1] // block * block
    blocks = row[:, :whole].reshape(len(row), -1, block)
    means = np.vecdot(blocks, blocks).mean(axis=0) / block
    if rest := row.shape[1] - whole:
        means = np.append(means, np.square(row[:, -rest:]).mean())
    return np.clip(np.rint(10 * np.log10(np.maximum(means, 1e-13))), FLOOR_DB, 0).astype(np.int8)
