"""Callback that passes the metrics of each epoch to the loggers, such as Weights & Biases and TensorBoard."""

from typing import Any

import pytorch_lightning as pl
import torch

from unbraid.training.callbacks.metrics_csv import MetricsCSV
from unbraid.training.loggers.logger import Loggers


class LoggerCallback(pl.Callback):
    """Pass each row of `metrics.csv` to the loggers. Every few epochs, also pass audio and pictures of validation clips.

    Audio and pictures do not change the training: the random number generators and the modes of modules (training or
    evaluation) are restored afterwards. If training has diverged, audio and pictures are not made.

    Args:
        loggers: loggers of the run.
        table: callback that writes `metrics.csv`. In the Trainer's list of callbacks, `table` must precede this callback.
    """

    def __init__(self, loggers: Loggers, table: MetricsCSV) -> None:
        self.loggers, self.table = loggers, table

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass the latest row of `metrics.csv` to the loggers. Only the first process of the run does so."""
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
            for module, was_training in training.items():
                module.training = was_training
