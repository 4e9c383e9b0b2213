"""Test the measures of resynthesized sounds and the statistics of training data."""

import math

import pytest
import torch

from tests.inference.test_transfer import Crossings
from unbraid.data.controls import Controls, Extraction
from unbraid.dsp.synthesis import loudness, oscillators
from unbraid.evaluation.resynthesis import Resyntheses, measures, training_of
from unbraid.models.losses import MultiScaleSpectral
from unbraid.runs.errors import InputError

RATE, HOP = 16000, 64
FEATURES = Extraction(RATE, 1, 1.0, 250, Crossings(), 0.5)


def sound(hz: float, shares: list[float], points: int = 251) -> tuple[torch.Tensor, Controls]:
    waveform, _ = oscillators(torch.full((1, points), hz), torch.tensor(shares).expand(1, points, len(shares)), HOP, RATE)
    count = waveform.shape[1] // HOP + 1
    return waveform[0], Controls(torch.full((count,), hz), loudness(waveform[0], RATE, HOP), torch.ones(count))


def test_measures_of_equal_and_transposed_sounds():
    (one, controls), (above, _) = sound(1000.0, [0.3]), sound(1000.0 * 2 ** (1 / 12), [0.15])
    loss = MultiScaleSpectral([512], 1.0)
    same = measures(one, one, controls, loss, FEATURES)
    assert same["loss"] == 0 and same["loudness error (dB)"] < 0.01 and same["voiced"] == 1
    other = measures(above, one, controls, loss, FEATURES)
    assert other["f0 error (cents)"] == pytest.approx(100, abs=20)
    assert other["loudness error (dB)"] == pytest.approx(20 * math.log10(2), abs=0.5)
    silent = Controls(controls.f0, torch.full_like(controls.loudness, -100.0), torch.zeros_like(controls.f0))
    nothing = measures(torch.zeros(16000), torch.zeros(16000), silent, loss, FEATURES)
    assert nothing["f0 error (cents)"] is None is nothing["loudness error (dB)"]


def test_training_data_without_pitch_are_refused():
    _, controls = sound(440.0, [0.3])
    training = training_of([controls], FEATURES)
    assert training.lowest == training.median == training.highest == pytest.approx(69, abs=0.01)
    with pytest.raises(InputError) as error:
        training_of([controls._replace(periodicity=torch.zeros_like(controls.f0))], FEATURES)
    assert (error.value.where, error.value.found) == ("targets", "0% of the frames")


def test_negative_number_of_clips_is_refused():
    with pytest.raises(InputError) as error:
        Resyntheses(-1)
    assert (error.value.where, error.value.found) == ("clips", -1)
