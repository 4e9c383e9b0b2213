"""Decode audio and video files to their end, whole or block by block, with the FFmpeg inside the PyAV wheel.

No length in a header is trusted: samples are counted, and compared with the header only where it states an exact length, see
`unbraid.audio.containers`. Signals with more than two channels become stereo, see `unbraid.audio.channels`.
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

BLOCK = 2**15  # samples
LOUDEST = 1e6  # larger samples come from damaged files, and overflow in float32 on the way
ALLOCATED_SECONDS = 600  # memory is taken for at most so much of a length that may be wrong,
ALLOCATED_RATIO = 32  # and for at most so many samples per byte of the file
SMALL_PACKETS = "32768"  # bytes of a wav packet: eight times FFmpeg's default, and the buffers stay in the cache
# FFmpeg's names of its demuxers for containers that hold sound themselves. A playlist names other files and may be endless;
# FFmpeg recognises it by its content, whatever the name of the file is.
CONTAINERS = (
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "dtshd", "dv", "eac3",
    "flac", "flv", "gsm", "loas", "matroska", "mlp", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "mxf", "ogg", "rm", "shn",
    "tak", "truehd", "tta", "w64", "wav", "webm", "wtv", "wv",
)  # fmt: skip
# FFmpeg's names of the tags that are copied to stems, by libsndfile's names.
TAGS = {
    "title": "title", "artist": "artist", "album": "album", "date": "date", "genre": "genre", "comment": "comment",
    "copyright": "copyright", "license": "license", "tracknumber": "track",
}  # fmt: skip


class AudioReader:
    """Reads one audio stream of a file, block by block.

    Args:
        path: of the file.
        container: the file as FFmpeg has opened it.
        stream: index of the audio stream, counted among the audio streams.
        channels: how stereo is made of more than two channels.
    """

    def __init__(
        self, path: Path, container: av.container.InputContainer, stream: int = 0, channels: ChannelChoice = "downmix"
    ) -> None:
        self.path, self.container = path, container
        declared = declared_length(path, container.format.name)
        self.decoder = StreamDecoder(path, _stream(path, container, stream), declared, channels)
        self.rate, self.channels = self.decoder.rate, self.decoder.channels
        self.source_channels, self.seconds = self.decoder.source_channels, _seconds(container, self.decoder.stream)
        self.messages = self.decoder.messages
        if chosen := _chosen_stream(container, stream):
            self.messages.insert(0, chosen)
        found = {name.lower(): value for name, value in (self.decoder.stream.metadata | container.metadata).items()}
        self.tags = {name: value for name, key in TAGS.items() if (value := found.get(key))}

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield all samples as float32 blocks of about `BLOCK` samples.

        Shape:
            [1 or 2, n] each.

        Raises:
            InputError: the file is damaged, truncated, empty or too long, or contains NaN, infinite or far too large samples.
        """
        waiting: list[np.ndarray] = []
        samples = 0
        for _, part in decode_streams(self.path, self.container, [self.decoder]):
            waiting.append(part)
            samples += part.shape[1]
            if samples >= BLOCK:
                yield _checked(self.path, np.concatenate(waiting, axis=1))
                waiting, samples = [], 0
        if waiting:
            yield _checked(self.path, np.concatenate(waiting, axis=1))


@contextmanager
def open_audio(path: Path, stream: int = 0, channels: ChannelChoice = "downmix") -> Iterator[AudioReader]:
    """Open an audio or video file to read one of its audio streams in blocks.

    Args:
        path: of the file.
        stream: index of the audio stream, counted among the audio streams.
        channels: how stereo is made of more than two channels.

    Raises:
        InputError: the file is missing, cannot be read, is not audio, is truncated, or lacks the stream.
    """
    with open_container(path) as container:
        yield AudioReader(path, container, stream, channels)


@dataclass(frozen=True)
class AudioInput:
    """An audio stream that a user has chosen.

    Args:
        path: of an audio or video file.
        stream: index of the audio stream, counted among the audio streams.
        channels: how stereo is made of more than two channels.
    """

    path: Path
    stream: int = 0
    channels: ChannelChoice = "downmix"

    def open(self) -> AbstractContextManager[AudioReader]:
        """Open it, see `open_audio`."""
        return open_audio(self.path, self.stream, self.channels)


