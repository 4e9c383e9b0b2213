"""Write audio files, at once or block by block, with one or several audio streams.

libsndfile writes wav (RF64 beyond 4 GB), flac, mp3 and ogg. FFmpeg writes mp4 files with several AAC streams. NaN and infinite
samples raise an error, because they would become silence or noise in the file. A network whose training has diverged can return
such samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import av
import numpy as np
import soundfile

from unbraid.audio.decoder import reason
from unbraid.audio.reader import TAGS
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write

SUFFIXES = ("wav", "flac", "mp3", "ogg", "stem.mp4")
Bits = Literal[16, 24, 32]
SUBTYPES = {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}
LARGEST_WAV = 2**32 - 2**16  # bytes
AAC_BITS_PER_SECOND = 256_000


def write(path: Path, samples: np.ndarray, rate: int) -> None:
    """Write a signal to an audio file. The file has a temporary name until it is complete.

    NaN and infinite samples raise InputError.

    Args:
        path: path of the file; its suffix determines the format.
        samples: signal. int16 is written with 16 bits, floats are clipped to [-1, 1] and written with 24 bits.
        rate: sample rate in Hz.

    Shape:
        samples: [channels, samples].
    """
    subtype = "PCM_16" if samples.dtype == np.int16 else "PCM_24"
    if samples.dtype != np.int16:
        check_finite(path, samples)
        samples = np.clip(samples, -1.0, 1.0)
    with atomic_write(path) as partial:
        soundfile.write(partial, samples.T, rate, subtype=subtype)


def check_finite(path: Path, samples: np.ndarray) -> None:
    """Check that all samples of a signal are finite.

    Args:
        path: path of the file that would be written, for the error message.
        samples: signal of any shape.

    Raises:
        InputError: a sample is NaN or infinite.
    """
    if not np.isfinite(samples).all():
        raise InputError(
            path,
            "the file cannot be written, because samples are NaN or infinite",
            hint="The training of the model has diverged. A lower optim.optimizer.lr may help",
        )


def write_blocks(
    path: Path, blocks: Iterator[np.ndarray], rate: int, channels: int, samples: int, bits: Bits, tags: Mapping[str, str]
) -> None:
    """Write an audio file with one stream, block by block.

    Args:
        path: temporary path of the file; its suffix determines the format. The caller must rename the complete file.
        blocks: consecutive blocks of the signal; samples outside [-1, 1] are clipped unless `bits` is 32.
        rate: sample rate in Hz.
        channels: number of channels, 1 or 2.
        samples: length of the whole signal: the number of samples per channel in all blocks together.
        bits: bits per sample of wav and flac files. 32 means float samples, for wav only. Ignored for mp3 and ogg.
        tags: metadata of the file: dictionary from a key in `unbraid.audio.reader.TAGS`, such as `title`, to a text.

    Shape:
        each block: [channels, n].

    Raises:
        InputError: the format does not support `rate` or `bits`, a sample is NaN or infinite, or the disk is full.
    """
    suffix = path.suffix[1:].lower()
    if suffix == "flac" and bits == 32:
        raise InputError(
            "bits",
            "flac does not support this number of bits per sample",
            found=bits,
            expected="16 or 24",
            hint="format=wav supports 32 bits.",
        )
    large = suffix == "wav" and samples * channels * bits // 8 > LARGEST_WAV
    subtype = SUBTYPES[bits] if suffix in ("wav", "flac") else None
    try:
        with soundfile.SoundFile(path, "w", rate, channels, subtype, format="RF64" if large else suffix.upper()) as file:
            with suppress(soundfile.LibsndfileError):  # some formats lack some tags
                for name, value in tags.items():
                    setattr(file, name, value)
            for block in blocks:
                check_finite(path, block)
                file.write((block if bits == 32 else np.clip(block, -1, 1)).T)
    except soundfile.LibsndfileError as error:
        problem = f"a {suffix} file cannot be written at {rate} Hz with {channels} channels ({error})"
        raise InputError(path.name, problem, hint="Choose another file format") from error
    except AssertionError as error:  # soundfile wrote too few samples
        raise InputError(path.parent, f"{path.name} cannot be written, because the disk is full") from error


def write_streams(
    path: Path, streams: Sequence[Iterator[np.ndarray]], names: Sequence[str], rate: int, channels: int, tags: Mapping[str, str]
) -> None:
    """Write a stem file: an mp4 file with one AAC stream for each source.

    Args:
        path: temporary path of the file. The caller must rename the complete file.
        streams: consecutive blocks of each stream. The n-th blocks of all streams have the same length.
        names: title of each stream. Audio players show the title.
        rate: sample rate in Hz.
        channels: number of channels of each stream, 1 or 2.
        tags: metadata of the file: dictionary from a key in `unbraid.audio.reader.TAGS`, such as `title`, to a text.

    Shape:
        each block of a stream: [channels, n].

    Raises:
        InputError: AAC does not support the sample rate, samples are NaN or infinite, or the disk is full.
    """
    layout = "mono" if channels == 1 else "stereo"
    try:
        with av.open(str(path), "w", format="mp4", options={"movie_timescale": str(rate)}) as container:
            container.metadata.update({TAGS[name]: value for name, value in tags.items()})
            encoders = [container.add_stream("aac", rate=rate, layout=layout) for _ in names]
            for stream, name in zip(encoders, names, strict=True):
                stream.bit_rate = AAC_BITS_PER_SECOND
                stream.metadata.update({"title": name, "handler_name": name})
            start = 0
            for blocks in zip(*streams, strict=True):
                for stream, block in zip(encoders, blocks, strict=True):
                    check_finite(path, block)
                    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
                    frame.sample_rate, frame.pts = rate, start
                    container.mux(stream.encode(frame))
                start += blocks[0].shape[1]
            for stream in encoders:
                container.mux(stream.encode(None))
    except InputError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise InputError(path.name, f"the file cannot be written at {rate} Hz ({reason(error)})") from error
