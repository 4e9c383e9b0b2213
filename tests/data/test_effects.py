"""Copies of a real song with MP3 artefacts, reverb and limited peaks."""

import hashlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.data.test_module import module
from unbraid import audio
from unbraid.data.effects import Codec, Limiter, Reverb
from unbraid.runs.errors import InputError

pytest.importorskip("pedalboard")

EFFECTS = {"codec": Codec(4.0, 9.0, 0), "reverb": Reverb(0.2, 0.8, 0, 0.15), "limiter": Limiter(-12.0, -3.0, 0)}
each = pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)


@pytest.fixture(scope="module")
def song(stem_file):
    """Return four seconds of the mixture and the four stems of a song [stem, channel, sample], and the sample rate."""
    arrays, rate = audio.read(stem_file, range(5))
    return np.stack([samples[:, : 4 * rate] for samples in arrays]), rate


@each
@pytest.mark.parametrize("rate", [44100, 8192, 96000])
def test_a_copy_keeps_format_time_and_input(song, effect, rate):
    source = np.ascontiguousarray(song[0][4])
    before = source.copy()
    copy = effect(source, rate)
    assert copy.shape == source.shape and copy.dtype == np.float32
    assert np.array_equal(source, before) and not np.allclose(copy, source, atol=1e-3)
    size = 2 * source.shape[1]
    peaks = np.fft.irfft(np.fft.rfft(copy[0], size) * np.fft.rfft(source[0], size).conj())
    assert peaks.argmax() == 0


def test_channels_and_silence_are_kept(song):
    silence = np.zeros((2, 1000), np.float32)
    for effect in EFFECTS.values():
        assert not effect(silence, 44100).any()
        assert effect(song[0][4][:1], 44100).shape == song[0][4][:1].shape
        assert effect(song[0][4][:, :0], 44100).shape == (2, 0) and effect(song[0][4][:, 40000:40003], 8192).shape == (2, 3)


@each
def test_seed_and_source_choose_the_parameter(song, effect):
    vocals = song[0][4]
    other = type(effect)(**(vars(effect) | {"seed": 1}))
    assert np.array_equal(effect(vocals, 44100), effect(vocals.copy(), 44100))
    assert not np.array_equal(effect(vocals, 44100), other(vocals, 44100))
    assert effect.name != other.name


def test_a_copy_is_the_same_in_another_process(song):
    code = (
        "import hashlib, numpy as np; from unbraid.data.effects import Codec, Limiter, Reverb; "
        "noise = np.random.default_rng(0).standard_normal((2, 20000)).astype(np.float32) / 10; "
        "print([hashlib.sha256(effect(noise, 22050).tobytes()).hexdigest() for effect in "
        "(Codec(4.0, 9.0, 0), Reverb(0.2, 0.8, 0, 0.15), Limiter(-12.0, -3.0, 0))])"
    )
    noise = np.random.default_rng(0).standard_normal((2, 20000)).astype(np.float32) / 10
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == str([hashlib.sha256(effect(noise, 22050).tobytes()).hexdigest() for effect in EFFECTS.values()])


def test_a_codec_of_low_quality_removes_high_frequencies():
    noise = np.random.default_rng(0).standard_normal((1, 44100)).astype(np.float32) / 10
    spectrum = np.abs(np.fft.rfft(Codec(9.0, 9.0, 0)(noise, 44100)[0]))
    high, low = (np.square(spectrum[band]).mean() for band in (slice(19000, None), slice(1000, 10000)))
    assert high < 1e-3 * low


def test_reverb_keeps_the_direct_sound_and_adds_a_tail():
    click = np.zeros((1, 44100), np.float32)
    click[0, 100] = 0.5
    short, long = (Reverb(size, size, 0, 0.15)(click, 44100)[0] for size in (0.2, 0.9))
    assert short[100] == pytest.approx(0.5, abs=1e-4)
    assert 0 < np.square(short[22050:]).sum() < 0.1 * np.square(long[22050:]).sum()


def test_a_limiter_keeps_the_level_and_lowers_the_peaks(song):
    drums = song[0][1]
    limited = Limiter(-9.0, -9.0, 0)(drums, 44100)
    assert np.sqrt(np.square(limited).mean()) == pytest.approx(np.sqrt(np.square(drums).mean()), rel=1e-4)
    assert np.abs(limited).max() < 0.7 * np.abs(drums).max()


def test_only_training_tracks_get_copies_that_sum_to_the_mixture(stem_file, tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / "root" / split).mkdir(parents=True)
        shutil.copy(stem_file, tmp_path / "root" / split / f"{split}.stem.mp4")
    data = module(tmp_path / "root", tmp_path / "cache", offline_augmentation=EFFECTS)
    assert {split: len(data.split(split)) for split in ("train", "valid", "test")} == {"train": 4, "valid": 1, "test": 1}
    own, *copies = data.split("train")
    assert not own.is_copy and {copy.length for copy in copies} == {own.length}
    for copy in copies:
        assert copy.is_copy and copy.sources == own.sources
        mixture, *sources = copy.tensor(["mixture", *copy.sources])
        assert (mixture - sum(sources)).abs().max() <= 3 * copy.scale
        assert not np.array_equal(copy.samples, own.samples)
    again = module(tmp_path / "root", tmp_path / "another", offline_augmentation=EFFECTS)
    for first, second in zip(data.split("train"), again.split("train"), strict=True):
        assert np.array_equal(first.samples, second.samples)


@pytest.mark.parametrize(
    ("kind", "options", "where", "found"),
    [
        (Codec, (2.0, 10.0, 0), "low", "2 to 10"),
        (Reverb, (0.5, 0.4, 0, 0.1), "low", "0.5 to 0.4"),
        (Limiter, (-61.0, 0.0, 0), "low", "-61 to 0"),
        (Reverb, (0.2, 0.8, 0, 0.0), "wet_level", 0.0),
    ],
)
def test_arguments_out_of_range_are_refused(kind, options, where, found):
    with pytest.raises(InputError) as error:
        kind(*options)
    assert (error.value.where, error.value.found) == (where, found)


def test_a_missing_library_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    with pytest.raises(InputError) as error:
        Codec(4.0, 9.0, 0)(np.ones((1, 100), np.float32), 8000)
    assert error.value.where == "offline_augmentation" and "unbraid[effects]" in error.value.hint
