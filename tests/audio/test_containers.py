"""Declared lengths: the length fields of each container, and headers with wrong fields."""

import pytest

from tests.audio.files import FFMPEG, damaged, encoded
from unbraid import audio
from unbraid.audio import containers
from unbraid.audio.containers import declared_length
from unbraid.audio.reader import open_container

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="needs ffmpeg")


def demuxer_of(path):
    with open_container(path) as container:
        return container.format.name


@pytest.mark.parametrize(("kind", "is_exact"), [
    ("s16.wav", True), ("rf64.wav", True), ("w64", True), ("aiff", True), ("caf", True), ("au", True), ("flac", True),
    ("vbr.mp3", True), ("cbr.mp3", True), ("m4a", True), ("mka", True), ("wma", True), ("wv", True), ("tta", True),
    ("avi", True), ("plain.mp3", False), ("aac", False), ("ac3", False), ("ts", False), ("ogg", False),
])  # fmt: skip
def test_kinds_whose_length_is_exact(tmp_path, kind, is_exact):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(encoded(kind))
    declared = declared_length(path, demuxer_of(path))
    assert declared.is_exact == is_exact
    assert not (declared.is_truncated or declared.is_joined or declared.is_unended or declared.extra)


@pytest.mark.parametrize("kind", ["s16.wav", "au", "caf", "flac", "vbr.mp3", "mka", "wma"])
def test_length_is_unknown_after_a_pipe(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(damaged(kind, "unknown"))
    if kind == "flac":  # ffmpeg's encoder knows the length of a short pipe; a stream of unknown length states 0
        data = bytearray(path.read_bytes())
        data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])
        path.write_bytes(data)
    assert not declared_length(path, demuxer_of(path)).is_exact
    assert audio.read(path)[0][0].shape[1] > 42_000  # wma drops a part of its last frame


def test_xing_header_gives_the_samples_of_the_signal(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(encoded("vbr.mp3"))
    assert declared_length(path, "mp3").samples == 44100 == audio.read(path)[0][0].shape[1]


def test_end_of_ogg_must_be_marked(tmp_path):
    path, whole = tmp_path / "a.ogg", bytearray(encoded("ogg"))
    whole[whole.rfind(b"OggS") + 5] &= ~4
    path.write_bytes(whole)
    assert declared_length(path, "ogg").is_unended


def test_tag_after_a_trailing_chunk_is_ignored(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("s16.wav") + b"LIST" + (26).to_bytes(4, "little") + bytes(26) + b"TAG" + bytes(125))
    assert audio.read(path)[0][0].shape[1] == 44100


def test_truncation_is_found_after_an_empty_chunk(tmp_path):
    path, whole = tmp_path / "a.wav", encoded("s16.wav")
    path.write_bytes((whole[:12] + b"LIST" + bytes(4) + whole[12:])[:60_000])
    assert declared_length(path, "wav").is_truncated


def test_wav_over_four_gigabytes_is_read(tmp_path, monkeypatch):
    """Read a file whose 32-bit length overflowed. The limit is lowered, because a file of 4 GB would take minutes."""
    monkeypatch.setattr(containers, "LONGEST_32", 100_000)
    path = tmp_path / "long.wav"
    path.write_bytes(damaged("s16.wav", "shorter"))
    with audio.open_audio(path) as reader:
        assert sum(block.shape[1] for block in reader) == 44100
    assert any("32-bit" in message for message in reader.messages)


@pytest.mark.parametrize(
    "kind", ["s16.wav", "rf64.wav", "w64", "aiff", "caf", "au", "mka", "wma", "m4a", "flac", "tta", "wv", "vbr.mp3"]
)
@pytest.mark.parametrize("length", [1, 5, 12, 20, 30, 45, 80])
def test_heads_of_any_length_are_accepted(tmp_path, kind, length):
    path = tmp_path / "head"
    path.write_bytes(encoded(kind)[:length])
    for demuxer in containers.READERS:
        declared_length(path, demuxer)
