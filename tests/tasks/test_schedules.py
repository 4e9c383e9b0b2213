"""Schedules equal their closed form, and groups of parameters have their own options."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unbraid.runs.errors import InputError
from unbraid.tasks.optimizers import GroupedOptimizer
from unbraid.tasks.schedules import Plateau, StepDecay, WarmupCosine
from unbraid.tasks.task import Task


def optimizer(lr=0.5):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr)


def test_warmup_and_cosine_equal_their_closed_form():
    sgd = optimizer()
    schedule = WarmupCosine(sgd, 10, 50, 0.1)
    for step in range(60):
        share = min(1.0, max(0.0, (step - 10) / 40))
        expected = 0.5 * (step / 10 if step < 10 else 0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2)
        assert sgd.param_groups[0]["lr"] == pytest.approx(expected, abs=1e-12)
        sgd.step()
        schedule.step()


def test_step_decay_equals_its_closed_form():
    sgd = optimizer()
    schedule = StepDecay(sgd, 7, 0.9, 10)
    for step in range(40):
        assert sgd.param_groups[0]["lr"] == pytest.approx(0.5 * min(1, step / 10) * 0.9 ** (step // 7), abs=1e-12)
        sgd.step()
        schedule.step()
    assert StepDecay(optimizer(), 1, 0.5, 0).get_last_lr() == [0.5]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [((0, 0.9, 0), "every_steps"), ((1, 0.0, 0), "factor"), ((1, 1.1, 0), "factor"), ((1, 0.9, -1), "warmup_steps")],
)
def test_invalid_arguments_of_step_decay_are_named(arguments, key):
    with pytest.raises(InputError) as error:
        StepDecay(optimizer(), *arguments)
    assert error.value.where == f"optim.scheduler.{key}"


def test_without_warmup_training_starts_at_the_full_rate():
    sgd = optimizer()
    WarmupCosine(sgd, 0, 50, 0.0)
    assert sgd.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ((50, 50, 0.0), "warmup_steps"),
        ((-1, 50, 0.0), "warmup_steps"),
        ((1, 50, 2.0), "end_factor"),
        ((1, None, 0.0), "total_steps"),
    ],
)
def test_invalid_arguments_are_named(arguments, key):
    with pytest.raises(InputError) as error:
        WarmupCosine(optimizer(), *arguments)
    assert error.value.where == f"optim.scheduler.{key}"


def test_a_schedule_of_another_length_is_refused():
    with pytest.raises(InputError) as error:
        WarmupCosine(optimizer(), 1, 60, 0.0).load_state_dict(WarmupCosine(optimizer(), 1, 50, 0.0).state_dict())
    assert (error.value.found, error.value.expected) == (60, 50)


def task_with(schedule, **trainer):
    task = Task(lambda parameters: optimizer(), schedule)
    task._trainer = SimpleNamespace(
        optimizers=[], current_epoch=0, check_val_every_n_epoch=1, num_val_batches=[1], callback_metrics={}, **trainer
    )
    return task


def test_a_plateau_follows_its_measure():
    task = task_with(partial(Plateau, monitor="valid/uSDR/mean", mode=None, factor=0.5, patience=0))
    sgd = task.configure_optimizers()
    rates = []
    for value in (1.0, 2.0, float("nan"), 1.5, 3.0):  # an epoch without scoring logs NaN
        task._step_schedule({"valid/uSDR/mean": torch.tensor(value), "valid/loss": torch.tensor(-value)})
        rates.append(sgd.param_groups[0]["lr"])
    assert rates == [0.5, 0.5, 0.5, 0.25, 0.25]
    with pytest.raises(InputError) as error:
        task._step_schedule({"valid/loss": torch.tensor(1.0)})
    assert error.value.found == "valid/uSDR/mean" and "valid/loss" in error.value.expected


def trainer_of(**options):
    options = {"max_epochs": 5, "max_steps": -1, "accumulate_grad_batches": 1, "limit_train_batches": 1.0} | options
    return {"datamodule": SimpleNamespace(steps_per_epoch=9), **options}


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 45),
        ({"accumulate_grad_batches": 2}, 25),
        ({"limit_train_batches": 4}, 20),
        ({"limit_train_batches": 0.5}, 20),
        ({"max_steps": 7}, 7),
        ({"max_steps": 70, "max_epochs": None}, 70),
    ],
)
def test_the_length_of_the_training_is_filled_in(options, steps):
    schedule = partial(WarmupCosine, warmup_steps=2, total_steps=None, end_factor=0.0)
    task = task_with(schedule, **trainer_of(**options))
    task.configure_optimizers()
    assert task.schedule.total_steps == steps and task.by_step


def test_an_endless_training_has_no_length():
    schedule = partial(WarmupCosine, warmup_steps=2, total_steps=None, end_factor=0.0)
    with pytest.raises(InputError) as error:
        task_with(schedule, **trainer_of(max_epochs=-1)).configure_optimizers()
    assert error.value.where == "optim.scheduler.total_steps"


class Normed(Task):
    def __init__(self, make):
        super().__init__(make, None)
        self.encoder = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
        self.decoder = nn.Linear(3, 3)


def grouped(*groups):
    adamw = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1)
    return Normed(partial(GroupedOptimizer, optimizer=adamw, groups=groups))


def test_groups_have_their_own_options():
    task = grouped(
        {"pattern": "^decoder", "options": {"lr": 1e-5}}, {"pattern": ".", "max_ndim": 1, "options": {"weight_decay": 0.0}}
    )
    groups = task.configure_optimizers().param_groups
    names = {id(parameter): name for name, parameter in task.named_parameters()}
    found = [({names[id(p)] for p in group["params"]}, group["lr"], group["weight_decay"]) for group in groups]
    assert found == [
        ({"encoder.0.weight"}, 1e-3, 0.1),
        ({"decoder.weight", "decoder.bias"}, 1e-5, 0.1),
        ({"encoder.0.bias", "encoder.1.weight", "encoder.1.bias"}, 1e-3, 0.0),
    ]


@pytest.mark.parametrize(
    ("group", "where"),
    [
        ({"pattern": "nothing", "options": {}}, "groups[0]"),
        ({"pattern": "(", "options": {}}, "groups[0].pattern"),
        ({"pattern": ".", "lr": 1}, "groups[0]"),
        ({"pattern": ".", "options": {"weight_deacy": 0.0}}, "groups[0].options.weight_deacy"),
    ],
)
def test_invalid_groups_are_named(group, where):
    with pytest.raises(InputError) as error:
        grouped(group).configure_optimizers()
    assert error.value.where == f"optim.optimizer.{where}"
