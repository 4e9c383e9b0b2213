"""Tests of the separation task: logged values agree with an independent computation."""

import math
from functools import partial
from typing import NamedTuple

import pytest
import torch

from tests.models.test_separators import Constant
from unbraid.dsp.phase import MixturePhase
from unbraid.dsp.stft import STFT
from unbraid.models.losses import MagnitudeL1
from unbraid.models.separators.masking import Masking
from unbraid.runs.errors import InputError
from unbraid.scoring.measures import usdr
from unbraid.tasks.separation import SeparationTask


class Batch(NamedTuple):
    mixture: torch.Tensor
    sources: torch.Tensor
    magnitude_difference: tuple[bool, ...] = (False,)
    known: torch.Tensor | None = None


def task(mask: float = 0.5, lr: float = 1e-2, **more) -> SeparationTask:
    separator = Masking(partial(Constant, mask), STFT(1024, 768), ["vocals"], 8192, 1, 11.90625, MixturePhase())
    return SeparationTask(separator, MagnitudeL1(), partial(torch.optim.SGD, lr=lr), **more)


def batch(samples: int, share: float = 0.5) -> Batch:
    mixture = torch.randn(1, 1, samples, generator=torch.Generator().manual_seed(0))
    return Batch(mixture, share * mixture.unsqueeze(1))


@pytest.mark.parametrize("samples", [97536, 200_001])
def test_validation_scores_the_whole_track(samples):
    under_test, track = task(mask=0.5), batch(samples, share=0.8)
    under_test.validation_step(track, 0)
    expected = usdr(track.sources[0, 0], 0.5 * track.mixture[0])
    assert under_test.valid_usdr[0].compute().item() == pytest.approx(expected, abs=1e-3)


def test_correct_mask_has_no_loss():
    right, wrong = task(mask=0.5), task(mask=0.7)
    for separation in (right, wrong):
        separation.validation_step(batch(97536), 0)
    assert right.valid_loss.compute() < 1e-7 < wrong.valid_loss.compute()


def test_silent_target_has_weight_zero():
    """The metric is updated all the same, because all ranks take part in its sum."""
    under_test = task(mask=0.5)
    under_test.validation_step(batch(97536, share=0.0), 0)
    assert under_test.valid_usdr[0].update_called and under_test.valid_usdr[0].compute().isnan()
    under_test.validation_step(batch(97536, share=0.55), 0)
    assert under_test.valid_usdr[0].compute().item() == pytest.approx(20 * math.log10(0.55 / 0.05), abs=1e-2)


def test_optimizer_and_schedule_are_as_given():
    made = task(lr=0.25, scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1))
    optimizer = made.configure_optimizers()
    assert isinstance(optimizer, torch.optim.SGD) and optimizer.param_groups[0]["lr"] == 0.25
    assert isinstance(made.schedule, torch.optim.lr_scheduler.StepLR) and made.schedule.optimizer is optimizer
    task_without = task()
    task_without.configure_optimizers()
    assert task_without.schedule is None


def test_invalid_optimizer_arguments_are_refused():
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, factor=2.0)
    for separation, problem in ((task(lr=-1), "-1"), (task(scheduler=plateau), "Factor")):
        with pytest.raises(InputError) as error:
            separation.configure_optimizers()
        assert error.value.where == "optim" and problem in error.value.problem
