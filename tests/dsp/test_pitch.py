"""Pitch of sounds whose pitch is known."""

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
    found, periodicity = TINY(tone(hz, rate), rate, hop)
    assert found.shape == periodicity.shape == (len(tone(hz, rate)) // hop + 1,)
    inside = slice(20, -20)
    assert np.median(np.abs(1200 * np.log2(found[inside] / hz))) < 5
    assert periodicity[inside].min() > 0.7


def test_the_full_network_finds_it_too():
    found, periodicity = Crepe("full", 25, 40.0, 1900.0)(tone(330.0, 16000, 0.4), 16000, 64)
    assert abs(1200 * np.log2(np.median(found[20:-20]) / 330)) < 5 and np.median(periodicity) > 0.8


def test_pyin_finds_a_tone_within_five_cents():
    found, periodicity = Pyin(80.0, 800.0, 0.05)(tone(261.6, 16000), 16000, 320)
    assert abs(1200 * np.log2(np.median(found[5:-5]) / 261.6)) < 5 and periodicity[5:-5].min() >= 0.5
    _, noise = Pyin(80.0, 800.0, 0.05)(np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32), 16000, 320)
    assert np.median(noise) < 0.5


def test_noise_and_silence_have_no_pitch():
    noise = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    for sound in (noise, np.zeros(8000, np.float32)):
        assert np.median(TINY(sound, 16000, 64)[1]) < 0.5


def test_points_between_are_interpolated():
    sweep = tone(200.0, 16000) + 0
    every, _ = TINY(sweep, 16000, 64)
    first, _ = Crepe("tiny", 1, 40.0, 1900.0)(sweep[:8000], 16000, 64)
    assert np.allclose(every[:100:10], first[:100:10], rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Crepe("tiny", 0, 40.0, 1900.0), "every must be at least 1"),
        (lambda: Crepe("tiny", 1, 10.0, 1900.0), r"fmin must lie in \[32, 1975\] Hz, found 10"),
        (lambda: Pyin(50.0, 5000.0, 0.1), r"fmax must lie in \[20, 4000\] Hz, found 5000"),
        (lambda: Pyin(800.0, 100.0, 0.1), "fmin must be below fmax"),
        (lambda: Pyin(50.0, 500.0, 2.0), "resolution must lie in"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("make", "package"), [(lambda: Crepe("tiny", 1, 40.0, 900.0), "torchcrepe"), (lambda: Pyin(50.0, 500.0, 0.1), "librosa")]
)
def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch, make, package):
    monkeypatch.setattr(pitch, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"needs the package {package}, .*pip install 'unbraid\[pitch\]'"):
        make()
