"""Train on the batches of the first epoch in every epoch."""

from typing import Any

import pytorch_lightning as pl


class RepeatFirstEpoch(pl.Callback):
    """Use the batches of the first epoch in every epoch, to test whether a model can learn them by heart.

    With `trainer.limit_train_batches=1` this is one batch. Dropout and corruption are still drawn anew in each epoch.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the position from which the loader counts the batches of the next epoch."""
        loader: Any = trainer.train_dataloader
        loader.sampler.position = lambda: (0, 0)
