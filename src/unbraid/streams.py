"""Audio files read and written block by block, so that their length costs no memory; `unbraid.audio` has them whole.

As there, libsndfile reads what it knows and PyAV the rest. Written are wav (RF64 beyond 4 GB), flac, mp3 and ogg by libsndfile,
and files of several streams, mp4 with AAC, by PyAV.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import av
import numpy as np
import soundfile

from unbraid.audio import announced_seconds, audio_streams, check_wav_is_whole, container_of
from unbraid.errors import InputError

BLOCK = 2**15  # samples
SLOWEST, FASTEST = 1000, 768_000  # Hz; what lies beyond is a damaged header
LOUDEST = 1e6  # integers written as floats are not so large; what is makes float32 overflow on the way
# As libsndfile calls them; FFmpeg has another name for the last.
TAGS = ("title", "artist", "album", "date", "genre", "comment", "copyright", "license", "tracknumber")
SUFFIXES = ("wav", "flac", "mp3", "ogg", "stem.mp4")
Bits = Literal[16, 24, 32]
SUBTYPES = {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}
LARGEST_WAV = 2**32 - 2**16  # bytes
AAC_BITS_PER_SECOND = 256_000


class Blocks(Protocol):
    """A file that is being read: what it says of itself, and its samples."""

    rate: int
    channels: int
    seconds: float  # as announced; 0 where it is not
    tags: dict[str, str]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Float32 stretches [channels, n]; InputError where the file turns out to be damaged."""
        ...


