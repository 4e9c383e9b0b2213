"""uSDR, SI-SDR and log-spectral distance: values that can be calculated by hand."""

import math

import pytest
import torch

from unbraid.dsp.stft import STFT
from unbraid.runs.errors import InputError
from unbraid.scoring.log_wmse import LogWMSE
from unbraid.scoring.measures import RegularisedSDR, log_spectral_distance, si_sdr, usdr
from unbraid.scoring.octave_bands import OctaveSDR


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


@pytest.mark.parametrize("epsilon", [0, -1e-8, math.nan])
def test_regularised_sdr_needs_a_positive_number(epsilon):
    with pytest.raises(InputError) as caught:
        RegularisedSDR(epsilon)
    assert (caught.value.where, str(caught.value.found)) == ("epsilon", str(epsilon))


def test_log_wmse_needs_44100_hz_and_the_mixture(signal):
    with pytest.raises(InputError) as caught:
        LogWMSE()(signal, signal, 48000, signal)
    assert (caught.value.where, caught.value.found) == ("protocol.sample_rate", 48000)
    with pytest.raises(InputError) as caught:
        LogWMSE()(signal, signal, 44100)
    assert (caught.value.where, caught.value.found) == ("mixture", "None")


def test_log_wmse_of_silence_and_of_inaudible_errors(signal):
    silent, best = torch.zeros_like(signal), -4 * math.log(1e-8)
    assert LogWMSE()(silent, signal, 44100, signal)[0] == pytest.approx(0, abs=1e-3)  # the mixture is the estimate
    assert LogWMSE()(silent, silent, 44100, signal)[0] == pytest.approx(best)
    assert LogWMSE()(silent, signal, 44100, silent)[0] == pytest.approx(best)
    assert LogWMSE()(signal, signal + 1e-5 * signal.roll(1), 44100, signal)[0] == pytest.approx(best)


def test_octave_sdr_finds_the_band_of_an_error():
    time = torch.arange(1 << 16, dtype=torch.float64) / 44100
    reference = torch.randn(1, 1 << 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = OctaveSDR()(reference, reference + 0.1 * torch.sin(2 * math.pi * 1000 * time), 44100)
    assert min(scores) == scores[5] < 10
    assert all(score > scores[5] + 15 for score in scores[:4] + scores[7:])


def test_octave_sdr_above_half_the_rate_is_undefined(signal):
    scores = OctaveSDR()(signal, 0.9 * signal, 8000)
    assert scores[8:] == [None, None] and scores[:8] == pytest.approx([20] * 8, abs=1e-3)
