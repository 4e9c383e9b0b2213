"""Decode audio and video files to their end, at once or block by block, with the FFmpeg of the PyAV wheel.

Decoded samples are counted. If the header of a file states an exact length, the number of samples is compared with this length,
see `unbraid.audio.containers`. Surround sound is converted to stereo, see `unbraid.audio.channels`.
Use `read` for files that fit into memory, and `open_audio` for long files.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from errno import EINVAL
from pathlib import Path

import av
import numpy as np

from unbraid.audio.buffers import BufferPool
from unbraid.audio.channels import ChannelChoice
from unbraid.audio.containers import declared_length, length_overflows
from unbraid.audio.decoder import StreamDecoder, decode_streams, reason
from unbraid.runs.errors import InputError
from unbraid.runs.files import refuse_missing

BLOCK = 2**15  # samples of a block
LOUDEST = 1e6  # larger samples come from damaged files, and overflow in later float32 computations
# A declared length may be wrong. Memory is reserved for at most this duration, and this number of samples per byte of the file.
ALLOCATED_SECONDS = 600
ALLOCATED_RATIO = 32
SMALL_PACKETS = "32768"  # bytes of a wav packet: eight times FFmpeg's default, and small enough for the CPU cache
# FFmpeg's demuxers of containers that contain audio. Playlists are excluded: they name other files and may be endless, and
# FFmpeg recognises them by their content and not by the name of the file.
CONTAINERS = (
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "dtshd", "dv", "eac3",
    "flac", "flv", "gsm", "loas", "matroska", "mlp", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "mxf", "ogg", "rm", "shn",
    "tak", "truehd", "tta", "w64", "wav", "webm", "wtv", "wv",
)  # fmt: skip
# Tags that are copied to separated files: libsndfile's names, and FFmpeg's names.
TAGS = {
    "title": "title", "artist": "artist", "album": "album", "date": "date", "genre": "genre", "comment": "comment",
    "copyright": "copyright", "license": "license", "tracknumber": "track",
}  # fmt: skip


class AudioReader:
    """Read one audio stream of a file, block by block.

    Args:
        path: path of the file.
        container: file, opened by FFmpeg.
        stream: index of the audio stream among the audio streams of the file.
        channels: conversion of surround sound to stereo: `downmix` (all channels) or `front` (front left and right only).
    """

    def __init__(
        self, path: Path, container: av.container.InputContainer, stream: int = 0, channels: ChannelChoice = "downmix"
    ) -> None:
        self.path, self.container = path, container
        declared = declared_length(path, container.format.name)
        self.has_exact_length = declared.is_exact
        self.decoder = StreamDecoder(path, _stream(path, container, stream), declared, channels)
        self.rate, self.channels = self.decoder.rate, self.decoder.channels
        self.source_channels, self.seconds = self.decoder.source_channels, _seconds(container, self.decoder.stream)
        self.messages = self.decoder.messages
        if chosen := _chosen_stream(container, stream):
            self.messages.insert(0, chosen)
        metadata = {name.lower(): value for name, value in (self.decoder.stream.metadata | container.metadata).items()}
        self.tags = {name: value for name, key in TAGS.items() if (value := metadata.get(key))}

    def __iter__(self) -> Iterator[np.ndarray]:
        """Decode the audio stream to its end, block by block.

        An `InputError` is raised if the file is damaged, truncated, empty or too long, or if samples are NaN, infinite or far
        too large.

        Shape:
            each block: [channels (1 or 2), samples], with about `BLOCK` samples per channel.

        Yields:
            Blocks of float32 samples.
        """
        parts: list[np.ndarray] = []
        samples = 0
        for _, part in decode_streams(self.path, self.container, [self.decoder]):
            parts.append(part)
            samples += part.shape[1]
            if samples >= BLOCK:
                yield _checked(self.path, np.concatenate(parts, axis=1))
                parts, samples = [], 0
        if parts:
            yield _checked(self.path, np.concatenate(parts, axis=1))


@contextmanager
def open_audio(path: Path, stream: int = 0, channels: ChannelChoice = "downmix") -> Iterator[AudioReader]:
    """Open an audio or video file to read one of its audio streams in blocks.

    InputError is raised if the file is missing, unreadable, truncated or not audio, or does not have this stream.

    Args:
        path: path of the file.
        stream: index of the audio stream among the audio streams of the file.
        channels: conversion of surround sound to stereo: `downmix` (all channels) or `front` (front left and right only).

    Yields:
        The reader of the audio stream.
    """
    with open_container(path) as container:
        yield AudioReader(path, container, stream, channels)


@dataclass(frozen=True)
class AudioInput:
    """Store which audio stream of a file is read, and how surround sound is converted to stereo.

    Args:
        path: path of an audio or video file.
        stream: index of the audio stream among the audio streams of the file.
        channels: conversion of surround sound to stereo: `downmix` (all channels) or `front` (front left and right only).
    """

    path: Path
    stream: int = 0
    channels: ChannelChoice = "downmix"

    def open(self) -> AbstractContextManager[AudioReader]:
        """Open the file to read the audio stream in blocks, see `open_audio`."""
        return open_audio(self.path, self.stream, self.channels)


def read(
    path: Path,
    streams: Sequence[int] = (0,),
    memory: BufferPool | None = None,
    channels: ChannelChoice = "downmix",
    messages: list[str] | None = None,
) -> tuple[list[np.ndarray], int]:
    """Decode one or several audio streams of a file in one pass.

    Args:
        path: path of an audio or video file.
        streams: indices of the audio streams among the audio streams of the file.
        memory: pool that provides the arrays, see `BufferPool`. None: new arrays are allocated.
        channels: conversion of surround sound to stereo: `downmix` (all channels) or `front` (front left and right only).
        messages: list to which this function appends warnings about the file, for example about surround sound. None: the
            warnings are dropped.

    Shape:
        each array: [channels (1 or 2), samples].

    Returns:
        One float32 array for each stream, and the common sample rate of all streams in Hz. Samples of lossy files may exceed
        1.0.

    Raises:
        InputError: the streams have different sample rates, or the file cannot be decoded, see `open_audio`.
    """
    with open_container(path) as container:
        declared = declared_length(path, container.format.name)
        decoders = [StreamDecoder(path, _stream(path, container, stream), declared, channels) for stream in streams]
        rates = {decoder.rate for decoder in decoders}
        if len(rates) > 1:
            raise InputError(
                path,
                "the audio streams of the file have different sample rates",
                found=f"{sorted(rates)} Hz",
                expected="the same sample rate in all streams",
                hint="Convert the streams to one sample rate, for example with ffmpeg",
            )
        arrays = {decoder.stream.index: _GrowingArray(container, decoder, memory or BufferPool(0)) for decoder in decoders}
        for index, block in decode_streams(path, container, decoders):
            arrays[index].append(block)
        if messages is not None:
            messages += dict.fromkeys(f"{path.name}: {message}" for decoder in decoders for message in decoder.messages)
        return [_checked(path, arrays[decoder.stream.index].array()) for decoder in decoders], decoders[0].rate


def seconds(path: Path) -> float:
    """Return the duration of an audio file in seconds from its header, without decoding; 0 if the duration is unknown."""
    with open_container(path) as container:
        return _seconds(container, _stream(path, container, 0))


@contextmanager
def open_container(path: Path) -> Iterator[av.container.InputContainer]:
    """Open an audio or video file with FFmpeg. FFmpeg is not allowed to open further files, such as the files in a playlist.

    Args:
        path: path of the file.

    Yields:
        The opened file.

    Raises:
        InputError: the file is missing, unreadable or damaged, or its format is not one of `CONTAINERS`.
    """
    if not path.exists():
        refuse_missing(path, path)
    if not path.is_file():
        raise InputError(path, "the path is not a regular file")
    if not os.access(path, os.R_OK):
        raise InputError(path, "the file cannot be read, because you do not have permission to read it")
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file", "max_size": SMALL_PACKETS}
    if length_overflows(path):
        options["ignore_length"] = "1"
    try:
        container = av.open(f"file:{path}", container_options=options)
    except (av.FFmpegError, ValueError) as error:
        if getattr(error, "errno", 0) == EINVAL:
            hint = "Playlists and raw samples cannot be read."
            raise InputError(path, "the file is not an audio or video file of a supported format", hint=hint) from error
        raise InputError(path, f"the file is damaged, truncated or not audio ({reason(error)})") from error
    with container:
        yield container


class _GrowingArray:
    """Collect decoded blocks in one array. The array has the length that the file header states, and grows if necessary."""

    def __init__(self, container: av.container.InputContainer, decoder: StreamDecoder, memory: BufferPool) -> None:
        declared = int((min(_seconds(container, decoder.stream), ALLOCATED_SECONDS) + 1) * decoder.rate)
        declared = min(declared, ALLOCATED_RATIO * (decoder.path.stat().st_size + BLOCK))
        self.samples, self.count = memory.take((decoder.channels, declared), np.float32), 0

    def append(self, block: np.ndarray) -> None:
        start, self.count = self.count, self.count + block.shape[1]
        if self.count > self.samples.shape[1]:
            grown = np.empty((len(self.samples), max(self.count, 3 * self.samples.shape[1] // 2)), np.float32)
            grown[:, :start] = self.samples[:, :start]
            self.samples = grown
        self.samples[:, start : self.count] = block

    def array(self) -> np.ndarray:
        """Return all samples that were appended. Shape: [channels, samples]."""
        return self.samples[:, : self.count]


def _checked(path: Path, samples: np.ndarray) -> np.ndarray:
    if not (samples.max() <= LOUDEST and samples.min() >= -LOUDEST):  # also true for NaN
        raise InputError(
            path,
            "the file contains samples that are NaN, infinite or far too large",
            expected=f"samples with a magnitude of at most {LOUDEST:g}",
        )
    return samples


def _stream(path: Path, container: av.container.InputContainer, index: int) -> av.AudioStream:
    streams = container.streams.audio
    if not streams:
        raise InputError(path, "the file does not contain an audio stream")
    if not 0 <= index < len(streams):
        raise InputError(
            path, "the number of the audio stream is out of range", expected=f"0 to {len(streams) - 1}", found=index
        )
    if streams[index].codec_context is None:
        raise InputError(
            path,
            "FFmpeg has no decoder for the audio stream of this file",
            hint="Convert the file to another format, such as wav",
        )
    return streams[index]


def _chosen_stream(container: av.container.InputContainer, index: int) -> str | None:
    """Return a message that states which audio stream is read; None if the file has only one audio stream."""
    streams = container.streams.audio
    if len(streams) < 2:
        return None
    tags = [value for name in ("title", "language") if (value := streams[index].metadata.get(name))]
    title = f" ({', '.join(tags)})" if tags else ""
    return f"audio stream {index}{title} of {len(streams)} is read; choose another with stream=0 to {len(streams) - 1}"


def _seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    """Return the duration of an audio stream in seconds, as FFmpeg states or estimates it; 0 if it is unknown."""
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    return max((container.duration or 0) / av.time_base, 0.0)
