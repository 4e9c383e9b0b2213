"""Callbacks: save the best checkpoint, and end training early. Neither callback compares the losses of warm-up epochs.

Warm-up epochs are the first epochs of a run, in which the definition of the loss still changes. For example, the weight of the
KL divergence in the loss of a variational autoencoder rises from epoch to epoch.
"""

import math
from contextlib import nullcontext
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

from unbraid.runs.averages import mode_of
from unbraid.tasks.task import has_validation, refuse_unlogged
from unbraid.training.callbacks.weight_averages import RAW, averages_of


class BestCheckpoint(ModelCheckpoint):
    """Write the weights of the best epoch to `checkpoints/best.ckpt`.

    In the first epochs (warm-up), the definition of the loss can still change, so the losses of two epochs cannot be compared.
    In a warm-up, each validated epoch therefore replaces `best.ckpt`.

    Args:
        monitor: name of the logged value by which epochs are compared, such as `valid/loss`.
        mode: `min` if smaller values are better, `max` if larger values are better; null: `min` for losses, `max` for scores
            such as `valid/uSDR/mean`. Other values need a mode.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"] | None) -> None:
        mode = mode_of(monitor, mode, "mode")
        super().__init__(filename="best", monitor=monitor, mode=mode, save_top_k=1, enable_version_counter=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make sure that the last epoch is validated, even if the run resumes in the middle of the last epoch."""
        super().on_train_start(trainer, pl_module)
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make sure that the last epoch is validated, even if `trainer.check_val_every_n_epoch` would skip its validation."""
        if trainer.max_epochs == trainer.current_epoch + 1 and trainer.check_val_every_n_epoch is not None:
            trainer.check_val_every_n_epoch = 1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Make sure that the weights of the last step are validated, even if `trainer.max_steps` ends training within an epoch.

        Lightning validates within an epoch only if `should_stop` is set. It ends training at `max_steps` in any case.
        """
        if trainer.global_step == trainer.max_steps and trainer.enable_validation:
            trainer.should_stop = True
        if trainer.should_stop and trainer.check_val_every_n_epoch is not None:
            trainer.check_val_every_n_epoch = 1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the flag `should_stop` that `on_train_batch_end` has set. In a checkpoint, the flag means early stopping."""
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save `best.ckpt` if this epoch had a validation and is the best epoch so far."""
        refuse_unlogged("callbacks.best.monitor", self.monitor or "", trainer.callback_metrics)
        if has_validation(trainer) and (trainer.enable_validation or self.monitor in trainer.callback_metrics):
            super().on_train_epoch_end(trainer, pl_module)
        self._forget_warm_up(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save `best.ckpt` after a validation within an epoch, if the validated weights are the best so far."""
        super().on_validation_end(trainer, pl_module)
        self._forget_warm_up(pl_module)

    def _should_save_on_train_epoch_end(self, trainer: pl.Trainer) -> bool:
        """Return True if the run is validated only at the end of an epoch; False if it is also validated within an epoch.

        If True, Lightning saves `best.ckpt` at the end of the epoch.
        """
        return trainer.val_check_interval == 1.0

    def _monitor_candidates(self, trainer: pl.Trainer) -> dict[str, Tensor]:
        """Return a dictionary from the name of each logged value to the value.

        For the monitored value, the dictionary contains the value of the best weights (the trained weights or an average).
        """
        values = super()._monitor_candidates(trainer)
        if self.monitor in values:
            _, value = self._best_weights(trainer, float(values[self.monitor]))
            values[self.monitor] = torch.tensor(value, device=values[self.monitor].device)
        return values

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        """Save a checkpoint that contains the best weights: the trained weights or an average of the weights."""
        averages = averages_of(trainer)
        with averages.swapped(self._best_weights(trainer)[0]) if averages else nullcontext():
            super()._save_checkpoint(trainer, filepath)

    def _best_weights(self, trainer: pl.Trainer, raw: float | None = None) -> tuple[str, float]:
        """Return the name and the monitored value of the best weights: the trained weights or an average.

        `raw` is the monitored value of the trained weights; None: the logged value.
        """
        raw = float(trainer.callback_metrics.get(self.monitor or "", math.nan)) if raw is None else raw
        averages = averages_of(trainer)
        return averages.best(self.monitor or "", self.mode, raw) if averages else (RAW, raw)

    def _forget_warm_up(self, task: Any) -> None:
        if task.is_warming_up:
            self.best_k_models.clear()


class StopWithoutProgress(EarlyStopping):
    """End training if a logged value has not improved for `patience` epochs.

    Warm-up epochs are not counted. These are the first epochs of a run, in which the definition of the loss still changes.

    Args:
        monitor: name of the logged value, such as `valid/loss`. If a run has no validation, training continues.
        mode: `min` if smaller values are better, `max` if larger values are better; null: `min` for losses, `max` for scores
            such as `valid/uSDR/mean`. Other values need a mode.
        patience: number of epochs without improvement after which training ends.
        min_delta: smallest change of the value that counts as an improvement.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"] | None, patience: int, min_delta: float) -> None:
        mode = mode_of(monitor, mode, "mode")
        super().__init__(monitor, min_delta, patience, mode=mode, strict=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End training if the monitored value has not improved for `patience` epochs. Do nothing in a warm-up epoch."""
        refuse_unlogged("callbacks.early_stopping.monitor", self.monitor, trainer.callback_metrics)
        if self._counts(trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End training if the monitored value has not improved for `patience` validations. Do nothing in a warm-up epoch."""
        if self._counts(trainer, pl_module):
            super().on_validation_end(trainer, pl_module)

    def _counts(self, trainer: pl.Trainer, task: Any) -> bool:
        """Return False in a warm-up epoch, and in an epoch without scoring: `callbacks=scores` then logs NaN."""
        return not task.is_warming_up and not math.isnan(float(trainer.callback_metrics.get(self.monitor, 0.0)))
