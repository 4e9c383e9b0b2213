"""uSDR, SI-SDR and log-spectral distance: values that can be calculated by hand."""

import math

import pytest
import torch

from unbraid.dsp.stft import STFT
from unbraid.scoring.measures import log_spectral_distance, si_sdr, usdr


@pytest.fixture
def signal():
    return torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("measure", [usdr, si_sdr])
@pytest.mark.parametrize("decibels", [-10, 0, 25])
def test_ratio_is_the_level_of_the_noise(signal, measure, decibels):
    noise = torch.randn(signal.shape, generator=torch.Generator().manual_seed(1))
    noise *= signal.norm() / noise.norm() * 10 ** (-decibels / 20)
    assert measure(signal, signal + noise) == pytest.approx(decibels, abs=0.1)


def test_usdr_of_a_scaled_estimate_and_of_zeros(signal):
    assert usdr(signal, 0.9 * signal) == pytest.approx(20, abs=1e-4)  # an error of a tenth
    assert usdr(signal, torch.zeros_like(signal)) == pytest.approx(0, abs=1e-9)


def test_only_si_sdr_ignores_scale(signal):
    estimate = signal + 0.1 * torch.randn(signal.shape, generator=torch.Generator().manual_seed(1))
    assert si_sdr(signal, 3 * estimate) == pytest.approx(si_sdr(signal, estimate), abs=1e-6)
    assert usdr(signal, 3 * estimate) < usdr(signal, estimate) - 10


def test_si_sdr_of_a_delayed_estimate_is_low(signal):
    assert si_sdr(signal, signal.roll(10, dims=1)) < -20


def test_perfect_estimate_and_silent_reference(signal):
    assert usdr(signal, signal) == si_sdr(signal, signal) == pytest.approx(120)
    assert usdr(0 * signal, signal) is None and si_sdr(0 * signal, signal) is None


def test_silent_estimate_is_undefined_for_si_sdr_only(signal):
    assert usdr(signal, 0 * signal) == pytest.approx(0)
    assert si_sdr(signal, 0 * signal) is None


STFT_ = STFT(512, 128)


@pytest.mark.parametrize("decibels", [-6, 0, 20])
def test_log_spectral_distance_of_a_gain(signal, decibels):
    assert log_spectral_distance(signal, 10 ** (decibels / 20) * signal, STFT_) == pytest.approx(abs(decibels), abs=0.01)


def test_log_spectral_distance_of_two_bands(signal):
    """Increase half of the bins by 10 dB: the distance is the square root of 100 / 2."""
    spectrum = torch.fft.rfft(signal)
    spectrum[:, spectrum.shape[1] // 2 :] *= 10**0.5
    assert log_spectral_distance(signal, torch.fft.irfft(spectrum), STFT_) == pytest.approx(math.sqrt(50), rel=0.02)


def test_log_spectral_distance_of_silence(signal):
    assert log_spectral_distance(0 * signal, 0 * signal, STFT_) == 0
    assert 50 < log_spectral_distance(signal, 0 * signal, STFT_) <= 100
    assert 50 < log_spectral_distance(0 * signal, signal, STFT_) <= 100


def test_log_spectral_distance_ignores_phases(signal):
    assert log_spectral_distance(signal, -signal, STFT_) == 0
