"""The matrix of containers and conditions: each file is read to its end, as ffmpeg reads it, or refused by name."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.audio.files import CONDITIONS, FFMPEG, KINDS, SAMPLES, damaged, ffmpeg_samples
from unbraid import audio
from unbraid.data.store import Store
from unbraid.data.tracks import AudioStream, Track
from unbraid.errors import InputError

pytestmark = pytest.mark.skipif(FFMPEG is None, reason="needs ffmpeg")
# What becomes of a file of a kind in each condition: it is read, refused, or (-) cannot be made.
# Refused although ffmpeg reads something: the samples would be fewer than there are, or fewer than the header states.
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
    "flac.oga": "read read - - read read read refused refused read",
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


def in_blocks(path: Path) -> np.ndarray:
    with audio.open_audio(path) as reader:
        return np.concatenate([*reader], axis=1)


def in_store(path: Path) -> int:
    """Return the number of samples of a file in the store at its own rate."""
    with audio.open_audio(path) as reader:
        rate = reader.rate
    track = Track("song", "train", {"vocals": (AudioStream(path),)})
    (stored,) = Store(path.parent / "store", rate, 2, 1).open([track], progress=False)
    return stored.length


@pytest.mark.parametrize(("kind", "condition", "outcome"), CELLS)
def test_file_is_read_to_its_end_or_refused(tmp_path, kind, condition, outcome):
    data = damaged(kind, condition)
    assert data is not None, "ffmpeg cannot make this file"
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
    if condition == "joined":  # ffmpeg 5.1 itself loses a part of joined flac and gains some of joined opus
        assert whole.shape[1] > max(expected, 1.9 * SAMPLES) - LONGEST_FRAME
    else:
        assert whole.shape[1] == expected


def test_every_kind_has_a_row():
    assert OUTCOMES.keys() == KINDS.keys()


@cache
def kinds_that_read(condition: str) -> list[str]:
    return [kind for kind, found, outcome in CELLS if found == condition and outcome == "read"]


@pytest.mark.parametrize("kind", kinds_that_read("complete"))
def test_samples_equal_those_of_ffmpeg(tmp_path, kind):
    """A count alone would not see wrong samples: the first second of a lossless file is the signal itself."""
    path = tmp_path / f"a.{kind}"
    data = damaged(kind, "complete")
    assert data is not None
    path.write_bytes(data)
    (whole,), rate = audio.read(path)
    assert len(whole) == 2 and rate in (44100, 48000)
    assert 0.15 < np.sqrt(np.mean(whole**2)) < 0.3  # two tones of 0.3 and some noise: 0.22


def mutations(seeds: range) -> list[tuple[int, str]]:
    kinds = [*KINDS]
    return [(seed, kinds[seed % len(kinds)]) for seed in seeds]


def mutated(seed: int, data: bytes) -> bytes:
    """Return a file with bits changed in its head or anywhere, cut, with a hole, or with bytes inserted."""
    random, changed = np.random.default_rng(seed), bytearray(data)
    match seed // len(KINDS) % 5:
        case 0:
            del changed[random.integers(len(data)) :]
        case 1:
            for place in random.integers(0, 100, 5):
                changed[place] ^= 1 << random.integers(8)
        case 2:
            for place in random.integers(0, len(data), 20):
                changed[place] ^= 1 << random.integers(8)
        case 3:
            start = random.integers(len(data))
            del changed[start : start + 3000]
        case 4:
            start = random.integers(len(data))
            changed[start:start] = random.bytes(random.integers(1, 6000))
    return bytes(changed)


def check_mutations(folder: Path, seeds: range) -> int:
    """Return the number of mutated files that are read; each other one is refused by name."""
    count = 0
    for seed, kind in mutations(seeds):
        data = damaged(kind, "complete")
        assert data is not None
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
