"""Watchdog callback: end a training process if no batch finishes within a time limit, as in a deadlock."""

import faulthandler
from typing import Any

import pytorch_lightning as pl

from unbraid.runs.errors import InputError

STDERR = 2  # file descriptor


class Watchdog(pl.Callback):
    """End the process if no training or validation batch finishes within a time limit.

    Before the process ends, it prints the stack of each thread on standard error. In a deadlock, every process of the run
    reaches the limit and prints its stacks. The last checkpoint stays on disk. To resume the run from this checkpoint, start
    the same training command again.

    Args:
        minutes: longest time without a finished batch, in minutes.

    Raises:
        InputError: `minutes` is not above 0.
    """

    def __init__(self, minutes: float) -> None:
        if minutes <= 0:
            raise InputError("minutes", found=minutes, expected="a time limit above 0")
        self.seconds = 60 * minutes

    def _restart_timer(self) -> None:
        faulthandler.dump_traceback_later(self.seconds, exit=True, file=STDERR)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the timer that ends the process if no batch finishes within the time limit."""
        self._restart_timer()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Restart the timer of the time limit, since a training batch has finished."""
        self._restart_timer()

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Restart the timer of the time limit, since a validation batch has finished."""
        self._restart_timer()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Cancel the timer of the time limit at the end of training."""
        faulthandler.cancel_dump_traceback_later()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Cancel the timer, because the time limit is for one batch. Saving files after an exception may take longer."""
        faulthandler.cancel_dump_traceback_later()
