"""The baseline of instruments: as loud as asked, and fitted to what it is compared on."""

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
    """Three harmonics and noise that falls by 20 dB towards half the rate. Two seconds and a bit."""
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


def test_both_spectra_are_those_of_the_sound(fitted):
    assert torch.allclose(fitted.distribution[:3] / fitted.distribution[:3].sum(), torch.tensor([0.5, 0.25, 0.25]), atol=0.05)
    noise = fitted.noise / fitted.distribution.sum()  # relative to harmonics whose sum is 0.4
    wanted = torch.logspace(-2, -3, 9) / 0.4
    assert (20 * (noise / wanted).log10()[1:-1]).abs().max() < 4


def test_fitting_lowers_the_loss_of_other_sounds(fitted):
    """Below that of harmonics without noise, and of noise at any one level, as it was found."""
    true, controls = breathy(260.0, 3)
    mean = torch.tensor([0.5, 0.25, 0.25, 0, 0, 0])
    bands = [SILENT, *(torch.full((9,), 10 ** (db / 20)) for db in (-60, -50, -40, -30))]
    others = [ConstantSpectrum(mean, noise, FEATURES) for noise in bands]
    own, *rest = (float(LOSS(one(controls)[None, : len(true)], true[None])) for one in (fitted, *others))
    assert own < 0.9 * min(rest) and own < 0.3 * rest[0]


def test_the_same_data_give_the_same_spectra(training, monkeypatch):
    monkeypatch.setattr(constant_spectrum, "STEPS", 3)
    one, again = (ConstantSpectrum.of(training, 6, 9, FEATURES, LOSS) for _ in range(2))
    assert torch.equal(one.distribution, again.distribution) and torch.equal(one.noise, again.noise)


@pytest.mark.parametrize("noise", [SILENT, torch.full((9,), 0.05), torch.full((9,), 3.0)])
def test_it_is_as_loud_as_asked_at_every_pitch(noise):
    constant = ConstantSpectrum(torch.tensor([0.5, 0.2, 0.3]), noise, FEATURES)
    for hz in (120.0, 500.0, 3900.0):
        controls = Controls(torch.full((1001,), hz), torch.full((1001,), -33.0), torch.ones(1001))
        assert abs(float(loudness(constant(controls), RATE, HOP)[20:-20].mean()) + 33) < 0.7


def test_sound_too_short_to_fit_gives_the_mean_distribution():
    short = [sound(220.0, [0.3, 0.1, 0.1], points=201), sound(300.0, [0.1, 0.3, 0.1], points=201)]
    constant = ConstantSpectrum.of(short, 6, 9, FEATURES, LOSS)
    assert torch.allclose(constant.distribution, torch.tensor([0.4, 0.4, 0.2, 0, 0, 0]), atol=0.02)


def test_a_sample_keeps_so_many_and_each_alike():
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
