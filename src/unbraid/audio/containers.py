"""Read the length that a file header declares, so that a truncated file can be distinguished from a short file.

FFmpeg decodes a truncated file of most formats without an error, and reports the length of the truncated file instead of the
declared length. This module therefore reads the header fields itself. These fields state the position in bytes at which the
audio ends, or the length of the audio in samples. The declared length is

- exact in RIFF, RF64 and W64 (wav), AIFF, CAF, AU, AVI, FLAC, WavPack, TTA, Monkey's Audio, TAK, mp4, ASF (wma), Matroska, webm
  and DSF.
- exact in mp3 files that have a Xing or Info header.
- an estimate from the bit rate in all other mp3 files and in raw streams (aac, ac3, dts, MPEG transport streams).
- unknown if a program wrote the file to a pipe: the length was not known when the program wrote the header.

Truncation can only be detected in files whose declared length is exact. This module does not read the headers of Monkey's Audio
and TAK. For these two formats, FFmpeg reports the declared length.

Sources: Microsoft RIFF, EBU Tech 3306 (RF64), Apple AIFF-C and CAF, RFC 9639 (FLAC), RFC 9559 (Matroska), RFC 3533 (Ogg), the
LAME tag, Microsoft ASF, ISO/IEC 14496-12 (mp4).
"""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

# Some declared lengths include header bytes, so that a complete file can be this many bytes shorter than declared.
SLIP_BYTES = 128
# Bytes after the audio that are accepted as a tag: at most this number, and at most a quarter of the audio.
TAIL_BYTES = 2**16
MOST_CHUNKS = 10_000
DECODER_DELAY = 529  # samples of an mp3 decoder
LONGEST_32 = 2**32  # bytes that a 32-bit length can state


@dataclass(frozen=True)
class Declared:
    """The audio length that the header of a file declares, and the differences between header and content of the file.

    Args:
        missing: number of bytes by which the file is shorter than its header declares.
        extra: number of unexpected bytes after the declared end of the audio; known chunks and short tags are not counted.
        samples: exact number of samples per channel; None if the header does not state this number.
        slack: tolerance in samples. A complete file can be shorter than `samples` by at most `slack` samples.
        is_exact: True if the header states the number of samples or the end of the audio in bytes.
        is_joined: True if the file contains a second audio file after the end of the first audio file.
        is_unended: True if the end mark that the container format requires is missing.
        overflows: True if the file is a RIFF file (such as wav) of 4 GB or more. The 32-bit length in the header is then wrong.
    """

    missing: int = 0
    extra: int = 0
    samples: int | None = None
    slack: int = 0
    is_exact: bool = False
    is_joined: bool = False
    is_unended: bool = False
    overflows: bool = False

    @property
    def is_truncated(self) -> bool:
        """Return True if the file is more than 128 bytes (`SLIP_BYTES`) shorter than its header declares."""
        return self.missing > SLIP_BYTES


class _Chunks(NamedTuple):
    """Describe a family of audio file formats, such as RIFF: files that consist of chunks, each with a name and a size."""

    first: int  # position of the first chunk
    name_bytes: int
    size_bytes: int
    order: str
    align: int
    counts_header: bool
    sound: tuple[bytes, ...]  # names of the chunks with audio

    @property
    def header(self) -> int:
        return self.name_bytes + self.size_bytes


RIFF = _Chunks(12, 4, 4, "little", 2, False, (b"data",))
AVI = RIFF._replace(sound=(b"LIST",))
FAMILIES = {
    b"RIFF": RIFF,
    b"RF64": RIFF,
    b"BW64": RIFF,
    b"RIFX": RIFF._replace(order="big"),
    b"FORM": RIFF._replace(order="big", sound=(b"SSND",)),
    b"caff": _Chunks(8, 4, 8, "big", 1, False, (b"data",)),
    b"riff": _Chunks(40, 16, 8, "little", 8, True, (b"data",)),  # W64
}
# Sizes that FFmpeg, GStreamer, sox and arecord write if the output is a pipe and the size is unknown.
STREAMED_32 = (range(1), range(0x7FFFF000, 0x80000001), range(0xFFFFF000, 0x100000000))
STREAMED_64 = 2**63 - 2**12
# Atoms at the top level of an mp4.
ATOMS = (
    b"ftyp", b"styp", b"moov", b"moof", b"mfra", b"mdat", b"free", b"skip", b"wide", b"uuid", b"sidx", b"ssix", b"meta",
    b"udta", b"emsg", b"prft", b"pnot", b"pdin",
)  # fmt: skip
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


