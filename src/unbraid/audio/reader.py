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
from typing import Any

import av
import numpy as np

from unbraid.audio.channels import ChannelChoice, stereo_gains
from unbraid.audio.containers import Declared, declared_length
from unbraid.errors import InputError
from unbraid.memory import Recycled

BLOCK = 2**15  # samples
SLOWEST, FASTEST = 1000, 768_000  # Hz; other rates come from damaged headers
LOUDEST = 1e6  # larger samples come from damaged files, and overflow in float32 on the way
ALLOCATED_SECONDS = 600  # memory is taken for at most so much of a length that may be wrong
SMALL_PACKETS = "32768"  # bytes of a wav packet: eight times FFmpeg's default, and the buffers stay in the cache
# FFmpeg's names of its demuxers for containers that hold sound themselves. A playlist names other files and may be endless;
# FFmpeg recognises it by its content, whatever the name of the file is.
CONTAINERS = (
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "dtshd", "dv", "eac3",
    "flac", "flv", "gsm", "loas", "matroska", "mlp", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "mxf", "ogg", "rm", "shn",
    "tak", "truehd", "tta", "w64", "wav", "webm", "wtv", "wv",
)  # fmt: skip
# Containers whose duration FFmpeg reads from an exact number of samples.
EXACT_DURATIONS = ("mov,mp4,m4a,3gp,3g2,mj2", "ape", "tak")
# Dtype and full scale of FFmpeg's sample formats; planar ones end in p.
FORMATS = {
    "u8": (np.uint8, 2.0**7), "s16": (np.int16, 2.0**15), "s32": (np.int32, 2.0**31), "s64": (np.int64, 2.0**63),
    "flt": (np.float32, 1.0), "dbl": (np.float64, 1.0),
}  # fmt: skip
# The mask and value of the first two bytes of each frame; packets without them are tags or other junk between frames.
SYNC = {"mp3": (0xFFE0, 0xFFE0), "mp3float": (0xFFE0, 0xFFE0), "mp2": (0xFFE0, 0xFFE0), "mp2float": (0xFFE0, 0xFFE0),
        "ac3": (0xFFFF, 0x0B77), "eac3": (0xFFFF, 0x0B77)}  # fmt: skip
# FFmpeg's names of the tags that are copied to stems, by libsndfile's names.
TAGS = {
    "title": "title", "artist": "artist", "album": "album", "date": "date", "genre": "genre", "comment": "comment",
    "copyright": "copyright", "license": "license", "tracknumber": "track",
}  # fmt: skip


class AudioReader:
    """One audio stream of a file, decoded block by block.

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
            InputError: the file is damaged, truncated or empty, or contains NaN, infinite or far too large samples.
        """
        waiting: list[np.ndarray] = []
        for block in _decode(self.path, self.container, [self.decoder]):
            waiting.append(block[1])
            if sum(part.shape[1] for part in waiting) >= BLOCK:
                yield _checked(self.path, np.concatenate(waiting, axis=1))
                waiting = []
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
    memory: Recycled | None = None,
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
        whole = {decoder.stream.index: _Growing(container, decoder, memory or Recycled(0)) for decoder in decoders}
        for index, block in _decode(path, container, decoders):
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
    if declared_length(path, "wav").overflows:
        options["ignore_length"] = "1"
    try:
        container = av.open(f"file:{path}", container_options=options)
    except (av.FFmpegError, ValueError) as error:
        kind = "is of a kind that is not read here, such as a playlist" if getattr(error, "errno", 0) == EINVAL else None
        raise InputError(path, kind or f"is damaged, truncated or not audio ({_reason(error)})") from error
    with container:
        yield container


