"""Decode a track: read its audio streams, convert all streams to one sample rate and length, and sum streams to sources.

Each source is the sum of its own streams. The mixture is the sum of all sources, or is read from its own file.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unbraid import audio
from unbraid.audio import ChannelChoice
from unbraid.audio.buffers import BufferPool
from unbraid.data.tracks import AudioStream, Track
from unbraid.runs.errors import InputError

# Exports of one session differ by reverb tails and by the padding of lossy encoders. A larger difference suggests a wrong file.
MOST_PADDED_SECONDS = 1.0
HEADER_THREADS = 8  # threads that wait for the disk, which can be a slow network disk
LENGTHS_HINT = (
    f"Differences up to {MOST_PADDED_SECONDS:g} s are padded with silence; data.layout.lengths=pad pads any difference, "
    "data.layout.lengths=trim cuts all files of a track to the shortest."
)


@dataclass(frozen=True)
class Decoded:
    """Samples of the mixture and the sources of a decoded track.

    Args:
        rate: sample rate in Hz: the highest sample rate of the files of the track.
        mixture: samples of the mixture file, or the sum of the sources; float32.
        sources: samples of each source, float32, sorted by name.
        cut_seconds: duration that was cut off the longest audio stream of the track, in seconds.
        padded_seconds: duration of the silence that was appended to the shortest audio stream, in seconds.
        file_rates: sample rates in Hz that occur in the files, each listed once, ascending.
        messages: messages about the files, for example that a file with surround sound was converted to stereo.

    Shape:
        mixture, each source: [channels, samples], all with the same number of samples.
    """

    rate: int
    mixture: np.ndarray
    sources: dict[str, np.ndarray]
    cut_seconds: float = 0.0
    padded_seconds: float = 0.0
    file_rates: tuple[int, ...] = ()
    messages: tuple[str, ...] = ()


def streams_of(track: Track) -> list[AudioStream]:
    """Return the audio streams of a track, the mixture first. A stream that several sources contain is returned once."""
    mixture = [track.mixture] if track.mixture else []
    return list(dict.fromkeys([*mixture, *(stream for _, streams in sorted(track.sources.items()) for stream in streams)]))


def decode(track: Track, memory: BufferPool | None = None, surround: ChannelChoice = "downmix") -> Decoded:
    """Decode a track. All files are resampled to the highest sample rate of the files. Each file is read once.

    Args:
        track: track to decode.
        memory: pool that provides the arrays of the samples, so that several calls can use the same memory. None: each call
            allocates new memory.
        surround: conversion of files with more than two channels to stereo, see `unbraid.audio.channels`.

    Returns:
        The samples of the mixture and the sources, with one sample rate and length.

    Raises:
        InputError: a file cannot be read or is empty, or the lengths of the streams differ by more than `Track.lengths` allows.
    """
    streams = streams_of(track)
    if not streams:
        raise InputError(
            track.name, "the track lacks an audio file", expected="a file of the mixture or of at least one source"
        )
    messages: list[str] = []
    decoded, rates = _read(streams, memory, surround, messages)
    longest, shortest = (pick(samples.shape[1] for samples in decoded.values()) for pick in (max, min))
    length = _common_length(track, decoded, rates)
    decoded = {stream: _cut_or_pad(samples, length) for stream, samples in decoded.items()}
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
    """Read streams, and resample all streams to the highest sample rate of the files.

    Return the samples [channels, samples] of each stream, and the different sample rates of the files, ascending.
    """
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
    file_rates = tuple(sorted(set(rates.values())))
    whole = {(path, index): audio.resample(samples, rates[path], file_rates[-1]) for (path, index), samples in whole.items()}
    return {stream: _channel(whole[stream.path, stream.stream], stream) for stream in streams}, file_rates


def _common_length(track: Track, decoded: Mapping[AudioStream, np.ndarray], rates: tuple[int, ...]) -> int:
    """Return the length in samples to which all streams of a track are cut or padded.

    An `InputError` is raised if the lengths differ by more than `track.lengths` allows.
    """
    lengths = {stream: samples.shape[1] for stream, samples in decoded.items()}
    shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    difference = lengths[longest] - lengths[shortest]
    if track.lengths == "trim" or difference <= math.ceil(rates[-1] / rates[0]) * (len(rates) > 1):
        return lengths[shortest]  # resampling changes a length by at most one sample of the lowest rate
    if track.lengths == "pad" or (track.lengths == "auto" and difference <= MOST_PADDED_SECONDS * rates[-1]):
        return lengths[longest]
    spelled = {stream: f"{count} samples ({count / rates[-1]:.2f} s)" for stream, count in lengths.items()}
    raise _unequal(track, shortest, longest, spelled)


def _unequal(track: Track, shortest: AudioStream, longest: AudioStream, spelled: Mapping[AudioStream, str]) -> InputError:
    return InputError(
        shortest.path,
        f"this file of the track '{track.name}' is shorter than the file {longest.path.name}",
        found=spelled[shortest],
        expected=spelled[longest],
        hint=LENGTHS_HINT if track.lengths == "auto" else "",
    )


def check_headers(tracks: Sequence[Track], progress: bool) -> tuple[list[InputError], list[float]]:
    """Check the headers of the audio files of all tracks in several threads. The audio is not decoded.

    Lengths are compared only if the header of a file states an exact length. Differences up to one second are accepted.

    Args:
        tracks: tracks to check. Copies at another pitch or tempo have the same files, which are opened once.
        progress: whether a progress bar is shown in a terminal.

    Returns:
        Errors about files that cannot be opened or are truncated, and about tracks whose files differ too much in length. Also
        the duration of each track in seconds, without its change of tempo. An unknown duration is 0.
    """
    distinct = {tuple(streams_of(track)): track for track in tracks}
    hidden = None if progress else True  # None: hidden if the output is not a terminal
    with ThreadPoolExecutor(HEADER_THREADS) as pool:
        results = pool.map(_check_header, distinct.values())
        bar = tqdm(results, "checking files", len(distinct), unit="track", leave=False, disable=hidden)
        checked = dict(zip(distinct, bar, strict=True))
    errors = {str(error): error for found, _ in checked.values() for error in found}
    return [*errors.values()], [checked[tuple(streams_of(track))][1] for track in tracks]


def raise_all(errors: Sequence[InputError]) -> None:
    """Raise the errors about audio files as one error. Do nothing if the list is empty."""
    texts = sorted({*map(str, errors)})  # the copies of a track have equal errors
    hint = "The option data.exclude leaves out tracks"
    if len(texts) == 1:
        error = errors[0]
        raise InputError(error.where, error.problem, found=error.found, expected=error.expected, hint=error.hint or hint)
    if texts:
        raise InputError("data", f"{len(texts)} audio files cannot be used: {'; '.join(texts)}", hint=hint)


def _check_header(track: Track) -> tuple[list[InputError], float]:
    errors: dict[str, InputError] = {}  # by file
    lengths: dict[AudioStream, float] = {}
    seconds: list[float] = []
    for stream in streams_of(track):
        try:
            with audio.open_audio(stream.path, stream.stream) as reader:
                seconds.append(reader.seconds)
                if reader.has_exact_length:
                    lengths[stream] = reader.seconds
        except InputError as error:
            errors[error.where] = error
    if lengths and track.lengths in ("auto", "error"):
        shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        if lengths[longest] - lengths[shortest] > MOST_PADDED_SECONDS:
            spelled = {stream: f"{length:.2f} s" for stream, length in lengths.items()}
            errors.setdefault(str(shortest.path), _unequal(track, shortest, longest, spelled))
    return [*errors.values()], seconds[0] if seconds else 0.0


def _cut_or_pad(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut a waveform [channels, samples] to a length in samples, or append silence up to this length."""
    missing = length - samples.shape[1]
    return np.pad(samples, ((0, 0), (0, missing))) if missing > 0 else samples[:, :length]


def _channel(samples: np.ndarray, stream: AudioStream) -> np.ndarray:
    if stream.channel is None:
        return samples
    if stream.channel >= len(samples):
        expected = f"at least {stream.channel + 1}"
        raise InputError(stream.path, "the audio stream has too few channels", found=len(samples), expected=expected)
    return samples[stream.channel : stream.channel + 1]


def _sum(parts: Sequence[np.ndarray], silence: np.ndarray) -> np.ndarray:
    """Return the sum of the waveforms in `parts`. A mono waveform is added to each channel.

    If `parts` is empty, the argument `silence` (a silent waveform) is returned.
    """
    if len(parts) == 1:
        return parts[0]
    total = np.zeros((max((len(part) for part in parts), default=len(silence)), silence.shape[1]), np.float32)
    for part in parts:
        total += part
    return total
