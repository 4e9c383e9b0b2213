"""Callbacks that save the best checkpoint and stop training early. Both ignore the losses of warm-up epochs.

A warm-up consists of the first epochs of a run, while the definition of the loss still changes. For example, the weight of the
KL divergence in the loss of a variational autoencoder rises from epoch to epoch.
"""

from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """Write the weights of the best epoch to `checkpoints/best.ckpt`.

    During a warm-up (first epochs in which the definition of the loss still changes), the losses of two epochs cannot be
    compared. The latest epoch of a warm-up is therefore saved as the best epoch.

    Args:
        monitor: name of the logged value by which epochs are compared, such as `valid/loss`.
        mode: `min` if smaller values are better, `max` if larger values are better.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"]) -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, save_top_k=1, enable_version_counter=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save `best.ckpt` if this epoch is the best so far. Do nothing if Lightning saves checkpoints after validations."""
        super().on_train_epoch_end(trainer, pl_module)
        self._forget_warm_up(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save `best.ckpt` if this epoch is the best so far. Do nothing if Lightning saves after training epochs instead."""
        super().on_validation_end(trainer, pl_module)
        self._forget_warm_up(pl_module)

    def _forget_warm_up(self, task: Any) -> None:
        if task.is_warming_up:
            self.best_k_models.clear()


class StopWithoutProgress(EarlyStopping):
    """End training if a logged value has not improved for `patience` epochs.

    Epochs of a warm-up, in which the definition of the loss still changes, are not counted.

    Args:
        monitor: name of the logged value, such as `valid/loss`. If a run does not log this value, training continues.
        mode: `min` if smaller values are better, `max` if larger values are better.
        patience: number of epochs without improvement after which training ends.
        min_delta: smallest change of the value that counts as an improvement.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: int, min_delta: float) -> None:
        super().__init__(monitor, min_delta, patience, mode=mode, strict=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the monitored value of this epoch with the best earlier value, except in an epoch of the warm-up."""
        task: Any = pl_module
        if not task.is_warming_up:
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the monitored value of this validation with the best earlier value, except in an epoch of the warm-up."""
        task: Any = pl_module
        if not task.is_warming_up:
            super().on_validation_end(trainer, pl_module)