class StreamDecoder:
    """Decodes the packets of one audio stream to float32, counts what it decodes, and checks it at the end.

    Args:
        path: of the file.
        stream: the audio stream.
        declared: the length that the container's header declares.
        channels: how stereo is made of more than two channels.
    """

    def __init__(self, path: Path, stream: av.AudioStream, declared: Declared, channels: ChannelChoice) -> None:
        self.path, self.stream, self.declared = path, stream, declared
        self.rate, self.source_channels = stream.rate or 0, stream.channels
        self.messages: list[str] = []
        self.gains: np.ndarray | None = None
        if self.source_channels > 2:
            self.gains, message = stereo_gains([channel.name for channel in stream.layout.channels], channels)
            self.messages.append(message)
        self.channels = min(self.source_channels, 2)
        self.samples, self.longest_frame, self.junk = 0, 0, 0
        self._check_header()

    def decode(self, packet: av.Packet) -> Iterator[np.ndarray]:
        """Yield the samples of a packet.

        Shape:
            [1 or 2, n] each.
        """
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError) as error:
            if self._is_sound(packet):
                raise self._damaged(error) from error
            self.junk += packet.size
            return
        for frame in frames:
            assert isinstance(frame, av.AudioFrame)
            if (frame.sample_rate, frame.layout.nb_channels) != (self.rate, self.source_channels):
                raise InputError(
                    self.path, "changes its sample rate or its channels on the way",
                    found=f"{frame.sample_rate} Hz and {frame.layout.nb_channels} channels",
                    expected=f"{self.rate} Hz and {self.source_channels}, as at its start",
                )  # fmt: skip
            self.samples += frame.samples
            self.longest_frame = max(self.longest_frame, frame.samples)
            planes = _float_planes(frame, self.source_channels)
            yield planes if self.gains is None else self.gains @ planes

    def finish(self, error: av.FFmpegError | None, end: int) -> None:
        """Check the decoded samples.

        Args:
            error: that ended the reading of packets, if one did.
            end: position in the file after the last packet, in bytes.

        Raises:
            InputError: the stream is damaged, truncated or empty.
        """
        expected, slack = self.declared.samples, 0
        if expected is None and self.stream.container.format.name in EXACT_DURATIONS and self.stream.duration:
            # An mp4 counts whole frames, of which an edit list may cut the first and the last.
            expected, slack = round(self.stream.duration * (self.stream.time_base or 0) * self.rate), self.longest_frame
        if expected is not None and self.samples < expected - slack:
            raise InputError(self.path, "is truncated", found=f"{self.samples} samples", expected=f"{expected} by its header")
        if error is not None:
            self._after_error(error, end, is_complete=expected is not None)
        if not self.samples:
            raise InputError(self.path, "contains no samples")
        if self.junk:
            self.messages.append(f"{self.junk} bytes between its frames are not sound and were ignored")

    def _check_header(self) -> None:
        if not SLOWEST <= self.rate <= FASTEST:
            raise InputError(
                self.path, "has an invalid sample rate", found=f"{self.rate} Hz", expected=f"{SLOWEST} to {FASTEST}"
            )
        declared = self.declared
        if declared.is_truncated:
            raise InputError(
                self.path, "is truncated", found=f"{declared.missing} bytes fewer", expected="the size in its header"
            )
        if declared.is_joined:
            raise InputError(
                self.path, "contains a second file after its end", hint="Split it, or join the sound and not the files."
            )
        if declared.overflows:
            self.messages.append("is longer than the 32 bits of its header can state; it is read to its end")
        elif declared.extra:
            raise InputError(
                self.path, "continues after the end that its header declares", found=f"{declared.extra} bytes more",
                hint="Its header is wrong: repair it, for example with ffmpeg -i FILE -c copy NEW.",
            )  # fmt: skip
        if declared.is_unended:
            self.messages.append("has no mark of its end; it may have been cut off")

    def _is_sound(self, packet: av.Packet) -> bool:
        mask, value = SYNC.get(self.stream.codec_context.name, (0, 0))
        return int.from_bytes(bytes(packet)[:2]) & mask == value

    def _after_error(self, error: av.FFmpegError, end: int, is_complete: bool) -> None:
        """Accept junk after a complete stream; refuse damage, and another file that would be lost."""
        with self.path.open("rb") as file:
            magic = file.read(4)
            file.seek(end)
            tail = file.read()
        if not is_complete or magic in tail:
            raise self._damaged(error)
        self.junk += len(tail)

    def _damaged(self, error: Exception) -> InputError:
        place = f"after {self.samples / self.rate:.2f} s" if self.rate else None
        return InputError(self.path, f"is damaged, truncated or not audio ({_reason(error)})", found=place)


def _decode(
    path: Path, container: av.container.InputContainer, decoders: Sequence[StreamDecoder]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the index of a stream with some of its samples, until all streams are decoded and checked."""
    by_index = {decoder.stream.index: decoder for decoder in decoders}
    error, end = None, 0
    packets = container.demux([decoder.stream for decoder in decoders])
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.FFmpegError as reason:
            error = reason
            break
        end = max(end, (packet.pos or 0) + packet.size)
        for block in by_index[packet.stream.index].decode(packet):
            yield packet.stream.index, block
    for decoder in decoders:
        decoder.finish(error, end)


def _float_planes(frame: av.AudioFrame, channels: int) -> np.ndarray:
    """Return the samples of a frame as float32 with a full scale of 1. Shape: [channels, samples]."""
    dtype, full_scale = FORMATS[frame.format.name.removesuffix("p")]
    samples = np.empty((channels, frame.samples), np.float32)
    planes: list[Any] = list(frame.planes)
    if frame.format.is_planar:
        for channel, plane in enumerate(planes):
            samples[channel] = np.frombuffer(plane, dtype, frame.samples)
    else:
        samples[:] = np.frombuffer(planes[0], dtype, frame.samples * channels).reshape(-1, channels).T
    if dtype is np.uint8:
        samples -= np.float32(full_scale)
    if full_scale != 1:
        samples *= np.float32(1 / full_scale)
    return samples


class _Growing:
    """An array that holds as many samples as come, made for the number that the header announces."""

    def __init__(self, container: av.container.InputContainer, decoder: StreamDecoder, memory: Recycled) -> None:
        announced = min(_seconds(container, decoder.stream), ALLOCATED_SECONDS) + 1
        self.samples, self.count = memory.take((decoder.channels, int(announced * decoder.rate)), np.float32), 0

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


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
