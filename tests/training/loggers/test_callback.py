"""Telling loggers leaves training as it was."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unbraid.tasks.task import Task
from unbraid.training.loggers.callback import LoggerCallback


class Drawing:
    """A logger that draws random numbers, and sees whether dropout is off."""

    def __init__(self, module):
        self.module, self.told = module, []

    def epoch(self, row, draws):
        torch.rand(3)
        self.draws = draws
        self.told.append((row, [part.training for part in self.module.modules()]))


class Parts(Task):
    """A task, one part of which is frozen."""

    def __init__(self):
        super().__init__(None, None)
        self.parts = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
        self.parts[1].eval()


def tell(task, first, valid_loss=1.0):
    loggers = Drawing(task)
    trainer = SimpleNamespace(
        is_global_zero=first, precision_plugin=SimpleNamespace(forward_context=nullcontext),
        callback_metrics={"train/loss": torch.tensor(1.0), "valid/loss": torch.tensor(valid_loss)},
    )  # fmt: skip
    task.__dict__["_trainer"] = trainer
    LoggerCallback(loggers, SimpleNamespace(rows=[{"epoch": 0}, {"epoch": 1}])).on_train_epoch_end(trainer, task)
    return loggers


def test_neither_random_streams_nor_modes_are_changed():
    task = Parts()
    torch.manual_seed(0)
    told = tell(task, first=True).told
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))
    assert told == [({"epoch": 1}, [False, False, False, False])]
    assert [part.training for part in task.modules()] == [True, True, True, False]


def test_only_the_first_process_tells():
    assert tell(Parts(), first=False).told == []


@pytest.mark.parametrize("damage", [lambda task: task.parts[1].weight.data.fill_(torch.nan), lambda task: None])
def test_an_epoch_that_diverged_has_no_media(damage):
    task = Parts()
    assert tell(task, first=True).draws
    damage(task)
    loggers = tell(task, first=True, valid_loss=torch.inf)
    assert not loggers.draws and len(loggers.told) == 1
