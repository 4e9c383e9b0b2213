"""Decode the packets of audio streams to float32, and check that the file is not truncated.

The number of decoded samples is compared with the length in the header of the file.
"""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np

from unbraid.audio.channels import ChannelChoice, stereo_gains
from unbraid.audio.containers import Declared
from unbraid.runs.errors import InputError

LONGEST_HOURS = 6.0  # a small file can contain days of silence, which would fill the memory
HOURS_VARIABLE = "UNBRAID_MAX_AUDIO_HOURS"
SLOWEST, FASTEST = 1000, 768_000  # Hz; other sample rates come from damaged headers
# Containers whose duration in FFmpeg is an exact number of samples.
EXACT_DURATIONS = ("mov,mp4,m4a,3gp,3g2,mj2", "ape", "tak")
# Dtype and full scale of FFmpeg's sample formats. The names of planar formats end in p.
FORMATS = {
    "u8": (np.uint8, 2.0**7), "s16": (np.int16, 2.0**15), "s32": (np.int32, 2.0**31), "s64": (np.int64, 2.0**63),
    "flt": (np.float32, 1.0), "dbl": (np.float64, 1.0),
}  # fmt: skip
# Mask and value of the first two bytes of each audio frame. Packets with other values are tags or other junk.
SYNC = {"mp3": (0xFFE0, 0xFFE0), "mp3float": (0xFFE0, 0xFFE0), "mp2": (0xFFE0, 0xFFE0), "mp2float": (0xFFE0, 0xFFE0),
        "ac3": (0xFFFF, 0x0B77), "eac3": (0xFFFF, 0x0B77)}  # fmt: skip


