"""Decode a track: read its streams, bring them to one sample rate and one length, sum them to sources and to the mixture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unbraid import audio
from unbraid.audio import ChannelChoice
from unbraid.audio.buffers import BufferPool
from unbraid.data.tracks import AudioStream, Track
from unbraid.runs.errors import InputError

# Exports of one session differ by the tails of reverbs and by the padding of lossy encoders. More is likely another file.
MOST_PADDED_SECONDS = 1.0
LENGTHS_HINT = (
    f"Differences up to {MOST_PADDED_SECONDS:g} s are padded with silence; data.layout.lengths=pad pads any difference, "
    "data.layout.lengths=trim cuts all files of a track to the shortest"
)


@dataclass(frozen=True)
class Decoded:
    """A whole track.

    Args:
        rate: sample rate in Hz: the highest of its files.
        mixture: its own, or the sum of the sources.
        sources: by name, sorted.
        cut_seconds: length that was cut off the longest stream.
        padded_seconds: length of the silence that was appended to the shortest stream.
        file_rates: sample rates of its files in Hz, ascending, each once.
        messages: remarks of the reader about its files, such as a downmix of surround sound.

    Shape:
        mixture [channels, samples], sources [channels, samples] each, by name and sorted; all of one length, float32.
    """

    rate: int
    mixture: np.ndarray
    sources: dict[str, np.ndarray]
    cut_seconds: float = 0.0
    padded_seconds: float = 0.0
    file_rates: tuple[int, ...] = ()
    messages: tuple[str, ...] = ()


def streams_of(track: Track) -> list[AudioStream]:
    """All that a track needs, each stream once, the mixture first."""
    own = [track.mixture] if track.mixture else []
    return list(dict.fromkeys([*own, *(stream for _, streams in sorted(track.sources.items()) for stream in streams)]))


def decode(track: Track, memory: BufferPool | None = None, surround: ChannelChoice = "downmix") -> Decoded:
    """Read each file once. Files at lower rates are resampled to the highest rate of the track.

    Args:
        track: track to decode.
        memory: buffers for the samples.
        surround: how stereo is made of files with more than two channels.

    Raises:
        InputError: a file cannot be read or is empty, or streams differ in length by more than `Track.lengths` allows.
    """
    streams = streams_of(track)
    if not streams:
        raise InputError(f"{track.name}: has neither a mixture nor a source with samples")
    messages: list[str] = []
    decoded, rates = _read(streams, memory, surround, messages)
    longest, shortest = (pick(samples.shape[1] for samples in decoded.values()) for pick in (max, min))
    length = _common_length(track, decoded, rates)
    decoded = {stream: _of_length(samples, length) for stream, samples in decoded.items()}
    silence = np.zeros_like(decoded[streams[0]])
    sources = {name: _sum([decoded[stream] for stream in parts], silence) for name, parts in sorted(track.sources.items())}
    mixture = decoded[track.mixture] if track.mixture else _sum(list(sources.values()), silence)
    if track.residual:
        sources[track.residual] = _sum([mixture, *(-source for source in sources.values())], silence)
    cut, padded = (longest - length) / rates[-1], (length - shortest) / rates[-1]
    return Decoded(rates[-1], mixture, dict(sorted(sources.items())), cut, padded, rates, tuple(messages))


def _read(
    streams: Sequence[AudioStream], memory: BufferPool | None, surround: ChannelChoice, messages: list[str]
) -> tuple[dict[AudioStream, np.ndarray], tuple[int, ...]]:
    """Return the samples of each stream [channels, samples] at the highest rate, and the rates of the files, ascending."""
    by_file: dict[Path, list[int]] = {}
    for stream in streams:
        indices = by_file.setdefault(stream.path, [])
        if stream.stream not in indices:
            indices.append(stream.stream)
    whole: dict[tuple[Path, int], np.ndarray] = {}
    rates: dict[Path, int] = {}
    for path, indices in by_file.items():
        arrays, rates[path] = audio.read(path, indices, memory, surround, messages)
        whole |= {(path, index): samples for index, samples in zip(indices, arrays, strict=True)}
    found = tuple(sorted(set(rates.values())))
    whole = {(path, index): audio.resample(samples, rates[path], found[-1]) for (path, index), samples in whole.items()}
    return {stream: _channel(whole[stream.path, stream.stream], stream) for stream in streams}, found


def _common_length(track: Track, decoded: Mapping[AudioStream, np.ndarray], rates: tuple[int, ...]) -> int:
    """Return the length in samples that all streams get.

    Raises:
        InputError: the streams differ in length by more than `track.lengths` allows.
    """
    lengths = {stream: samples.shape[1] for stream, samples in decoded.items()}
    shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    difference = lengths[longest] - lengths[shortest]
    if track.lengths == "trim" or difference <= math.ceil(rates[-1] / rates[0]) * (len(rates) > 1):
        return lengths[shortest]  # resampling rounds lengths, by one sample of the lowest rate at most
    if track.lengths == "pad" or (track.lengths == "auto" and difference <= MOST_PADDED_SECONDS * rates[-1]):
        return lengths[longest]
    shown = {stream: f"{count} samples ({count / rates[-1]:.2f} s)" for stream, count in lengths.items()}
    raise InputError(
        shortest.path,
        "its length is not that of the track",
        found=shown[shortest],
        expected=f"{shown[longest]} as in {longest.path.name} of '{track.name}'",
        hint=LENGTHS_HINT if track.lengths == "auto" else "",
    )


def _of_length(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut `[channels, samples]` to a length, or append silence."""
    missing = length - samples.shape[1]
    return np.pad(samples, ((0, 0), (0, missing))) if missing > 0 else samples[:, :length]


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
