"""How loggers hear of an epoch."""

from typing import Any

import pytorch_lightning as pl
import torch

from unbraid.training.callbacks.metrics_csv import MetricsCSV
from unbraid.training.loggers.logger import Loggers


class LoggerCallback(pl.Callback):
    """Tells loggers each row of `metrics.csv`, with media that draw nothing from the random streams of training.

    An epoch in which training has diverged has no media; the task ends the run a moment later.

    Args:
        loggers: those of the run.
        table: that writes the rows, a callback before this one.
    """

    def __init__(self, loggers: Loggers, table: MetricsCSV) -> None:
        self.loggers, self.table = loggers, table

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        task: Any = pl_module  # a `Task`
        training = {module: module.training for module in task.modules()}
        cuda = [task.device] if task.device.type == "cuda" else []
        task.eval()
        try:
            with torch.random.fork_rng(devices=cuda), trainer.precision_plugin.forward_context():
                self.loggers.epoch(self.table.rows[-1], draws=task.non_finite() is None)
        finally:
            for module, was in training.items():
                module.training = was
