"""Which epoch's weights are kept as the best, and when training ends, for tasks whose training loss changes at first."""

from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """Writes `checkpoints/best.ckpt`, the weights of the best epoch after the task's warm-up; during it, of the latest epoch.

    Args:
        monitor: name of the logged value that is compared.
        mode: whether the best value is the smallest or the largest.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"]) -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, save_top_k=1, enable_version_counter=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self._forget(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        self._forget(pl_module)

    def _forget(self, task: Any) -> None:
        if task.is_warming_up:
            self.best_k_models.clear()


class StopWithoutProgress(EarlyStopping):
    """Ends training after some epochs without a better value; epochs of the task's warm-up are not counted.

    Args:
        monitor: name of the logged value that is compared. A run may end before it is logged.
        mode: whether the best value is the smallest or the largest.
        patience: number of epochs without a better value.
        min_delta: smallest difference that counts as better.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: int, min_delta: float) -> None:
        super().__init__(monitor, min_delta, patience, mode=mode, strict=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task: Any = pl_module
        if not task.is_warming_up:
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        task: Any = pl_module
        if not task.is_warming_up:
            super().on_validation_end(trainer, pl_module)