class StreamDecoder:
    """Decode the packets of one audio stream to float32, and check the number of decoded samples at the end.

    An `InputError` is raised if the sample rate is invalid, or if the file is shorter or longer than its header declares.

    Args:
        path: path of the file.
        stream: audio stream, opened by FFmpeg.
        declared: length that the header of the file declares.
        channels: conversion of surround sound to stereo: `downmix` (all channels) or `front` (front left and right only).
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
        self.hours = _longest_hours()
        self._check_header()

    def decode(self, packet: av.Packet) -> Iterator[np.ndarray]:
        """Decode one packet (a piece of compressed audio) of the audio stream.

        Args:
            packet: packet that FFmpeg has read from the file.

        Shape:
            each block: [channels (1 or 2), samples].

        Yields:
            Blocks of float32 samples.

        Raises:
            InputError: the packet is damaged, the sample rate or the number of channels changes, or the stream is too long.
        """
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError) as error:
            if self._is_audio(packet):
                self._raise_damaged(error)
            self.junk += packet.size
            return
        for frame in frames:
            assert isinstance(frame, av.AudioFrame)
            if (frame.sample_rate, frame.layout.nb_channels) != (self.rate, self.source_channels):
                raise InputError(
                    self.path, f"the sample rate or the number of channels changes after {self.samples / self.rate:.2f} s",
                    found=f"{frame.sample_rate} Hz and {frame.layout.nb_channels} channels",
                    expected=f"{self.rate} Hz and {self.source_channels} channels, as at the start of the file",
                    hint="Convert the file, for example with ffmpeg -i FILE NEW.wav",
                )  # fmt: skip
            self.samples += frame.samples
            self._check_length()
            self.longest_frame = max(self.longest_frame, frame.samples)
            planes = _float_planes(frame, self.source_channels)
            yield planes if self.gains is None else self.gains @ planes

    def finish(self, error: av.FFmpegError | None, end: int) -> None:
        """Check that the stream was decoded completely. Call this method after the last packet (piece of compressed audio).

        Args:
            error: error of FFmpeg that ended the reading of packets; None if the end of the file was reached.
            end: position in the file at which the last packet ends, in bytes.

        Raises:
            InputError: the stream is damaged, truncated or empty.
        """
        expected, slack = self.declared.samples, self.declared.slack
        if expected is None and self.stream.container.format.name in EXACT_DURATIONS and self.stream.duration:
            # The duration of an mp4 counts whole frames. An edit list may cut the first and the last frame.
            expected, slack = round(self.stream.duration * (self.stream.time_base or 0) * self.rate), self.longest_frame
        if expected is not None and self.samples < expected - slack:
            raise InputError(
                self.path,
                "the file is truncated: it has fewer samples than its header states",
                found=f"{self.samples} samples",
                expected=f"{expected} samples",
                hint="Copy or download the file again",
            )
        if error is not None:
            self._after_error(error, end, is_complete=expected is not None)
        if not self.samples:
            raise InputError(self.path, "the file contains no samples")
        if self.junk:
            self.messages.append(f"contains {self.junk} bytes between its audio frames that are not audio and were ignored")

    def _check_header(self) -> None:
        if not SLOWEST <= self.rate <= FASTEST:
            raise InputError(
                self.path, "the file has an invalid sample rate", found=f"{self.rate} Hz", expected=f"{SLOWEST} to {FASTEST} Hz"
            )
        declared = self.declared
        if declared.is_truncated:
            raise InputError(
                self.path,
                f"the file is truncated: according to its header, {declared.missing} bytes are missing",
                hint="Copy or download the file again",
            )
        if declared.is_joined:
            raise InputError(
                self.path,
                "the file consists of two audio files, one after the other",
                hint="Save each of the two audio files as a file of its own",
            )
        if declared.overflows:
            self.messages.append("is longer than its 32-bit length field can declare (4 GB), and is read to its end")
        elif declared.extra:
            raise InputError(
                self.path, "the file is longer than its header declares",
                found=f"{declared.extra} bytes after the declared end",
                hint="The header is wrong. Repair the file, for example with ffmpeg -i FILE -c copy NEW.",
            )  # fmt: skip
        if declared.is_unended:
            self.messages.append("does not end with the end mark of its format, and may be truncated")

    def _check_length(self) -> None:
        if self.samples > self.hours * 3600 * self.rate:
            raise InputError(
                self.path, "the audio is too long", found=f"more than {self.hours:g} h", expected=f"at most {self.hours:g} h",
                hint=f"Set the environment variable {HOURS_VARIABLE} to a larger number of hours.",
            )  # fmt: skip

    def _is_audio(self, packet: av.Packet) -> bool:
        mask, value = SYNC.get(self.stream.codec_context.name, (0, 0))
        return int.from_bytes(bytes(packet)[:2]) & mask == value

    def _after_error(self, error: av.FFmpegError, end: int, is_complete: bool) -> None:
        """Handle an error of FFmpeg at the position `end`: ignore the error, or raise an `InputError`.

        The error is ignored if both conditions hold: the stream is complete, and only bytes that are not audio follow after
        `end`. Otherwise, for example if a second audio file follows, an `InputError` is raised.
        """
        with self.path.open("rb") as file:
            magic = file.read(4)
            file.seek(end)
            tail = file.read()
        if not is_complete or magic in tail:
            self._raise_damaged(error)
        self.junk += len(tail)

    def _raise_damaged(self, error: Exception) -> NoReturn:
        place = f"the audio cannot be decoded after {self.samples / self.rate:.2f} s"
        problem = f"{place}, because the file is damaged, truncated or not audio ({reason(error)})"
        raise InputError(self.path, problem, hint="Copy or download the file again") from error


def _longest_hours() -> float:
    """Return the longest allowed duration of an audio file in hours.

    The environment variable `UNBRAID_MAX_AUDIO_HOURS` sets the duration; the default is 6 hours. An invalid value of the
    variable raises an `InputError`.
    """
    given = os.environ.get(HOURS_VARIABLE, str(LONGEST_HOURS))
    try:
        hours = float(given)
    except ValueError:
        hours = math.nan
    if not hours > 0:  # NaN is not
        raise InputError(
            HOURS_VARIABLE,
            "the value of this environment variable is invalid",
            found=repr(given),
            expected="a number of hours above 0",
        )
    return hours


def decode_streams(
    path: Path, container: av.container.InputContainer, decoders: Sequence[StreamDecoder]
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode several audio streams of a file in one pass, and check at the end that all streams are complete.

    Args:
        path: path of the file.
        container: the file, opened by FFmpeg.
        decoders: one decoder for each stream that is read.

    Shape:
        each block: [channels (1 or 2), samples].

    Yields:
        Pairs: the index of a stream in the container, and a block of samples of this stream.
    """
    by_index = {decoder.stream.index: decoder for decoder in decoders}
    error, end = None, 0
    packets = container.demux([decoder.stream for decoder in decoders])
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.FFmpegError as failure:
            error = failure
            break
        end = max(end, (packet.pos or 0) + packet.size)
        for block in by_index[packet.stream.index].decode(packet):
            yield packet.stream.index, block
    for decoder in decoders:
        decoder.finish(error, end)


def _float_planes(frame: av.AudioFrame, channels: int) -> np.ndarray:
    """Convert the samples of a decoded frame to float32 in [-1, 1]. Shape: [channels, samples]."""
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


def reason(error: Exception) -> str:
    """Return the message of an exception that FFmpeg raised; the name of the exception class if the message is empty."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
