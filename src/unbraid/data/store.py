"""The store: each track decoded and resampled once, then memory-mapped for ever.

An entry is a folder named by the hash of everything that its samples depend on (paths, sizes and modification times, rate,
channels, store version), so it is never stale and many runs share it. It is written under a lock and a temporary name and
renamed into place: a killed run leaves no entry that is half made.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from torch import Tensor, from_numpy
from tqdm import tqdm

from unbraid import audio
from unbraid.data.tracks import AudioStream, Split, Track
from unbraid.errors import InputError

VERSION = 1


@dataclass(frozen=True)
class StoredTrack:
    """A track's samples at the store's rate: int16, one scale for all of its sources.

    Shape:
        samples [1 + sources, channels, samples]: the mixture first, then `sources`, sorted by name.
    """

    name: str
    split: Split
    sources: tuple[str, ...]
    samples: np.ndarray
    scale: float
    peak: float

    @property
    def length(self) -> int:
        """In samples."""
        return self.samples.shape[-1]

    def tensor(self) -> Tensor:
        """The whole track, float32. Shape: [1 + sources, channels, samples]."""
        return from_numpy(self.samples.astype(np.float32)) * self.scale


class Store:
    """Decoded tracks at one sample rate and channel count.

    Args:
        folder: where the entries lie; made if missing, never beside the user's files.
        sample_rate: in Hz.
        channels: 1 or 2.
    """

    def __init__(self, folder: Path, sample_rate: int, channels: int) -> None:
        self.folder, self.sample_rate, self.channels = folder, sample_rate, channels

    def open(self, tracks: Sequence[Track], progress: bool = True) -> list[StoredTrack]:
        """All tracks, in order, decoding those that are not in the store yet."""
        missing = [track for track in tracks if not self._entry(track).is_dir()]
        quiet = not (progress and missing)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for track in tqdm(missing, "decoding into the store", unit="track", disable=quiet, leave=False):
                self._fill(track)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written: {error.strerror or error}") from error
        return [self._load(track) for track in tracks]

    def _entry(self, track: Track) -> Path:
        key = [VERSION, self.sample_rate, self.channels, sorted(track.sources), *map(_fingerprint, _streams(track))]
        return self.folder / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]

    def _fill(self, track: Track) -> None:
        entry = self._entry(track)
        with FileLock(entry.with_suffix(".lock")):
            if entry.is_dir():  # another run filled it while we waited
                return
            partial = entry.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                self._write(track, partial)
                partial.rename(entry)
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def _write(self, track: Track, folder: Path) -> None:
        samples = np.stack([self._convert(*stream) for stream in decode(track)])
        scale = max(float(np.abs(samples).max()), 1e-8) / 32767
        quantised = np.rint(samples / scale).astype(np.int16)
        peak = float(np.abs(samples[0]).max())
        meta = {"scale": scale, "peak": peak, "sources": sorted(track.sources), "shape": quantised.shape}
        # A plain write: on a full disk it raises, where writing through a memory map would crash the process.
        with (folder / "samples.i16").open("wb") as file:
            file.write(quantised.data)
        (folder / "meta.json").write_text(json.dumps(meta))

    def _convert(self, samples: np.ndarray, rate: int) -> np.ndarray:
        return audio.resample(audio.to_channels(samples, self.channels), rate, self.sample_rate)

    def _load(self, track: Track) -> StoredTrack:
        entry = self._entry(track)
        meta = json.loads((entry / "meta.json").read_text())
        samples = np.memmap(entry / "samples.i16", np.int16, mode="r", shape=tuple(meta["shape"]))
        return StoredTrack(track.name, track.split, tuple(meta["sources"]), samples, meta["scale"], meta["peak"])


def _streams(track: Track) -> list[AudioStream]:
    """The mixture, then the sources sorted by name."""
    return [track.mixture, *(stream for _, stream in sorted(track.sources.items()))]


def _fingerprint(stream: AudioStream) -> list[str | int]:
    stat = stream.path.stat()
    return [str(stream.path.resolve()), stat.st_size, stat.st_mtime_ns, stream.stream]


def decode(track: Track) -> list[tuple[np.ndarray, int]]:
    """Mixture and sources as (samples [channels, samples], rate), each file opened once, all of one length and rate."""
    streams = _streams(track)
    by_file: dict[Path, list[int]] = {}
    for stream in dict.fromkeys(streams):
        by_file.setdefault(stream.path, []).append(stream.stream)
    decoded: dict[AudioStream, tuple[np.ndarray, int]] = {}
    for path, indices in by_file.items():
        arrays, rate = audio.read(path, indices)
        decoded |= {AudioStream(path, i): (samples, rate) for i, samples in zip(indices, arrays, strict=True)}
    length, rate = decoded[track.mixture][0].shape[1], decoded[track.mixture][1]
    if not length:
        raise InputError(f"{track.mixture.path}: holds no samples")
    for stream, (samples, own_rate) in decoded.items():
        if own_rate != rate:
            raise InputError(f"{stream.path}: has {own_rate} Hz, but the mixture of '{track.name}' has {rate} Hz")
        if samples.shape[1] != length:
            raise InputError(f"{stream.path}: has {samples.shape[1]} samples, but the mixture of '{track.name}' has {length}")
    return [decoded[stream] for stream in streams]
