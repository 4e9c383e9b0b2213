"""Layers of a deep autoencoder trained one by one before they are trained together."""

from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn import functional
from tqdm import tqdm

from unbraid.nets.autoencoders import DenseAutoencoder
from unbraid.runs.errors import InputError


class GreedyPretraining(pl.Callback):
    """Before training each layer, the lowest first, learns to rebuild what the layers below make of the data.

    In the spirit of Hinton & Salakhutdinov (Science 2006), with a shallow autoencoder where they have a restricted Boltzmann
    machine (Bengio et al., NIPS 2006). A run that goes on from a checkpoint has it behind it.

    Args:
        epochs: of each layer.
    """

    def __init__(self, epochs: int) -> None:
        if epochs < 1:
            raise InputError(f"epochs of pre-training must be at least 1, found {epochs}")
        self.epochs = epochs

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """InputError where the network is not one of dense layers."""
        task: Any = pl_module
        net = getattr(task, "net", None)
        if not isinstance(net, DenseAutoencoder):
            raise InputError("callbacks.pretraining: is for autoencoders of dense layers: model=ae, deep_ae or vae")
        if trainer.ckpt_path is None:
            for depth in range(len(net.encoder)):
                self._train(trainer, task, net, depth)
            # Every process has seen its own part of the data.
            net.load_state_dict(trainer.strategy.broadcast(net.state_dict()))

    def _train(self, trainer: pl.Trainer, task: Any, net: DenseAutoencoder, depth: int) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        loader = data.train_dataloader()
        optimizer = task.make_optimizer(net.layer(depth))
        name = f"pre-training layer {depth + 1} of {len(net.encoder)}"
        epochs = range(depth * self.epochs, (depth + 1) * self.epochs)
        for epoch in tqdm(epochs, name, unit="epoch", leave=False, disable=not trainer.is_global_zero):
            # Each has an order of its own, which is a function of this number. The trainer counts none of them.
            loader.sampler.position = partial(_start_of, epoch)
            for batch in loader:
                there = data.on_after_batch_transfer(trainer.strategy.batch_to_device(batch), 0)
                with torch.no_grad():
                    items = net.encode(task.features.vectors(task.features.items(there)[0]), depth)
                optimizer.zero_grad()
                functional.mse_loss(net.rebuild_layer(items, depth), items).backward()
                optimizer.step()


def _start_of(epoch: int) -> tuple[int, int]:
    """As `unbraid.data.sampler.epoch_position`."""
    return epoch, 0
