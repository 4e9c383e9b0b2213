"""Tests of the baseline for instruments: loudness and fit."""

import pytest
import torch

from tests.evaluation.test_resynthesis import FEATURES, HOP, RATE, sound
from unbraid.data.controls import Controls
from unbraid.dsp.synthesis import filtered_noise, loudness, white_noise
from unbraid.models import constant_spectrum
from unbraid.models.constant_spectrum import ConstantSpectrum
from unbraid.models.losses import MultiScaleSpectral

LOSS = MultiScaleSpectral([1024, 256, 64], 1.0)
SILENT = torch.full((9,), 1e-6)


def breathy(hz: float, seed: int) -> tuple[torch.Tensor, Controls]:
    """Return two seconds of three harmonics and noise, which falls by 20 dB up to half the sample rate."""
    tone, controls = sound(hz, [0.2, 0.1, 0.1], points=501)
    gains = torch.logspace(-2, -3, 9).expand(1, 500, 9)
    air, _ = filtered_noise(gains, white_noise(tone[None], len(tone), torch.Generator().manual_seed(seed)))
    return tone + air[0], controls._replace(loudness=loudness(tone + air[0], RATE, HOP))


@pytest.fixture(scope="module")
def training() -> list[tuple[torch.Tensor, Controls]]:
    return [breathy(220.0, 1), breathy(300.0, 2)]


@pytest.fixture(scope="module")
def fitted(training) -> ConstantSpectrum:
    return ConstantSpectrum.of(training, 6, 9, FEATURES, LOSS)


def test_fitted_spectra_are_those_of_the_sound(fitted):
    assert torch.allclose(fitted.distribution[:3] / fitted.distribution[:3].sum(), torch.tensor([0.5, 0.25, 0.25]), atol=0.05)
    noise = fitted.noise / fitted.distribution.sum()  # relative to harmonics whose sum is 0.4
    expected = torch.logspace(-2, -3, 9) / 0.4
    assert (20 * (noise / expected).log10()[1:-1]).abs().max() < 4


def test_fitting_lowers_the_loss_of_other_sounds(fitted):
    """The loss is smaller than without noise, and than with the same noise level in all bands."""
    true, controls = breathy(260.0, 3)
    mean = torch.tensor([0.5, 0.25, 0.25, 0, 0, 0])
    bands = [SILENT, *(torch.full((9,), 10 ** (db / 20)) for db in (-60, -50, -40, -30))]
    others = [ConstantSpectrum(mean, noise, FEATURES) for noise in bands]
    loss, *losses = (float(LOSS(model(controls)[None, : len(true)], true[None])) for model in (fitted, *others))
    assert loss < 0.9 * min(losses) and loss < 0.3 * losses[0]


def test_fit_is_deterministic(training, monkeypatch):
    monkeypatch.setattr(constant_spectrum, "STEPS", 3)
    first, second = (ConstantSpectrum.of(training, 6, 9, FEATURES, LOSS) for _ in range(2))
    assert torch.equal(first.distribution, second.distribution) and torch.equal(first.noise, second.noise)


@pytest.mark.parametrize("noise", [SILENT, torch.full((9,), 0.05), torch.full((9,), 3.0)])
def test_loudness_is_as_given_at_every_pitch(noise):
    constant = ConstantSpectrum(torch.tensor([0.5, 0.2, 0.3]), noise, FEATURES)
    for hz in (120.0, 500.0, 3900.0):
        controls = Controls(torch.full((1001,), hz), torch.full((1001,), -33.0), torch.ones(1001))
        assert abs(float(loudness(constant(controls), RATE, HOP)[20:-20].mean()) + 33) < 0.7


def test_short_sounds_give_the_mean_distribution():
    short = [sound(220.0, [0.3, 0.1, 0.1], points=201), sound(300.0, [0.1, 0.3, 0.1], points=201)]
    constant = ConstantSpectrum.of(short, 6, 9, FEATURES, LOSS)
    assert torch.allclose(constant.distribution, torch.tensor([0.4, 0.4, 0.2, 0, 0, 0]), atol=0.02)


def test_sample_keeps_pieces_with_equal_probability():
    kept = [0] * 200
    for seed in range(60):
        sample = constant_spectrum.Sample()
        sample.generator.manual_seed(seed)
        for number in range(200):
            sample.offer(number)
        assert len({*sample.pieces}) == constant_spectrum.PIECES
        for number in sample.pieces:
            kept[number] += 1
    assert abs(sum(kept[:100]) - sum(kept[100:])) < 150
