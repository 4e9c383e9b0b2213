"""Pitch, tempo, alignment and phase of stretched copies."""

import hashlib
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from unbraid.data.demo_songs.song import render_song
from unbraid.data.stretch import Stretch
from unbraid.runs.errors import InputError

RATE = 22050


def frequency(signal, near, rate=RATE):
    """Return the frequency in Hz of the strongest partial within half a semitone of `near`, by parabolic interpolation."""
    size = 1 << 19
    logs = np.log(np.abs(np.fft.rfft(signal * np.hanning(len(signal)), size)) + 1e-12)
    first, last = (int(near * 2 ** (step / 24) * size / rate) for step in (-1, 1))
    k = first + logs[first:last].argmax()
    before, peak, after = logs[k - 1 : k + 2]
    return (k + 0.5 * (before - after) / (before - 2 * peak + after)) * rate / size


def fingerprint(samples):
    return hashlib.sha256(samples.tobytes()).hexdigest()


@cache
def voice():
    return render_song(3, 6.0)["vocals"].astype(np.float32) / 32768


@pytest.mark.parametrize(("semitones", "tempo"), [(1, 1.06), (-2, 1), (0, 0.9), (2, 1.12), (-12, 0.5), (12, 2)])
def test_pitch_and_duration_of_tones(semitones, tempo):
    n = np.arange(4 * RATE) / RATE
    tones = np.stack([np.sin(2 * np.pi * hertz * n) for hertz in (220, 1234)]).astype(np.float32) * 0.3
    copy = Stretch(semitones, tempo)(tones, RATE)
    assert copy.shape == (2, round(4 * RATE / tempo)) and copy.dtype == np.float32
    for channel, hertz in zip(copy, (220, 1234), strict=True):
        expected = hertz * 2 ** (semitones / 12)
        assert abs(1200 * np.log2(frequency(channel, expected) / expected)) < 1
        assert np.sqrt(np.mean(channel[RATE // 4 : -RATE // 4] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.02)


def test_pitch_of_a_voice():
    """The long-term spectrum over the logarithm of frequency is shifted by two semitones."""
    samples, cents = voice(), 5
    axis = 100 * 2 ** (np.arange(0, 3600, cents) / 1200)

    def log_spectrum(signal):
        spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), 1 << 19))
        smooth = np.convolve(spectrum, np.hanning(31), "same")
        return np.log(np.interp(axis, np.arange(len(spectrum)) * 44100 / (1 << 19), smooth) + 1e-6)

    copy, before = log_spectrum(Stretch(2, 1)(samples, 44100)[0]), log_spectrum(samples[0])
    shifts = range(150 // cents, 250 // cents)
    best = max(shifts, key=lambda k: np.corrcoef(before[: -shifts[-1]], copy[k : k + len(before) - shifts[-1]])[0, 1])
    assert best * cents == pytest.approx(200, abs=2 * cents)


@pytest.mark.parametrize(("semitones", "tempo"), [(1, 1.06), (-2, 1), (0, 0.9), (0, 2), (2, 1.12)])
def test_attacks_are_on_time(semitones, tempo):
    clicks = np.zeros((1, 5 * RATE), np.float32)
    clicks[0, RATE::RATE] = 1
    copy = Stretch(semitones, tempo)(clicks, RATE)
    for second in (1, 2, 3, 4):
        expected = round(second * RATE / tempo)
        around = np.abs(copy[0, expected - RATE // 10 : expected + RATE // 10])
        assert abs(around.argmax() - RATE // 10) <= 0.002 * RATE


def test_channels_stay_in_phase():
    left = voice()[:1]
    copy = Stretch(-1, 0.94)(np.concatenate([left, left, -0.5 * left]), 44100)
    np.testing.assert_allclose(copy[1], copy[0], atol=1e-3)
    np.testing.assert_allclose(copy[2], -0.5 * copy[0], atol=1e-3)


def test_loudness_is_constant_to_both_ends():
    noise = np.random.default_rng(0).standard_normal((8, 2 * RATE)).astype(np.float32)
    copy = Stretch(-1, 1.06)(noise, RATE)
    for part in (copy[:, : RATE // 100], copy[:, -RATE // 100 :], copy):
        assert part.std() == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("length", [0, 1, 99, 1000])
@pytest.mark.parametrize("tempo", [0.5, 1.06, 2])
def test_length_and_silence_of_the_copy(length, tempo):
    copy = Stretch(3, tempo)(np.zeros((2, length), np.float32), 8192)
    assert copy.shape == (2, round(length / tempo))
    assert not copy.any()


def test_copy_is_the_same_in_another_process():
    """Stretch by less than half the speed, for which the library draws random phases."""
    code = (
        "import hashlib, numpy as np; from unbraid.data.stretch import Stretch; "
        "noise = np.random.default_rng(0).standard_normal((2, 20000)).astype(np.float32); "
        "print(hashlib.sha256(Stretch(1, 0.5)(noise, 22050).tobytes()).hexdigest())"
    )
    noise = np.random.default_rng(0).standard_normal((2, 20000)).astype(np.float32)
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == fingerprint(Stretch(1, 0.5)(noise, 22050))


def test_input_is_kept_and_copy_is_named():
    samples = voice()
    before = samples.copy()
    Stretch(1, 1.06)(samples, 44100)
    np.testing.assert_array_equal(samples, before)
    assert Stretch(1, 1.06).name == "+1 st, x1.06"
    assert Stretch(-1.5, 1).name == "-1.5 st, x1"


@pytest.mark.parametrize(
    ("semitones", "tempo", "where"),
    [(13, 1, "semitones"), (float("nan"), 1, "semitones"), (1, 0.4, "tempo"), (0, 1, "semitones")],
)
def test_arguments_out_of_range_are_refused(semitones, tempo, where):
    with pytest.raises(InputError) as error:
        Stretch(semitones, tempo)
    assert error.value.where == where


def test_missing_library_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "python_stretch", None)
    monkeypatch.delitem(sys.modules, "python_stretch.Signalsmith", raising=False)
    with pytest.raises(InputError) as error:
        Stretch(1, 1)(np.zeros((1, 100), np.float32), 8192)
    assert "unbraid[stretch]" in error.value.hint
