"""Greedy layer-wise pretraining of deep autoencoders.

Source: Hinton & Salakhutdinov, Science 2006. Each layer is trained here as a shallow autoencoder (Bengio et al., NIPS 2006)
instead of a restricted Boltzmann machine.
"""

from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn import functional
from tqdm import tqdm

from unbraid.nets.autoencoders import DenseAutoencoder
from unbraid.runs.errors import InputError, check_counts


class GreedyPretraining(pl.Callback):
    """Train the layers of a dense autoencoder one after another, before all layers are trained together.

    The layers are trained in the order from the input to the code. Each layer learns to reconstruct the output of the layer
    before it. A run that resumes from a checkpoint skips this pretraining.

    Args:
        epochs: number of pretraining epochs of each layer, at least 1.
    """

    def __init__(self, epochs: int) -> None:
        check_counts(epochs=epochs)
        self.epochs = epochs

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pretrain all layers one after another. Do nothing if the run resumes from a checkpoint.

        Args:
            trainer: Lightning Trainer of the run.
            pl_module: task with the autoencoder.

        Raises:
            InputError: the model is not an autoencoder with dense layers.
        """
        task: Any = pl_module
        net = getattr(task, "net", None)
        if not isinstance(net, DenseAutoencoder):
            problem, expected = "only autoencoders with dense layers can be pretrained", "model=ae, deep_ae or vae"
            raise InputError("callbacks.pretraining", problem, found=type(net or task).__name__, expected=expected)
        if trainer.ckpt_path is None:
            for depth in range(len(net.encoder)):
                self._train(trainer, task, net, depth)
            # Each process was trained on its own part of the data; all continue with the weights of the first one.
            net.load_state_dict(trainer.strategy.broadcast(net.state_dict()))

    def _train(self, trainer: pl.Trainer, task: Any, net: DenseAutoencoder, depth: int) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        loader = data.train_dataloader()
        optimizer = task.make_optimizer(net.layer(depth))
        name = f"pre-training layer {depth + 1} of {len(net.encoder)}"
        epochs = range(depth * self.epochs, (depth + 1) * self.epochs)
        for epoch in tqdm(epochs, name, unit="epoch", leave=False, disable=not trainer.is_global_zero or None):
            # The order of the data is a function of this number. The Trainer does not count these epochs.
            loader.sampler.position = partial(_start_of, epoch)
            for batch in loader:
                moved = data.on_after_batch_transfer(trainer.strategy.batch_to_device(batch), 0)
                with torch.no_grad():
                    items = net.encode(task.features.vectors(task.features.items(moved)[0]), depth)
                optimizer.zero_grad()
                functional.mse_loss(net.rebuild_layer(items, depth), items).backward()
                optimizer.step()


def _start_of(epoch: int) -> tuple[int, int]:
    """Return the position in the data at the start of an epoch: the number of the epoch, and 0 as the number of the batch."""
    return epoch, 0
