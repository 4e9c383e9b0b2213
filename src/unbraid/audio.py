"""Read, write and resample audio files: any container, any stream, no ffmpeg on the system.

wav, flac, ogg and mp3 go through libsndfile; everything else (stem mp4, m4a, video) through PyAV, which carries FFmpeg in
its wheel. Resampling is soxr's very-high-quality setting: 44.1 kHz to 8192 Hz is the ratio 2048/11025, for which a
polyphase filter bank like torchaudio's would need 2048 filters of 11,000 taps; soxr factors it and runs 100 times faster.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from errno import EINVAL
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from unbraid.errors import InputError
from unbraid.files import written_whole
from unbraid.memory import Recycled

# Containers that FFmpeg may open, as it names its demuxers: those that hold sound themselves. A playlist names other files of
# the machine, or of others, and may go on for ever; FFmpeg knows it by its content, whatever the file's name is.
CONTAINERS = (
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "dtshd", "dv", "eac3",
    "flac", "flv", "gsm", "iff", "loas", "matroska", "mlp", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "mxf", "nut", "ogg",
    "rm", "shn", "tak", "truehd", "tta", "voc", "w64", "wav", "webm", "wtv", "wv",
)  # fmt: skip


def read(path: Path, streams: Sequence[int] = (0,), memory: Recycled | None = None) -> tuple[list[np.ndarray], int]:
    """Decode some audio streams of a file in one pass.

    Args:
        path: any audio or video file.
        streams: which audio streams, counted among the audio streams only.
        memory: to take the arrays from.

    Returns:
        one float32 array per stream, and their sample rate in Hz. Samples of lossy files may exceed 1.0.

    Shape:
        each array is [channels, samples].

    Raises:
        InputError: the file is missing, is not audio, lacks a stream, is truncated or holds NaN or infinite samples.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: cannot be read, permission is denied")
    arrays, rate = _read_soundfile(path, streams) or _read_av(path, streams, memory or Recycled(0))
    for samples in arrays:
        if not np.isfinite(samples.sum()):  # NaN and infinity spread to the sum, which needs no copy
            raise InputError(f"{path}: holds NaN or infinite samples")
    return arrays, rate


def seconds(path: Path) -> float:
    """Length of a file as its header says, without decoding it; 0 where the header does not say."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return float(soundfile.info(path).duration)
    except soundfile.LibsndfileError:
        pass
    with container_of(path) as container:
        return float((container.duration or 0) / av.time_base)


def container_of(path: Path) -> av.container.InputContainer:
    """A file as FFmpeg opens it, which opens no other beside it; InputError where it is none of `CONTAINERS`, or damaged."""
    only = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{path}", container_options=only)
    except (av.FFmpegError, ValueError) as error:
        kind = "of a kind that is not read here, as playlists are" if getattr(error, "errno", 0) == EINVAL else None
        reason = kind or getattr(error, "strerror", None) or error
        raise InputError(f"{path}: is damaged, truncated or not audio: {reason}") from error


def _read_soundfile(path: Path, streams: Sequence[int]) -> tuple[list[np.ndarray], int] | None:
    """The file through libsndfile, or None where libsndfile does not know the container."""
    try:
        with soundfile.SoundFile(path) as file:
            check_wav_is_whole(path, file)
            samples, rate = file.read(dtype="float32", always_2d=True), file.samplerate
            announced = file.frames
    except soundfile.LibsndfileError:
        return None
    if list(streams) != [0]:
        raise InputError(f"{path}: has one audio stream, expected stream {max(streams)}")
    if len(samples) < announced:
        raise InputError(f"{path}: is truncated: {len(samples)} samples of {announced} can be read")
    return [np.ascontiguousarray(samples.T)], rate


def check_wav_is_whole(path: Path, file: soundfile.SoundFile) -> None:
    """InputError where it is not: libsndfile shortens it without a word, except in its log, where the header's size stands."""
    if file.format not in ("WAV", "WAVEX"):
        return
    for line in file.extra_info.splitlines():
        if line.strip().startswith("data :") and "should be" in line:
            raise InputError(f"{path}: is truncated: its header announces more samples than the file holds")


