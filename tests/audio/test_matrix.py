"""Matrix of containers and conditions: each file is read to its end like in ffmpeg, or an error names it."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.audio.files import CONDITIONS, FFMPEG, KINDS, SAMPLES, base, damaged, ffmpeg_samples
from unbraid import audio
from unbraid.data.store import Store
from unbraid.data.tracks import AudioStream, Track
from unbraid.runs.errors import InputError

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="needs ffmpeg")
# Expected outcome of each kind in each condition: `read`, `refused`, or `-` if the file cannot be made.
# Some files are refused although ffmpeg reads them: the result would lack samples of the file or of the declared length.
OUTCOMES = {
    # complete, unknown, shorter, longer, truncated, joined, trailing, leading, zero, one
    "s16.wav": "read read refused refused refused refused read refused refused read",
    "s24.wav": "read read refused refused refused refused read refused refused read",
    "f32.wav": "read read refused refused refused refused read refused refused read",
    "u8.wav": "read read refused refused refused refused read refused refused read",
    "adpcm.wav": "read read refused refused refused refused read refused refused read",
    "rf64.wav": "read refused refused refused refused refused read refused refused read",
    "w64": "read refused refused refused refused refused read refused refused read",
    "aiff": "read refused refused refused refused refused read refused refused read",
    "aifc": "read refused refused refused refused refused read refused refused read",
    "au": "read read read refused refused read read refused refused read",
    "caf": "read read refused refused refused refused read refused refused read",
    "flac": "read read read refused refused read read refused refused read",
    "flac.oga": "read read - - refused read read refused refused read",
    "ogg": "read read - - refused read read read refused read",
    "opus": "read read - - refused read read refused refused refused",
    "vbr.mp3": "read read read refused refused read read read refused read",
    "cbr.mp3": "read read read refused refused read read read refused read",
    "plain.mp3": "read read - - read read read read refused read",
    "mp2": "read read - - read read read read - refused",
    "m4a": "read - - - refused refused read refused refused refused",
    "alac.m4a": "read - - - refused refused read refused refused read",
    "front.mp4": "read - - - refused refused read refused refused refused",
    "aac": "read read - - refused read read read - refused",
    "mka": "read read - - refused read read refused refused read",
    "webm": "read read - - refused read read refused refused refused",
    "wma": "read read - - refused refused read refused refused refused",
    "wv": "read read read refused refused refused read refused refused read",
    "tta": "read read refused refused refused refused read refused refused read",
    "avi": "read read - - refused read read refused refused read",
    "ac3": "read read - - read read refused read - read",
    "ts": "read read - - read read refused read - read",
}
LONGEST_FRAME = 4096
CELLS = [
    (kind, condition, outcome)
    for kind, row in OUTCOMES.items()
    for condition, outcome in zip(CONDITIONS, row.split(), strict=True)
    if outcome != "-"
]


def file_of(kind: str, condition: str) -> bytes:
    data = damaged(kind, condition)
    assert data is not None, "ffmpeg cannot make this file"
    return data


def in_blocks(path: Path) -> np.ndarray:
    with audio.open_audio(path) as reader:
        return np.concatenate([*reader], axis=1)


def in_store(path: Path) -> int:
    """Return the number of samples of a file in a store with the sample rate of the file."""
    with audio.open_audio(path) as reader:
        rate = reader.rate
    track = Track("song", "train", {"vocals": (AudioStream(path),)})
    (stored,) = Store(path.parent / "store", rate, 2, 1).open([track], progress=False)
    return stored.length


@pytest.mark.parametrize(("kind", "condition", "outcome"), CELLS)
def test_file_is_read_to_its_end_or_refused(tmp_path, kind, condition, outcome):
    data = file_of(kind, condition)
    path = tmp_path / f"{condition}.{kind}"
    path.write_bytes(data)
    if outcome == "refused":
        for reads in (audio.read, in_blocks, in_store):
            with pytest.raises(InputError) as caught:
                reads(path)
            assert caught.value.where == str(path)
        return
    (whole,), _ = audio.read(path)
    assert np.array_equal(in_blocks(path), whole) and in_store(path) == whole.shape[1]
    expected = ffmpeg_samples(path)
    if condition == "joined":  # ffmpeg 5.1 loses a part of joined flac files and adds samples to joined opus files
        assert whole.shape[1] > max(expected, 1.9 * SAMPLES) - LONGEST_FRAME
    else:
        assert whole.shape[1] == expected


def test_every_kind_has_a_row():
    assert OUTCOMES.keys() == KINDS.keys()


LOSSLESS = (
    "s16.wav",
    "s24.wav",
    "f32.wav",
    "rf64.wav",
    "w64",
    "aiff",
    "aifc",
    "au",
    "caf",
    "flac",
    "alac.m4a",
    "mka",
    "wv",
    "tta",
)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_samples_are_the_signal(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(file_of(kind, "complete"))
    signal = np.frombuffer(base(), "<i2").reshape(-1, 2).T / np.float32(32768)
    assert np.array_equal(audio.read(path)[0][0], signal)


@pytest.mark.parametrize("arguments", ["", "-t 0.7", "-ss 0.2"])
@pytest.mark.parametrize("kind", ["vbr.mp3", "cbr.mp3", "plain.mp3"])
def test_copied_mp3_is_read(tmp_path, kind, arguments):
    """Read files of `ffmpeg -c copy`, whose headers state a padding that is shorter than the decoder delay."""
    (tmp_path / f"a.{kind}").write_bytes(file_of(kind, "unknown"))
    copy = tmp_path / "copy.mp3"
    command = [FFMPEG, "-v", "error", "-i", tmp_path / f"a.{kind}", *arguments.split(), "-c", "copy", copy]
    subprocess.run(command, check=True)
    assert audio.read(copy)[0][0].shape[1] == ffmpeg_samples(copy)


@pytest.mark.parametrize("kind", ["ogg", "opus", "flac.oga"])
def test_ogg_cut_anywhere_is_not_silent(tmp_path, kind):
    data = file_of(kind, "complete")
    for share in range(30, 100, 3):
        path = tmp_path / f"{share}.{kind}"
        path.write_bytes(data[: len(data) * share // 100])
        messages: list[str] = []
        try:
            audio.read(path, messages=messages)
        except InputError as error:
            assert error.where == str(path)
        else:
            assert messages, share


def test_fragmented_mp4_that_ends_early_has_a_message(tmp_path):
    whole, part = tmp_path / "whole.mp4", tmp_path / "part.mp4"
    options = "-movflags +frag_keyframe+empty_moov+default_base_moof -frag_duration 200000 -c:a aac"
    command = [FFMPEG, "-v", "error", "-f", "s16le", "-ar", "44100", "-ac", "2", "-i", "-", *options.split(), whole]
    subprocess.run(command, input=base(), check=True)
    part.write_bytes(whole.read_bytes()[: whole.read_bytes().rindex(b"moof") - 4])
    for path, count in ((whole, 0), (part, 1)):
        messages: list[str] = []
        audio.read(path, messages=messages)
        assert len(messages) == count


def mutations(seeds: range) -> list[tuple[int, str]]:
    kinds = [*KINDS]
    return [(seed, kinds[seed % len(kinds)]) for seed in seeds]


def mutated(seed: int, data: bytes) -> bytes:
    """Return a damaged file: truncated, with changed bits in the head or anywhere, or with bytes removed or inserted."""
    random, changed = np.random.default_rng(seed), bytearray(data)
    match seed // len(KINDS) % 5:
        case 0:
            del changed[random.integers(len(data)) :]
        case 1:
            for position in random.integers(0, 100, 5):
                changed[position] ^= 1 << random.integers(8)
        case 2:
            for position in random.integers(0, len(data), 20):
                changed[position] ^= 1 << random.integers(8)
        case 3:
            start = random.integers(len(data))
            del changed[start : start + 3000]
        case 4:
            start = random.integers(len(data))
            changed[start:start] = random.bytes(random.integers(1, 6000))
    return bytes(changed)


def check_mutations(folder: Path, seeds: range) -> int:
    """Check that each mutated file is read or named by an error, and return the number of files that are read."""
    count = 0
    for seed, kind in mutations(seeds):
        data = file_of(kind, "complete")
        path = folder / f"{seed}.{kind}"
        path.write_bytes(mutated(seed, data))
        try:
            (whole,), _ = audio.read(path)
        except InputError as error:
            assert error.where == str(path)
        else:
            count += 1
            assert whole.shape[1] >= ffmpeg_samples(path, len(whole)) - LONGEST_FRAME, path.name
        path.unlink()
    return count


def test_mutated_files_are_refused_or_equal_to_ffmpeg(tmp_path):
    assert 5 < check_mutations(tmp_path, range(40)) < 40


@pytest.mark.slow
def test_six_hundred_mutated_files(tmp_path):
    assert 100 < check_mutations(tmp_path, range(1000, 1600)) < 500
