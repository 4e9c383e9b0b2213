"""uSDR, SI-SDR and their summary, against what one can work out by hand."""

import math

import pytest
import torch

from unbraid.scoring.measures import score, si_sdr, summarise, usdr


@pytest.fixture
def signal():
    return torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("measure", [usdr, si_sdr])
@pytest.mark.parametrize("decibels", [-10, 0, 25])
def test_noise_so_many_decibels_below_scores_so_many(signal, measure, decibels):
    noise = torch.randn(signal.shape, generator=torch.Generator().manual_seed(1))
    noise *= signal.norm() / noise.norm() * 10 ** (-decibels / 20)
    assert measure(signal, signal + noise) == pytest.approx(decibels, abs=0.1)


def test_usdr_of_a_scaled_estimate_and_of_zeros(signal):
    assert usdr(signal, 0.9 * signal) == pytest.approx(20, abs=1e-4)  # an error of a tenth
    assert usdr(signal, torch.zeros_like(signal)) == pytest.approx(0, abs=1e-9)


def test_si_sdr_forgives_scale_and_usdr_does_not(signal):
    estimate = signal + 0.1 * torch.randn(signal.shape, generator=torch.Generator().manual_seed(1))
    assert si_sdr(signal, 3 * estimate) == pytest.approx(si_sdr(signal, estimate), abs=1e-6)
    assert usdr(signal, 3 * estimate) < usdr(signal, estimate) - 10


def test_si_sdr_does_not_forgive_a_delay(signal):
    assert si_sdr(signal, signal.roll(10, dims=1)) < -20


def test_a_perfect_estimate_is_capped_and_a_silent_reference_is_undefined(signal):
    assert usdr(signal, signal) == si_sdr(signal, signal) == pytest.approx(120)
    assert usdr(0 * signal, signal) is None and si_sdr(0 * signal, signal) is None


def test_a_silent_estimate_is_undefined_only_where_it_has_no_scale(signal):
    assert usdr(signal, 0 * signal) == pytest.approx(0)
    assert si_sdr(signal, 0 * signal) is None


def test_the_mixture_improves_on_itself_by_nothing(signal):
    mixture = signal + torch.randn(signal.shape, generator=torch.Generator().manual_seed(1))
    scores = score(signal, mixture, mixture)
    assert scores["uSDRi"] == scores["SI-SDRi"] == 0
    assert scores["uSDR"] == usdr(signal, mixture)


def test_the_summary_counts_only_what_is_defined():
    summary = summarise([{"uSDR": value} for value in (1.0, None, 2.0, 6.0)])
    assert summary["uSDR"] == {"mean": 3.0, "median": 2.0, "std": pytest.approx(math.sqrt(14 / 3)), "n": 3}
    assert summarise([{"uSDR": None}])["uSDR"] == {"mean": None, "median": None, "std": None, "n": 0}
