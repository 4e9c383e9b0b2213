"""Best checkpoint and early stopping for tasks whose training loss changes during a warm-up."""

from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """Write the weights of the best epoch to `checkpoints/best.ckpt`.

    During the task's warm-up, in which values of the loss cannot be compared, the latest epoch counts as the best one.

    Args:
        monitor: name of the logged value that is compared.
        mode: `min` if smaller values are better, `max` if larger values are better.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"]) -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, save_top_k=1, enable_version_counter=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint if this epoch is the best one and Lightning saves after training epochs."""
        super().on_train_epoch_end(trainer, pl_module)
        self._forget_warm_up(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint if this epoch is the best one and Lightning saves after validations."""
        super().on_validation_end(trainer, pl_module)
        self._forget_warm_up(pl_module)

    def _forget_warm_up(self, task: Any) -> None:
        if task.is_warming_up:
            self.best_k_models.clear()


class StopWithoutProgress(EarlyStopping):
    """End training after some epochs without a better value. Epochs of the task's warm-up are not counted.

    Args:
        monitor: name of the logged value that is compared. A run may end before this value is logged.
        mode: `min` if smaller values are better, `max` if larger values are better.
        patience: number of epochs without a better value.
        min_delta: smallest difference that counts as better.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: int, min_delta: float) -> None:
        super().__init__(monitor, min_delta, patience, mode=mode, strict=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the value of this epoch, unless the task is warming up."""
        task: Any = pl_module
        if not task.is_warming_up:
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the value of this validation, unless the task is warming up."""
        task: Any = pl_module
        if not task.is_warming_up:
            super().on_validation_end(trainer, pl_module)
