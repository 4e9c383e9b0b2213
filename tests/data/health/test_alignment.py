"""Offset, drift and correlation of pairs of recordings that were delayed, stretched or exchanged."""

import numpy as np
import pytest

from tests.data.health.songs import RATE, accompaniment, song, through_mp3
from unbraid import audio
from unbraid.data.health.alignment import Alignment, align

SECONDS = 20.0


def measure(other: np.ndarray) -> Alignment:
    mixture = song(0, SECONDS)
    length = min(mixture.shape[1], other.shape[1])
    alignment = align(mixture[:, :length], other[:, :length], RATE)
    assert alignment is not None
    return alignment


def test_accompaniment_is_aligned_with_its_mixture():
    alignment = measure(accompaniment(0, SECONDS))
    assert alignment.offset_ms == pytest.approx(0, abs=0.02)
    assert alignment.drift_ms == pytest.approx(0, abs=0.05)
    assert alignment.correlation > 0.5
    assert alignment.good


@pytest.mark.parametrize("delay", [-3 * RATE, -4410, -441, 397, 5 * RATE])
def test_delay_is_measured(delay):
    later = np.pad(accompaniment(0, SECONDS), ((0, 0), (max(0, delay), 0)))[:, max(0, -delay) :]
    assert measure(later).offset_ms == pytest.approx(1000 * delay / RATE, abs=0.1)
    assert measure(later).good == (abs(delay) == 397)


def test_stretched_pair_drifts():
    alignment = measure(audio.resample(accompaniment(0, SECONDS), 10000, 10010))
    assert alignment.drift_ms == pytest.approx(0.001 * 1000 * SECONDS, rel=0.05)
    assert alignment.correlation > 0.1
    assert not alignment.good
    assert measure(audio.resample(accompaniment(0, SECONDS), 10000, 9990)).drift_ms == pytest.approx(-20, rel=0.05)


def test_encoding_level_and_channels_do_not_matter():
    alignment = measure(0.2 * through_mp3(accompaniment(0, SECONDS))[:1])
    assert abs(alignment.drift_ms) < 0.1
    assert alignment.correlation > 0.3


def test_another_song_does_not_correlate():
    assert measure(song(1, SECONDS)).correlation < 0.08
    assert not measure(song(1, SECONDS)).good


def test_silent_and_short_pairs_give_none():
    silence = np.zeros((2, 10 * RATE), np.float32)
    assert align(silence, song(0, SECONDS)[:, : 10 * RATE], RATE) is None
    for length in (0, 1, 4 * RATE):
        assert align(song(0, SECONDS)[:, :length], song(0, SECONDS)[:, :length], RATE) is None


@pytest.mark.parametrize(
    ("values", "good"),
    [((10, 10, 0.1), True), ((-10, -10, 0.1), True), ((10.1, 0, 1), False), ((0, -10.1, 1), False), ((0, 0, 0.09), False)],
)
def test_thresholds(values, good):
    assert Alignment(*values).good is good
