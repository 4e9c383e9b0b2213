"""A run that no longer moves says where it stands, and ends."""

import faulthandler
from typing import Any

import pytorch_lightning as pl

from unbraid.runs.errors import InputError

STDERR = 2


class Watchdog(pl.Callback):
    """Ends a process in which no batch of training or validation is done for a while, with the stacks of its threads.

    Processes of a run that wait for each other for ever stand still all at once, so that each of them says where. The last
    checkpoint stays: the same command goes on from it.

    Args:
        minutes: without a batch.
    """

    def __init__(self, minutes: float) -> None:
        if minutes <= 0:
            raise InputError(f"minutes must be above 0, found {minutes}")
        self.seconds = 60 * minutes

    def _wait(self) -> None:
        faulthandler.dump_traceback_later(self.seconds, exit=True, file=STDERR)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._wait()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self._wait()

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        self._wait()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        faulthandler.cancel_dump_traceback_later()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        faulthandler.cancel_dump_traceback_later()
