"""A track's samples as they lie on disk: its streams decoded, summed to sources and to the mixture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unbraid import audio
from unbraid.data.tracks import AudioStream, Track
from unbraid.errors import InputError
from unbraid.memory import Recycled


@dataclass(frozen=True)
class Decoded:
    """A whole track at the rate of its files.

    Args:
        rate: in Hz.
        mixture: its own, or the sum of the sources.
        sources: by name, sorted.
        cut_seconds: by how much the longest stream was longer than the shortest, to which all are cut.

    Shape:
        mixture [channels, samples], sources [channels, samples] each, by name and sorted; all of one length, float32.
    """

    rate: int
    mixture: np.ndarray
    sources: dict[str, np.ndarray]
    cut_seconds: float = 0.0


def streams_of(track: Track) -> list[AudioStream]:
    """All that a track needs, each stream once, the mixture first."""
    own = [track.mixture] if track.mixture else []
    return list(dict.fromkeys([*own, *(stream for _, streams in sorted(track.sources.items()) for stream in streams)]))


def decode(track: Track, memory: Recycled | None = None) -> Decoded:
    """Each file is opened once.

    Args:
        track: to decode.
        memory: to take the samples from.

    Raises:
        InputError: a file cannot be read, or streams of a track that must be of one length differ in rate or length.
    """
    streams = streams_of(track)
    if not streams:
        raise InputError(f"{track.name}: has neither a mixture nor a source with samples")
    decoded, rate = _read(track, streams, memory)
    lengths = [samples.shape[1] for samples in decoded.values()]
    length, longest = min(lengths), max(lengths)
    if not length:
        shortest = next(stream for stream, samples in decoded.items() if not samples.shape[1])
        raise InputError(f"{shortest.path}: holds no samples")
    first = streams[0]
    wide = next((stream for stream, samples in decoded.items() if len(samples) > 1), first)
    for stream, samples in decoded.items():
        if track.equal_lengths and samples.shape[1] != decoded[first].shape[1]:
            raise InputError(
                f"{stream.path}: has {samples.shape[1]} samples, but {first.path.name} of '{track.name}' "
                f"has {decoded[first].shape[1]}"
            )
        if len(samples) not in (1, len(decoded[wide])):
            raise InputError(
                f"{stream.path}: has {len(samples)} channels, but {wide.path.name} of '{track.name}' has {len(decoded[wide])}"
            )
    decoded = {stream: samples[:, :length] for stream, samples in decoded.items()}
    silence = np.zeros_like(decoded[first])
    sources = {name: _sum([decoded[stream] for stream in parts], silence) for name, parts in sorted(track.sources.items())}
    mixture = decoded[track.mixture] if track.mixture else _sum(list(sources.values()), silence)
    if track.remainder:
        sources[track.remainder] = _sum([mixture, *(-source for source in sources.values())], silence)
    return Decoded(rate, mixture, dict(sorted(sources.items())), (longest - length) / rate)


def _read(track: Track, streams: Sequence[AudioStream], memory: Recycled | None) -> tuple[dict[AudioStream, np.ndarray], int]:
    """The samples of each stream [channels, samples] and their common rate in Hz."""
    by_file: dict[Path, list[int]] = {}
    for stream in streams:
        indices = by_file.setdefault(stream.path, [])
        if stream.stream not in indices:
            indices.append(stream.stream)
    whole: dict[tuple[Path, int], np.ndarray] = {}
    rates: dict[Path, int] = {}
    for path, indices in by_file.items():
        arrays, rates[path] = audio.read(path, indices, memory)
        whole |= {(path, index): samples for index, samples in zip(indices, arrays, strict=True)}
    highest, first = max(rates.values()), streams[0].path
    for path, rate in rates.items():
        if track.equal_lengths and rate != rates[first]:
            raise InputError(f"{path}: has {rate} Hz, but {first.name} of '{track.name}' has {rates[first]} Hz")
    whole = {(path, index): audio.resample(samples, rates[path], highest) for (path, index), samples in whole.items()}
    return {stream: _channel(whole[stream.path, stream.stream], stream) for stream in streams}, highest


def _channel(samples: np.ndarray, stream: AudioStream) -> np.ndarray:
    if stream.channel is None:
        return samples
    if stream.channel >= len(samples):
        raise InputError(f"{stream.path}: has {len(samples)} channel, expected at least {stream.channel + 1}")
    return samples[stream.channel : stream.channel + 1]


def _sum(parts: Sequence[np.ndarray], silence: np.ndarray) -> np.ndarray:
    """The sum of parts; a mono part sounds on every channel of the others."""
    if len(parts) == 1:
        return parts[0]
    total = np.zeros((max((len(part) for part in parts), default=len(silence)), silence.shape[1]), np.float32)
    for part in parts:
        total += part
    return total
