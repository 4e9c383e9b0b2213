"""Make audio files of many kinds from one short signal with Debian's ffmpeg, and damage them in several ways."""

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import gettempdir

import numpy as np

RATE, SAMPLES = 44100, 44100
FFMPEG = shutil.which("ffmpeg")
# ffmpeg's arguments and its muxer for each kind, by the suffix of the file.
KINDS = {
    "s16.wav": ("-c:a pcm_s16le", "wav"),
    "s24.wav": ("-c:a pcm_s24le", "wav"),
    "f32.wav": ("-c:a pcm_f32le", "wav"),
    "u8.wav": ("-c:a pcm_u8", "wav"),
    "adpcm.wav": ("-c:a adpcm_ms", "wav"),
    "rf64.wav": ("-c:a pcm_s16le -rf64 always", "wav"),
    "w64": ("-c:a pcm_s16le", "w64"),
    "aiff": ("-c:a pcm_s16be", "aiff"),
    "aifc": ("-c:a pcm_f32be", "aiff"),
    "au": ("-c:a pcm_s16be", "au"),
    "caf": ("-c:a pcm_s16be", "caf"),
    "flac": ("-c:a flac", "flac"),
    "flac.oga": ("-c:a flac", "ogg"),
    "ogg": ("-c:a libvorbis", "ogg"),
    "opus": ("-c:a libopus", "ogg"),
    "vbr.mp3": ("-c:a libmp3lame -q:a 2", "mp3"),
    "cbr.mp3": ("-c:a libmp3lame -b:a 192k", "mp3"),
    "plain.mp3": ("-c:a libmp3lame -b:a 192k -write_xing 0", "mp3"),
    "mp2": ("-c:a mp2", "mp2"),
    "m4a": ("-c:a aac", "ipod"),
    "alac.m4a": ("-c:a alac", "ipod"),
    "front.mp4": ("-c:a aac -movflags +faststart", "mp4"),
    "aac": ("-c:a aac", "adts"),
    "mka": ("-c:a flac", "matroska"),
    "webm": ("-c:a libopus", "webm"),
    "wma": ("-c:a wmav2", "asf"),
    "wv": ("-c:a wavpack", "wv"),
    "tta": ("-c:a tta", "tta"),
    "avi": ("-c:a mp3", "avi"),
    "ac3": ("-c:a ac3", "ac3"),
    "ts": ("-c:a mp2", "mpegts"),
}
CONDITIONS = ("complete", "unknown", "shorter", "longer", "truncated", "joined", "trailing", "leading", "zero", "one")
JUNK = b"\x5a" * 2000


def base(samples: int = SAMPLES) -> bytes:
    """Return a stereo signal of tones and noise as interleaved 16-bit samples."""
    random, time = np.random.default_rng(0), np.arange(SAMPLES) / RATE
    signal = np.stack([0.3 * np.sin(2 * np.pi * hz * time) for hz in (440, 554)], axis=1)
    return (32767 * (signal + 0.05 * random.standard_normal(signal.shape)))[:samples].astype("<i2").tobytes()


@cache
def encoded(kind: str, samples: int = SAMPLES, to_pipe: bool = False) -> bytes | None:
    """Return the bytes that ffmpeg writes for a kind, to a file or to a pipe; None if ffmpeg fails."""
    arguments, muxer = KINDS[kind]
    assert FFMPEG is not None
    path = Path(gettempdir()) / f"unbraid-test-{os.getpid()}"  # one for each process of a test run
    command = [FFMPEG, "-v", "error", "-y", "-f", "s16le", "-ar", str(RATE), "-ac", "2", "-i", "-", *arguments.split()]
    target = "-" if to_pipe else str(path)
    try:
        done = subprocess.run([*command, "-f", muxer, target], input=base(samples), capture_output=True, check=False)
        data = done.stdout if to_pipe else path.read_bytes() if path.exists() else b""
    finally:
        path.unlink(missing_ok=True)
    return data if done.returncode == 0 and data else None


def damaged(kind: str, condition: str) -> bytes | None:
    """Return the bytes of a kind in a condition; None if the condition does not exist for the kind."""
    whole = encoded(kind)
    assert whole is not None, kind
    match condition:
        case "complete":
            return whole
        case "unknown":
            return encoded(kind, to_pipe=True)
        case "shorter" | "longer":
            return with_length(kind, whole, 0.5 if condition == "shorter" else 3)
        case "truncated":
            return whole[: int(0.6 * len(whole))]
        case "joined":
            return whole + whole
        case "trailing":
            return whole + JUNK
        case "leading":
            return JUNK + whole
    return encoded(kind, samples=1 if condition == "one" else 0)


def with_length(kind: str, data: bytes, factor: float) -> bytes | None:
    """Return a file whose header declares `factor` times its length; None for kinds without a length field."""
    field = LENGTH_FIELDS.get(kind)
    if field is None:
        return None
    start, size, order, bits = field(data)
    value = int.from_bytes(data[start : start + size], order)  # type: ignore[arg-type]
    other_bits, length = value >> bits << bits, value & (1 << bits) - 1
    changed = other_bits | int(length * factor) & ~1
    return data[:start] + changed.to_bytes(size, order) + data[start + size :]  # type: ignore[arg-type]


def _after(name: bytes, size: int, order: str, skip: int = 0) -> Callable[[bytes], tuple[int, int, str, int]]:
    return lambda data: (data.index(name) + len(name) + skip, size, order, 8 * size)


# Position, bytes, byte order and bits of the field that declares the length.
LENGTH_FIELDS: dict[str, Callable[[bytes], tuple[int, int, str, int]]] = {
    "s16.wav": _after(b"data", 4, "little"),
    "s24.wav": _after(b"data", 4, "little"),
    "f32.wav": _after(b"data", 4, "little"),
    "u8.wav": _after(b"data", 4, "little"),
    "adpcm.wav": _after(b"data", 4, "little"),
    "rf64.wav": _after(b"ds64", 8, "little", 12),
    "w64": _after(b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", 8, "little"),
    "aiff": _after(b"SSND", 4, "big"),
    "aifc": _after(b"SSND", 4, "big"),
    "au": lambda data: (8, 4, "big", 32),
    "caf": _after(b"data", 8, "big"),
    "flac": lambda data: (21, 5, "big", 36),
    "vbr.mp3": _after(b"Xing", 4, "big", 4),
    "cbr.mp3": _after(b"Info", 4, "big", 4),
    "wv": lambda data: (12, 4, "little", 32),
    "tta": lambda data: (14, 4, "little", 32),
}


def ffmpeg_samples(path: Path, channels: int = 2) -> int:
    """Return the number of samples that Debian's ffmpeg decodes from the first audio stream of a file."""
    command = [str(FFMPEG), "-v", "error", "-i", f"file:{path}", "-map", "0:a:0", "-f", "f32le", "-c:a", "pcm_f32le", "-"]
    return len(subprocess.run(command, capture_output=True, check=False).stdout) // 4 // channels