def read(
    path: Path,
    streams: Sequence[int] = (0,),
    memory: BufferPool | None = None,
    channels: ChannelChoice = "downmix",
    messages: list[str] | None = None,
) -> tuple[list[np.ndarray], int]:
    """Decode some audio streams of a file in one pass.

    Args:
        path: of an audio or video file.
        streams: indices of the audio streams, counted among the audio streams.
        memory: pool to take the arrays from.
        channels: how stereo is made of more than two channels.
        messages: list that messages about the file are added to.

    Shape:
        [1 or 2, samples] each.

    Returns:
        One float32 array per stream, and their sample rate in Hz. Samples of lossy files may exceed 1.0.

    Raises:
        InputError: see `AudioReader`; or the streams have different sample rates.
    """
    with open_container(path) as container:
        declared = declared_length(path, container.format.name)
        decoders = [StreamDecoder(path, _stream(path, container, stream), declared, channels) for stream in streams]
        rates = {decoder.rate for decoder in decoders}
        if len(rates) > 1:
            raise InputError(path, "has streams of different sample rates", found=f"{sorted(rates)} Hz", expected="one rate")
        whole = {decoder.stream.index: _Growing(container, decoder, memory or BufferPool(0)) for decoder in decoders}
        for index, block in decode_streams(path, container, decoders):
            whole[index].append(block)
        if messages is not None:
            messages += dict.fromkeys(f"{path.name}: {message}" for decoder in decoders for message in decoder.messages)
        return [_checked(path, whole[decoder.stream.index].array()) for decoder in decoders], decoders[0].rate


def seconds(path: Path) -> float:
    """Estimate the duration of a file in seconds without decoding it; 0 if the header does not state it."""
    with open_container(path) as container:
        return _seconds(container, _stream(path, container, 0))


@contextmanager
def open_container(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a file with FFmpeg, which may open no other file for it.

    Raises:
        InputError: the file is missing, cannot be read, or its container is damaged or not one of `CONTAINERS`.
    """
    if not path.is_file():
        raise InputError(path, "is not a file" if path.exists() else "no such file")
    if not os.access(path, os.R_OK):
        raise InputError(path, "cannot be read, permission is denied")
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file", "max_size": SMALL_PACKETS}
    if length_overflows(path):
        options["ignore_length"] = "1"
    try:
        container = av.open(f"file:{path}", container_options=options)
    except (av.FFmpegError, ValueError) as error:
        kind = (
            "is not an audio file of a kind that is read here; playlists and raw samples are not"
            if getattr(error, "errno", 0) == EINVAL
            else None
        )
        raise InputError(path, kind or f"is damaged, truncated or not audio ({reason(error)})") from error
    with container:
        yield container


class _Growing:
    """An array that holds as many samples as come, made for the number that the header announces."""

    def __init__(self, container: av.container.InputContainer, decoder: StreamDecoder, memory: BufferPool) -> None:
        announced = int((min(_seconds(container, decoder.stream), ALLOCATED_SECONDS) + 1) * decoder.rate)
        announced = min(announced, ALLOCATED_RATIO * (decoder.path.stat().st_size + BLOCK))
        self.samples, self.count = memory.take((decoder.channels, announced), np.float32), 0

    def append(self, block: np.ndarray) -> None:
        start, self.count = self.count, self.count + block.shape[1]
        if self.count > self.samples.shape[1]:
            grown = np.empty((len(self.samples), max(self.count, 3 * self.samples.shape[1] // 2)), np.float32)
            grown[:, :start] = self.samples[:, :start]
            self.samples = grown
        self.samples[:, start : self.count] = block

    def array(self) -> np.ndarray:
        """Shape: [channels, samples]."""
        return self.samples[:, : self.count]


def _checked(path: Path, samples: np.ndarray) -> np.ndarray:
    if not (samples.max() <= LOUDEST and samples.min() >= -LOUDEST):  # NaN is neither
        raise InputError(
            path, "contains NaN or infinite samples, or samples that are far too large", expected=f"at most {LOUDEST:g}"
        )
    return samples


def _stream(path: Path, container: av.container.InputContainer, index: int) -> av.AudioStream:
    found = container.streams.audio
    if not found:
        raise InputError(path, "has no audio stream")
    if not 0 <= index < len(found):
        raise InputError(path, f"has no audio stream {index}", expected=f"0 to {len(found) - 1}", found=index)
    if found[index].codec_context is None:
        raise InputError(path, "is damaged, truncated or not audio (no decoder for its audio stream)")
    return found[index]


def _chosen_stream(container: av.container.InputContainer, index: int) -> str | None:
    """Return a message that names the audio stream if the file has several."""
    streams = container.streams.audio
    if len(streams) < 2:
        return None
    tags = [value for name in ("title", "language") if (value := streams[index].metadata.get(name))]
    named = f" ({', '.join(tags)})" if tags else ""
    return f"audio stream {index}{named} of {len(streams)} is read; stream=0 to {len(streams) - 1} chooses one"


def _seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    """Return the duration that FFmpeg reads or estimates, in seconds; 0 if it is unknown."""
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    return max((container.duration or 0) / av.time_base, 0.0)