@contextmanager
def opened(path: Path) -> Iterator[Blocks]:
    """An audio or video file, of which the first audio stream is read.

    Raises:
        InputError: the file is missing, is not audio, or has a rate that no recording has; while it is read: it is damaged,
            truncated, empty, or holds NaN or infinite samples.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'is no file' if path.exists() else 'no such file'}")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: cannot be read, permission is denied")
    with _known(path) as blocks:
        if not SLOWEST <= blocks.rate <= FASTEST:
            raise InputError(f"{path}: has {blocks.rate} Hz, expected {SLOWEST} to {FASTEST}")
        yield _Checked(path, blocks)


def _known(path: Path) -> AbstractContextManager[Blocks]:
    """By libsndfile or, where that does not know the container, by PyAV."""
    try:
        return _Sndfile(path)
    except soundfile.LibsndfileError:
        return _FFmpeg(path)


@dataclass
class _Checked:
    """Numbers, and at least one of them."""

    path: Path
    blocks: Blocks

    def __post_init__(self) -> None:
        self.rate, self.channels, self.seconds = self.blocks.rate, self.blocks.channels, self.blocks.seconds
        self.tags = self.blocks.tags

    def __iter__(self) -> Iterator[np.ndarray]:
        samples = 0
        for block in self.blocks:
            if not np.abs(block).max(initial=0) <= LOUDEST:  # of NaN nothing is true
                raise InputError(f"{self.path}: holds NaN or infinite samples, or some beyond {LOUDEST:g}")
            samples += block.shape[1]
            yield block
        if not samples:
            raise InputError(f"{self.path}: holds no samples")


class _Sndfile(AbstractContextManager["_Sndfile"]):
    def __init__(self, path: Path) -> None:
        self.path, self.file = path, soundfile.SoundFile(path)
        try:
            check_wav_is_whole(path, self.file)
        except InputError:
            self.file.close()
            raise
        self.rate, self.channels = self.file.samplerate, self.file.channels
        self.seconds = self.file.frames / self.rate if self.rate and self.file.frames < UNKNOWN else 0.0
        self.tags = {name: value for name, value in self.file.copy_metadata().items() if name in TAGS and value}

    def __iter__(self) -> Iterator[np.ndarray]:
        samples = 0
        try:
            while len(block := self.file.read(BLOCK, dtype="float32", always_2d=True)):
                samples += len(block)
                yield np.ascontiguousarray(block.T)
        except soundfile.LibsndfileError as error:
            raise InputError(f"{self.path}: is damaged: {error.error_string}") from error
        if samples < self.seconds * self.rate - 0.5:
            raise InputError(f"{self.path}: is truncated: {samples} samples of {self.file.frames} can be read")

    def __exit__(self, *_: object) -> None:
        self.file.close()


UNKNOWN = 2**62  # what libsndfile says of a length that it does not know


class _FFmpeg(AbstractContextManager["_FFmpeg"]):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.container = container_of(path)
        try:
            self.stream = audio_streams(path, self.container)[0]
        except InputError:
            self.container.close()
            raise
        self.rate, self.channels = self.stream.rate or 0, self.stream.channels
        self.seconds = announced_seconds(self.stream)
        found = {name.lower(): value for name, value in (self.stream.metadata | self.container.metadata).items()}
        self.tags = {name: found[key] for name in TAGS if found.get(key := "track" if name == "tracknumber" else name)}

    def _damaged(self, error: Exception) -> InputError:
        reason = getattr(error, "strerror", None) or error
        return InputError(f"{self.path}: is damaged, truncated or not audio: {reason}")

    def __iter__(self) -> Iterator[np.ndarray]:
        samples = 0
        try:
            convert = av.AudioResampler(format="fltp", layout=self.stream.layout, rate=self.rate)
            for frame in self.container.decode(self.stream):
                if (frame.sample_rate, len(frame.layout.channels)) != (self.rate, self.channels):
                    raise InputError(f"{self.path}: changes its rate or its channels on the way")
                for part in convert.resample(frame):
                    samples += part.samples
                    yield part.to_ndarray()
        except (av.FFmpegError, ValueError) as error:
            raise error if isinstance(error, InputError) else self._damaged(error) from error
        if samples < (self.seconds - 0.1) * self.rate:
            read = f"{samples / self.rate:.2f} s of {self.seconds:.2f} s"
            raise InputError(f"{self.path}: is truncated: {read} can be read")

    def __exit__(self, *_: object) -> None:
        self.container.close()


def write_blocks(
    path: Path, blocks: Iterator[np.ndarray], rate: int, channels: int, samples: int, bits: Bits, tags: Mapping[str, str]
) -> None:
    """A file of one stream, in the format of its suffix.

    Args:
        path: that is written to; whole or not is the caller's affair.
        blocks: [channels, n] each; what lies outside [-1, 1] is clipped unless `bits` is 32.
        rate: in Hz.
        channels: 1 or 2.
        samples: in all.
        bits: of a sample of wav and flac; 32: floats, in wav only.
        tags: by names of `TAGS`.

    Raises:
        InputError: the format has no such rate or bits, or there is no room for the file.
    """
    suffix = path.suffix[1:]
    if suffix == "flac" and bits == 32:
        raise InputError(f"{path.name}: flac has 16 or 24 bits, found 32; choose bits=24, or format=wav")
    large = suffix == "wav" and samples * channels * bits // 8 > LARGEST_WAV
    subtype = SUBTYPES[bits] if suffix in ("wav", "flac") else None
    try:
        with soundfile.SoundFile(path, "w", rate, channels, subtype, format="RF64" if large else suffix.upper()) as file:
            with suppress(soundfile.LibsndfileError):  # a format has the tags that it has
                for name, value in tags.items():
                    setattr(file, name, value)
            for block in blocks:
                file.write((block if bits == 32 else np.clip(block, -1, 1)).T)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path.name}: {suffix} cannot be written at {rate} Hz with {channels} channels: {error}") from error
    except AssertionError as error:  # how soundfile says that less was written than given
        raise InputError(f"{path.parent}: {path.name} cannot be written, there is no room for it") from error


def write_streams(
    path: Path, streams: Sequence[Iterator[np.ndarray]], names: Sequence[str], rate: int, channels: int, tags: Mapping[str, str]
) -> None:
    """An mp4 with several streams of AAC, as stem files have them.

    Args:
        path: that is written to.
        streams: blocks [channels, n] of each, which are of the same lengths.
        names: of the streams.
        rate: in Hz.
        channels: 1 or 2.
        tags: by names of `TAGS`.

    Raises:
        InputError: AAC has no such rate, or there is no room for the file.
    """
    layout = "mono" if channels == 1 else "stereo"
    try:
        with av.open(str(path), "w", format="mp4", options={"movie_timescale": str(rate)}) as container:
            container.metadata.update({"track" if name == "tracknumber" else name: value for name, value in tags.items()})
            made = [container.add_stream("aac", rate=rate, layout=layout) for _ in names]
            for stream, name in zip(made, names, strict=True):
                stream.bit_rate = AAC_BITS_PER_SECOND
                stream.metadata.update({"title": name, "handler_name": name})
            start = 0
            for blocks in zip(*streams, strict=True):
                for stream, block in zip(made, blocks, strict=True):
                    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
                    frame.sample_rate, frame.pts = rate, start
                    container.mux(stream.encode(frame))
                start += blocks[0].shape[1]
            for stream in made:
                container.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path.name}: cannot be written at {rate} Hz: {reason}") from error
