"""Pitch of signals whose pitch is known."""

import math

import numpy as np
import pytest

from unbraid.dsp import pitch
from unbraid.dsp.pitch import Crepe, Pyin
from unbraid.runs.errors import InputError

TINY = Crepe("tiny", 10, 40.0, 1900.0)


def tone(hz: float, rate: int, seconds: float = 0.6) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return sum(0.2 / k * np.sin(2 * math.pi * hz * k * time) for k in range(1, 7)).astype(np.float32)


@pytest.mark.parametrize("hz", [110.0, 261.6, 880.0])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_crepe_finds_a_tone_within_five_cents(hz, rate):
    hop = rate // 250
    pitches, periodicity = TINY(tone(hz, rate), rate, hop)
    assert pitches.shape == periodicity.shape == (len(tone(hz, rate)) // hop + 1,)
    inside = slice(20, -20)
    assert np.median(np.abs(1200 * np.log2(pitches[inside] / hz))) < 5
    assert periodicity[inside].min() > 0.7


def test_full_crepe_finds_a_tone():
    pitches, periodicity = Crepe("full", 25, 40.0, 1900.0)(tone(330.0, 16000, 0.4), 16000, 64)
    assert abs(1200 * np.log2(np.median(pitches[20:-20]) / 330)) < 5 and np.median(periodicity) > 0.8


@pytest.mark.slow
def test_pyin_finds_a_tone_within_five_cents():
    pitches, periodicity = Pyin(80.0, 800.0, 0.05)(tone(261.6, 16000), 16000, 320)
    assert abs(1200 * np.log2(np.median(pitches[5:-5]) / 261.6)) < 5 and periodicity[5:-5].min() >= 0.5
    _, noise = Pyin(80.0, 800.0, 0.05)(np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32), 16000, 320)
    assert np.median(noise) < 0.5


def test_noise_and_silence_have_no_pitch():
    noise = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    for signal in (noise, np.zeros(8000, np.float32)):
        assert np.median(TINY(signal, 16000, 64)[1]) < 0.5


def test_skipped_points_do_not_change_others():
    signal = tone(200.0, 16000)
    every_tenth, _ = TINY(signal, 16000, 64)
    every, _ = Crepe("tiny", 1, 40.0, 1900.0)(signal[:8000], 16000, 64)
    assert np.allclose(every_tenth[:100:10], every[:100:10], rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Crepe("tiny", 0, 40.0, 1900.0), "every"),
        (lambda: Crepe("tiny", 1, 10.0, 1900.0), "fmin"),
        (lambda: Pyin(50.0, 5000.0, 0.1), "fmax"),
        (lambda: Pyin(800.0, 100.0, 0.1), "fmin"),
        (lambda: Pyin(50.0, 500.0, 2.0), "resolution"),
    ],
)
def test_options_out_of_range_are_refused(make, key):
    with pytest.raises(InputError) as error:
        make()
    assert error.value.where.startswith(key)


@pytest.mark.parametrize(
    ("make", "package"), [(lambda: Crepe("tiny", 1, 40.0, 900.0), "torchcrepe"), (lambda: Pyin(50.0, 500.0, 0.1), "librosa")]
)
def test_missing_package_is_named(monkeypatch, make, package):
    monkeypatch.setattr(pitch, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        make()
    assert package in error.value.problem and "unbraid[pitch]" in error.value.hint
