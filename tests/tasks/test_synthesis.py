"""The task of an instrument: what it is played by, and a rate that falls in every step."""

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
    with pytest.raises(InputError, match="features: an instrument is played by pitch and loudness, found images"):
        task(SimpleNamespace(kind="images"))


def test_its_net_has_rate_and_grid_of_the_features():
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
def test_a_schedule_is_of_every_step_unless_it_wants_a_measure(scheduler, by_step):
    one = task(scheduler=scheduler)
    one.configure_optimizers()
    assert one.by_step == by_step


def test_the_distance_is_of_the_stretches_between_the_points():
    one = task()
    f0, loudness = torch.full((1, 11), 220.0), torch.full((1, 11), -30.0)
    assert one.distance(f0, loudness, torch.zeros(1, 650)).isfinite()
