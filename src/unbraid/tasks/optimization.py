"""Optimizer and schedule of every task."""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from unbraid.errors import InputError


def configured(
    task: pl.LightningModule,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    scheduler: Callable[[torch.optim.Optimizer], Any] | None,
    parameters: Iterable[nn.Parameter],
) -> dict[str, Any]:
    """What Lightning wants to know of both.

    Args:
        task: whose trainer says how often it validates.
        optimizer: makes one of parameters; a value it does not take is an InputError.
        scheduler: makes a schedule of the optimizer, stepped after each validation on `valid/loss`; None keeps the rate.
        parameters: to be trained.
    """
    try:
        made = optimizer(parameters)
        schedule = None if scheduler is None else scheduler(made)
    except ValueError as error:
        raise InputError(f"optim: {error}") from error
    if schedule is None:
        return {"optimizer": made}
    # A run that ends before its first validation has nothing to step on.
    frequency = task.trainer.check_val_every_n_epoch if task._trainer else 1
    return {
        "optimizer": made,
        "lr_scheduler": {"scheduler": schedule, "monitor": "valid/loss", "frequency": frequency, "strict": False},
    }
