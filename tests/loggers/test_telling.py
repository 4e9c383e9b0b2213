"""Telling loggers leaves training as it was."""

from contextlib import nullcontext
from types import SimpleNamespace

import torch
from torch import nn

from unbraid.loggers.telling import Telling


class Drawing:
    """A logger that draws random numbers, and sees whether dropout is off."""

    def __init__(self, module):
        self.module, self.told = module, []

    def epoch(self, row):
        torch.rand(3)
        self.told.append((row, [part.training for part in self.module.modules()]))


def module():
    """One part of it is frozen, as a task may have it."""
    parts = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
    parts[1].eval()
    parts.device = torch.device("cpu")
    return parts


def tell(parts, first):
    loggers = Drawing(parts)
    trainer = SimpleNamespace(is_global_zero=first, precision_plugin=SimpleNamespace(forward_context=nullcontext))
    Telling(loggers, SimpleNamespace(rows=[{"epoch": 0}, {"epoch": 1}])).on_train_epoch_end(trainer, parts)
    return loggers.told


def test_neither_random_streams_nor_modes_are_changed():
    parts = module()
    torch.manual_seed(0)
    told = tell(parts, first=True)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))
    assert told == [({"epoch": 1}, [False, False, False])]
    assert [part.training for part in parts.modules()] == [True, True, False]


def test_only_the_first_process_tells():
    assert tell(module(), first=False) == []
