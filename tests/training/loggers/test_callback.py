"""Test that loggers do not change training."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unbraid.tasks.task import Task
from unbraid.training.loggers.callback import LoggerCallback


class Drawing:
    """Draw random numbers in each epoch, and record the modes of modules."""

    def __init__(self, module):
        self.module, self.epochs = module, []

    def epoch(self, row, draws):
        torch.rand(3)
        self.draws = draws
        self.epochs.append((row, [part.training for part in self.module.modules()]))


class Parts(Task):
    """Have one module in evaluation mode."""

    def __init__(self):
        super().__init__(None, None)
        self.parts = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
        self.parts[1].eval()


def end_epoch(task, first, valid_loss=1.0):
    loggers = Drawing(task)
    trainer = SimpleNamespace(
        is_global_zero=first, precision_plugin=SimpleNamespace(forward_context=nullcontext),
        callback_metrics={"train/loss": torch.tensor(1.0), "valid/loss": torch.tensor(valid_loss)},
    )  # fmt: skip
    task.__dict__["_trainer"] = trainer
    LoggerCallback(loggers, SimpleNamespace(rows=[{"epoch": 0}, {"epoch": 1}])).on_train_epoch_end(trainer, task)
    return loggers


def test_random_streams_and_modes_are_restored():
    task = Parts()
    torch.manual_seed(0)
    epochs = end_epoch(task, first=True).epochs
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))
    assert epochs == [({"epoch": 1}, [False, False, False, False])]
    assert [part.training for part in task.modules()] == [True, True, True, False]


def test_only_the_first_process_logs():
    assert end_epoch(Parts(), first=False).epochs == []


@pytest.mark.parametrize("damage", [lambda task: task.parts[1].weight.data.fill_(torch.nan), lambda task: None])
def test_diverged_epoch_has_no_media(damage):
    task = Parts()
    assert end_epoch(task, first=True).draws
    damage(task)
    loggers = end_epoch(task, first=True, valid_loss=torch.inf)
    assert not loggers.draws and len(loggers.epochs) == 1