class _File:
    """Read bytes and numbers at given positions of a file. Bytes after the end of the file are omitted."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.size = data, len(data)

    def bytes(self, position: int, count: int) -> bytes:
        return self.data[position : position + count] if 0 <= position < self.size else b""

    def number(self, position: int, count: int, order: str = "big") -> int:
        return int.from_bytes(self.bytes(position, count), order)  # type: ignore[arg-type]

    def up_to(self, end: int) -> Declared:
        """Return the `Declared` of this file. `end` is the byte position at which the audio ends according to the header."""
        extra = max(self.size - end, 0)
        return Declared(max(end - self.size, 0), extra if extra > min(TAIL_BYTES, end // 4) else 0, is_exact=True)


def declared_length(path: Path, demuxer: str) -> Declared:
    """Read the audio length that the header of a file declares.

    Args:
        path: path of an audio or video file.
        demuxer: FFmpeg's name of the container format, for example `wav`.

    Returns:
        The declared length, as a `Declared`. Its field `is_exact` is False if the header does not declare an exact length.
    """
    if not path.stat().st_size:
        return Declared()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return READERS[demuxer](_File(data)) if demuxer in READERS else Declared()


def length_overflows(path: Path) -> bool:
    """Return True if a file is a wav file of 4 GB or more. The 32-bit length field in its header is then wrong."""
    return path.stat().st_size >= LONGEST_32 and declared_length(path, "wav").overflows


def _chunked(file: _File) -> Declared:
    magic = file.bytes(0, 4)
    family = AVI if file.bytes(8, 4) == b"AVI " else FAMILIES.get(magic)
    if family is None:
        return Declared()
    chunks, stop = _walk(file, family)
    sound = [(start, size) for name, start, size in chunks if name in family.sound]
    is_joined = any(name == magic for name, _, _ in chunks) and family is not AVI  # long AVI files repeat RIFF
    if not sound or any(size is None for _, size in sound):
        return Declared(is_joined=is_joined)
    start, size = sound[-1]
    assert size is not None
    extra = file.size - stop if file.size - stop > min(TAIL_BYTES, size // 4) else 0
    overflows = bool(extra) and file.size >= LONGEST_32 and magic in (b"RIFF", b"RIFX")
    missing = max(start + size - file.size, 0)
    return Declared(missing, extra, is_exact=True, is_joined=is_joined, overflows=overflows)


def _walk(file: _File, family: _Chunks) -> tuple[list[tuple[bytes, int, int | None]], int]:
    """Return the chunks of a file, and the byte position after the last chunk.

    A chunk is a triple: its name, its start in bytes, and its size in bytes (None if the size is unknown).
    """
    chunks: list[tuple[bytes, int, int | None]] = []
    position, data_64 = family.first, 0
    while position + family.header <= file.size and len(chunks) < MOST_CHUNKS:
        name = file.bytes(position, 4)
        size = file.number(position + family.name_bytes, family.size_bytes, family.order)
        size -= family.header if family.counts_header else 0
        start = position + family.header
        if name == b"ds64":
            data_64 = file.number(start + 8, 8, "little")
        if size == 2**32 - 1 and name == b"data" and data_64:
            size = data_64
        if name in family.sound and _is_streamed(size, family.size_bytes, start, file.size):
            return [*chunks, (name, start, None)], file.size
        if not all(32 <= byte < 127 for byte in name) or size < 0:
            break
        chunks.append((name, start, size))
        position = start + -(-size // family.align) * family.align
    return chunks, min(position, file.size)


def _is_streamed(size: int, size_bytes: int, start: int, file_size: int) -> bool:
    """Return True if the declared size of a chunk is only a placeholder.

    A program that writes to a pipe cannot go back to fill in the size, so the placeholder stays in the file.
    """
    if size_bytes == 8:
        return size < 0 or size >= STREAMED_64
    return start + size != file_size and any(size in values for values in STREAMED_32)


def _au(file: _File) -> Declared:
    start, size = file.number(4, 4), file.number(8, 4)
    return Declared() if size == 2**32 - 1 else Declared(max(start + size - file.size, 0), is_exact=True)


def _matroska(file: _File) -> Declared:
    header, position = _vint(file, 4)
    segment = position + header
    if file.bytes(segment, 4) != bytes.fromhex("18538067"):
        return Declared()
    size, start = _vint(file, segment + 4)
    is_unknown = size == 2 ** (7 * (start - segment - 4)) - 1
    return Declared() if is_unknown else Declared(max(start + size - file.size, 0), is_exact=True)


def _vint(file: _File, position: int) -> tuple[int, int]:
    """Read a variable-length integer of Matroska (EBML). Return the integer, and the byte position after the integer."""
    first = file.number(position, 1)
    count = 9 - first.bit_length() if first else 1
    return file.number(position, count) & (2 ** (7 * count) - 1), position + count


def _asf(file: _File) -> Declared:
    start = file.data.find(ASF_PROPERTIES, 0, TAIL_BYTES)
    size, is_broadcast = file.number(start + 40, 8, "little"), file.number(start + 88, 4, "little") & 1
    return Declared() if start < 0 or is_broadcast or not size else file.up_to(size)


def _dsf(file: _File) -> Declared:
    return file.up_to(file.number(12, 8, "little"))


def _mp4(file: _File) -> Declared:
    kinds, position = [], 0
    while position + 8 <= file.size:
        size, kind = file.number(position, 4), file.bytes(position + 4, 4)
        size = file.number(position + 8, 8) if size == 1 else size or file.size - position
        if size < 8 or kind not in ATOMS:
            break
        kinds.append(kind)
        position += size
    is_unended = b"moof" in kinds and not {b"mfra", b"sidx"} & {*kinds}  # a fragmented file may end after any fragment
    missing = max(position - file.size, 0)
    return Declared(missing, is_exact=not is_unended, is_joined=kinds.count(b"ftyp") > 1, is_unended=is_unended)


def _ogg(file: _File) -> Declared:
    last = file.data.rfind(b"OggS")
    segments = file.bytes(last + 27, file.number(last + 26, 1)) if last >= 0 else b""
    missing = max(last + 27 + len(segments) + sum(segments) - file.size, 0)
    return Declared(missing, is_unended=last < 0 or missing > 0 or not file.number(last + 5, 1) & 4)


def _flv(file: _File) -> Declared:
    return Declared(is_joined=file.data.find(b"FLV\x01", 9) > 0)


def _flac(file: _File) -> Declared:
    start = _after_id3(file)
    samples = file.number(start + 21, 5) & (2**36 - 1)
    return Declared(samples=samples, is_exact=True) if samples and file.bytes(start, 4) == b"fLaC" else Declared()


def _wavpack(file: _File) -> Declared:
    samples = file.number(12, 4, "little")
    return Declared() if samples == 2**32 - 1 else Declared(samples=samples, is_exact=True)


def _tta(file: _File) -> Declared:
    start = _after_id3(file)
    is_joined = file.data.find(b"TTA1", start + 4) > 0
    return Declared(samples=file.number(start + 14, 4, "little"), is_exact=True, is_joined=is_joined)


def _mp3(file: _File) -> Declared:
    """Read the number of samples of an mp3 file from its Xing or Info header.

    The LAME tag states the delay and the padding of the encoder. Both are subtracted from the number of samples.

    Format of the Xing header and of the LAME tag: http://gabriel.mp3-tech.org/mp3infotag.html
    """
    start = _after_id3(file)
    is_mpeg1 = file.number(start + 1, 1) & 0x18 == 0x18
    for place in (start + 36, start + 21, start + 13):
        if file.bytes(place, 4) in (b"Xing", b"Info"):
            break
    else:
        return Declared()
    flags = file.number(place + 4, 4)
    frames = file.number(place + 8, 4) if flags & 1 else 0
    if not frames:
        return Declared()
    lame = place + 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
    has_gaps = file.bytes(lame, 4) in (b"LAME", b"Lavf", b"Lavc")
    delay, padding = divmod(file.number(lame + 21, 3), 2**12) if has_gaps else (0, 0)
    frame = 1152 if is_mpeg1 else 576
    # FFmpeg also skips the delay of its decoder, even if the padding is shorter. Copied and joined files lack a frame.
    skipped = delay + DECODER_DELAY + max(padding - DECODER_DELAY, 0) if has_gaps else 0
    return Declared(samples=max(frames * frame - skipped, 0), slack=frame, is_exact=True)


def _after_id3(file: _File) -> int:
    """Return the position in bytes after the ID3v2 tags at the start of a file."""
    position = 0
    while file.bytes(position, 3) == b"ID3":
        size = 0
        for byte in file.bytes(position + 6, 4):
            size = size << 7 | byte & 0x7F
        position += 10 + size
    return position


READERS: dict[str, Callable[[_File], Declared]] = {
    "wav": _chunked, "w64": _chunked, "aiff": _chunked, "caf": _chunked, "avi": _chunked, "au": _au, "asf": _asf, "dsf": _dsf,
    "matroska,webm": _matroska, "mov,mp4,m4a,3gp,3g2,mj2": _mp4, "ogg": _ogg, "flac": _flac, "wv": _wavpack, "tta": _tta,
    "mp3": _mp3, "flv": _flv,
}  # fmt: skip
