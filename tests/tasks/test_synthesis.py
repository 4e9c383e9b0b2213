"""Tests of the synthesis task: features, schedule and loss."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from unbraid.models.losses import MultiScaleSpectral
from unbraid.nets.ddsp import Instrument
from unbraid.runs.errors import InputError
from unbraid.tasks.synthesis import SynthesisTask

NET = partial(Instrument, hidden=4, layers=1, harmonics=4, bands=5, latent=0, reverb_seconds=0.0)
GRID = SimpleNamespace(kind="audio", sample_rate=16000, hop_length=64)


def task(features=GRID, scheduler=None) -> SynthesisTask:
    return SynthesisTask(features, NET, MultiScaleSpectral([64], 1.0), torch.optim.Adam, scheduler)


def test_other_features_are_refused():
    with pytest.raises(InputError) as error:
        task(SimpleNamespace(kind="images"))
    assert (error.value.where, error.value.found) == ("features", "images") and "features=controls" in error.value.hint


def test_net_has_rate_and_hop_of_the_features():
    net = task().net
    assert (net.sample_rate, net.hop_length) == (16000, 64)


@pytest.mark.parametrize(
    ("scheduler", "by_step"),
    [
        (None, False),
        (partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5), True),
        (torch.optim.lr_scheduler.ReduceLROnPlateau, False),
    ],
)
def test_schedule_is_stepped_in_each_training_step(scheduler, by_step):
    synthesis = task(scheduler=scheduler)
    synthesis.configure_optimizers()
    assert synthesis.by_step == by_step


def test_loss_ignores_samples_after_the_last_point():
    f0, loudness = torch.full((1, 11), 220.0), torch.full((1, 11), -30.0)
    synthesis, sound, losses = task(), torch.linspace(-0.5, 0.5, 640)[None], []
    for heard in (sound, torch.cat([sound, torch.ones(1, 10)], dim=1)):
        torch.manual_seed(0)  # of the noise
        losses.append(synthesis.distance(f0, loudness, heard).item())
    assert losses[0] == losses[1] > 0
