"""Callback that trains on the same batches in every epoch, to test whether a model can overfit a few batches."""

from typing import Any

import pytorch_lightning as pl


class RepeatFirstEpoch(pl.Callback):
    """Repeat the batches of the first epoch in all later epochs, to test whether a model can overfit a few batches.

    With `trainer.limit_train_batches=1`, the model is trained on a single batch. The random numbers of dropout and of the
    corruption of the input still differ between epochs.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the training loader back to the start of epoch 0, so that the next epoch has the batches of epoch 0."""
        loader: Any = trainer.train_dataloader
        loader.sampler.position = lambda: (0, 0)
