"""Measured band limits equal the cut-off frequencies of filters and encoders."""

import numpy as np
import pytest

from tests.data.health.songs import RATE, song, through_ogg
from unbraid import audio
from unbraid.data.health.bandwidth import ceiling_hz

NOISE = 0.1 * np.random.default_rng(0).standard_normal((2, 4 * RATE)).astype(np.float32)


def low_passed(samples: np.ndarray, cutoff_hz: float) -> np.ndarray:
    spectrum = np.fft.rfft(samples)
    spectrum[:, round(cutoff_hz * samples.shape[1] / RATE) :] = 0
    return np.fft.irfft(spectrum, samples.shape[1]).astype(np.float32)


@pytest.mark.parametrize("cutoff_hz", [1000, 8000, 16000, 21000])
@pytest.mark.parametrize("gain", [1, 0.01])
def test_cutoff_of_noise_is_measured(cutoff_hz, gain):
    cut = low_passed(NOISE, cutoff_hz)
    assert ceiling_hz(gain * cut, RATE) == pytest.approx(cutoff_hz, abs=50)
    rounded = (np.rint(32768 * cut) / 32768).astype(np.float32)
    assert ceiling_hz(rounded, RATE) == pytest.approx(cutoff_hz, abs=50)


def test_full_band_gives_nyquist_and_silence_none():
    assert ceiling_hz(NOISE, RATE) == RATE / 2
    assert ceiling_hz(song(0, 10.0), RATE) == RATE / 2  # high frequencies are weak, but there is no edge
    assert ceiling_hz(0 * NOISE, RATE) is None
    assert ceiling_hz(NOISE[:, :0], RATE) is None
    assert ceiling_hz(NOISE[:, :1], RATE) is None


def test_opposite_channels_do_not_cancel():
    cut = low_passed(NOISE[:1], 8000)
    assert ceiling_hz(np.concatenate([cut, -cut]), RATE) == pytest.approx(8000, abs=50)


def test_resampled_music_ends_at_its_former_nyquist():
    resampled = audio.resample(audio.resample(song(0, 10.0), RATE, 16000), 16000, RATE)
    assert 7400 < ceiling_hz(resampled, RATE) <= 8000


def test_vorbis_cutoff_is_measured():
    assert ceiling_hz(through_ogg(song(0, 10.0)), RATE) == pytest.approx(15900, abs=300)


def test_stem_file_ends_below_16_khz(stem_file):
    for samples in audio.read(stem_file, range(5))[0]:
        assert 15000 < ceiling_hz(samples, RATE) < 16000


def test_click_does_not_change_the_result():
    clicked = low_passed(NOISE, 8000)
    clicked[:, 2 * RATE] = 1
    assert ceiling_hz(clicked, RATE) == pytest.approx(8000, abs=50)