def _read_av(path: Path, streams: Sequence[int], memory: Recycled) -> tuple[list[np.ndarray], int]:
    try:
        with container_of(path) as container:
            wanted = _pick_streams(path, container, streams)
            decoded = {stream.index: _Samples(stream, memory) for stream in wanted}
            for packet in container.demux(wanted):
                append = decoded[packet.stream.index].append
                for frame in packet.decode():
                    assert isinstance(frame, av.AudioFrame)
                    append(frame)
            return [_whole(path, stream, decoded[stream.index].array()) for stream in wanted], wanted[0].rate
    except av.FFmpegError as error:
        raise InputError(f"{path}: is damaged, truncated or not audio: {error.strerror}") from error


class _Samples:
    """The samples of one stream, in one array that is made once for what the header announces, and grows where it lied."""

    def __init__(self, stream: av.AudioStream, memory: Recycled) -> None:
        announced = int(announced_seconds(stream) * stream.rate) + stream.rate
        self.samples, self.count = memory.take((stream.channels, announced), np.float32), 0
        self.convert = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)

    def append(self, frame: av.AudioFrame) -> None:
        for part in (frame,) if frame.format.name == "fltp" else self.convert.resample(frame):
            start, self.count = self.count, self.count + part.samples
            if self.count > self.samples.shape[1]:
                self.samples = np.concatenate([self.samples, np.empty_like(self.samples)], axis=1)
            for channel, plane in enumerate(part.planes):  # each is a buffer, which its type stub does not say
                self.samples[channel, start : self.count] = np.frombuffer(plane, np.float32, part.samples)  # type: ignore[call-overload]

    def array(self) -> np.ndarray:
        """Shape: [channels, samples]."""
        return self.samples[:, : self.count]


def _pick_streams(path: Path, container: av.container.InputContainer, streams: Sequence[int]) -> list[av.AudioStream]:
    found = audio_streams(path, container)
    if max(streams) >= len(found):
        raise InputError(f"{path}: has {len(found)} audio streams, expected at least {max(streams) + 1}")
    wanted = [found[i] for i in streams]
    rates = {stream.rate for stream in wanted}
    if len(rates) > 1:
        raise InputError(f"{path}: its streams have different sample rates: {sorted(rates)} Hz")
    return wanted


def audio_streams(path: Path, container: av.container.InputContainer) -> list[av.AudioStream]:
    """InputError where there are none, or none that anything can decode."""
    if not container.streams.audio:
        raise InputError(f"{path}: has no audio stream")
    known = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not known:
        raise InputError(f"{path}: is damaged, truncated or not audio: nothing can decode its audio stream")
    return known


def announced_seconds(stream: av.AudioStream) -> float:
    """As the container's header has it; 0 where it does not say."""
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0


def _whole(path: Path, stream: av.AudioStream, samples: np.ndarray) -> np.ndarray:
    """`samples`, if they are as many as the header announces."""
    announced = announced_seconds(stream)
    if samples.shape[1] < (announced - 0.1) * stream.rate:
        seconds = samples.shape[1] / stream.rate
        raise InputError(f"{path}: is truncated: {seconds:.2f} s of {announced:.2f} s can be read")
    return samples


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resample `[channels, samples]` from `rate` to `new_rate` Hz."""
    if rate == new_rate:
        return samples
    return np.ascontiguousarray(soxr.resample(samples.T, rate, new_rate, quality="VHQ").T)


def resampled(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """As `resample`, of a signal that comes in blocks [channels, n]."""
    if rate == new_rate:
        yield from blocks
        return
    stream = None
    for block in blocks:
        stream = stream or soxr.ResampleStream(rate, new_rate, len(block), dtype="float32", quality="VHQ")
        if (some := stream.resample_chunk(np.ascontiguousarray(block.T))).size:
            yield np.ascontiguousarray(some.T)
    if stream is not None:
        yield np.ascontiguousarray(stream.resample_chunk(np.zeros((0, len(block)), np.float32), last=True).T)


def to_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    """Make `[c, samples]` have 1 (the mean) or 2 channels (a mono file on both sides); of more than two the first two count."""
    if channels == 1:
        return samples[:2].mean(axis=0, keepdims=True)
    return np.repeat(samples, 2, axis=0) if len(samples) == 1 else samples[:channels]


def write(path: Path, samples: np.ndarray, rate: int) -> None:
    """Write `[channels, samples]` in the format of the suffix: int16 as it is, floats as 24 bits with peaks over 1.0 clipped.

    The file appears under its name only when it is whole.
    """
    subtype = "PCM_16" if samples.dtype == np.int16 else "PCM_24"
    values = samples if samples.dtype == np.int16 else np.clip(samples, -1.0, 1.0)
    with written_whole(path) as partial:
        soundfile.write(partial, values.T, rate, subtype=subtype)
