"""Reconstruction: one training step rebuilds a batch of items, whole ones from what corruption has left of them."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from tqdm import tqdm

from unbraid.models.features import Features
from unbraid.nets.autoencoders import Autoencoder, VariationalAutoencoder, divergence
from unbraid.nets.pca import PCA
from unbraid.runs.errors import InputError
from unbraid.tasks.task import Task

Corruption = Callable[[Tensor, torch.Generator], Tensor]
VALIDATION = 2**31  # beyond the steps of a run: what validation corrupts is the same in every epoch


class ReconstructionTask(Task):
    """Trains an autoencoder to rebuild clean items from corrupted ones.

    Args:
        features: makes items of the data.
        net: from the size of a vector, or the shape of a patch, to an autoencoder of such items.
        corruption: of the input.
        loss: from rebuilt and clean vectors to a scalar.
        optimizer: see `Task`.
        scheduler: see `Task`.
    """

    def __init__(
        self,
        features: Features,
        net: Callable[[Any], Autoencoder],
        corruption: Corruption,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.features, self.corruption, self.loss = features, corruption, loss
        made_of: Any = getattr(net, "func", net)  # the class in a partial
        self.net = net(features.vector_size if made_of.takes == "vectors" else features.shape)
        self.valid_loss = MeanMetric(nan_strategy="disable")

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Of what the network takes."""
        return (self.features.vector_size,) if self.net.takes == "vectors" else self.features.shape

    def as_items(self, patches: Tensor) -> Tensor:
        """In the form the network takes. Shape: [N, C, H, W] -> the same, or [M, D]."""
        return self.features.vectors(patches) if self.net.takes == "vectors" else patches

    def as_vectors(self, items: Tensor) -> Tensor:
        """From the form the network gives. Shape: [N, C, H, W] or [M, D] -> [M, D]."""
        return items if self.net.takes == "vectors" else self.features.vectors(items)

    def rebuild(self, patches: Tensor) -> Tensor:
        """Shape: [N, C, H, W] -> [N, C, H, W]."""
        rebuilt = self.net(self.as_items(patches))
        return self.features.patches(rebuilt) if self.net.takes == "vectors" else rebuilt

    def corrupt(self, patches: Tensor, step: int) -> Tensor:
        """The input of a step, a function of seed, step and rank."""
        return self.corruption(patches, self.generator_of(step, patches.device))

    def generator_of(self, step: int, device: torch.device) -> torch.Generator:
        """Return the generator of what is random in a step, a function of seed, step and rank."""
        generator = torch.Generator(device)
        # Seeds are hashed by none of torch's generators: far apart, so that streams of ranks and steps differ.
        generator.manual_seed((self.seed * 1_000_003 + step) * 4_099 + self.global_rank & 2**63 - 1)
        return generator

    def training_step(self, batch: Any, index: int) -> Tensor:
        clean, _ = self.features.items(batch)
        loss = self.training_loss(self.as_items(self.corrupt(clean, self.global_step)), self.features.vectors(clean))
        self.log_mean("loss", loss)
        return loss

    def training_loss(self, items: Tensor, clean: Tensor) -> Tensor:
        """Of what the network sees, and the clean vectors."""
        return self.loss(self.as_vectors(self.net(items)), clean)

    def validation_step(self, batch: Any, index: int) -> None:
        clean, _ = self.features.items(batch)
        step, vectors = VALIDATION + index, self.features.vectors(clean)
        loss = self.validation_loss(self.as_items(self.corrupt(clean, step)), vectors, step)
        self.valid_loss.update(loss.expand(len(vectors)))  # a mean over vectors, not over batches

    def validation_loss(self, items: Tensor, clean: Tensor, step: int) -> Tensor:
        """Return the loss of what the network sees and the clean vectors, the same function in every epoch."""
        return self.loss(self.as_vectors(self.net(items)), clean)

    def on_validation_epoch_end(self) -> None:
        self.log("valid/loss", self.valid_loss, prog_bar=True)


class VariationalTask(ReconstructionTask):
    """Trains a variational autoencoder: squared error plus weighted divergence of the codes from the standard normal.

    With a weight of 2σ² this is, up to a constant, -2σ² times the evidence lower bound (ELBO) of a Gaussian output of variance
    σ² (Kingma & Welling, ICLR 2014). `valid/loss` has the full weight in every epoch and one sample of each code, drawn from
    the same noise in every epoch. No epoch of the warm-up is selected as the best.

    Args:
        kl_weight: weight of the divergence, 2σ²: 2 for an output of unit variance.
        kl_warmup_epochs: number of epochs in which that weight rises from 0.
        others: as `ReconstructionTask`.
    """

    net: VariationalAutoencoder

    def __init__(
        self,
        features: Features,
        net: Callable[[Any], Autoencoder],
        corruption: Corruption,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        kl_weight: float,
        kl_warmup_epochs: int,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    ) -> None:
        super().__init__(features, net, corruption, loss, optimizer, scheduler)
        for name, value in {"kl_weight": kl_weight, "kl_warmup_epochs": kl_warmup_epochs}.items():
            if not 0 <= value < math.inf:
                raise InputError(f"{name} must be a number of at least 0, found {value}")
        self.kl_weight, self.kl_warmup_epochs = kl_weight, kl_warmup_epochs
        self.valid_divergence = MeanMetric(nan_strategy="disable")

    @property
    def is_warming_up(self) -> bool:
        return self.weight() < self.kl_weight

    def weight(self) -> float:
        """Of the divergence in this epoch."""
        return self.kl_weight * min(1.0, (self.current_epoch + 1) / (self.kl_warmup_epochs + 1))

    def training_loss(self, items: Tensor, clean: Tensor) -> Tensor:
        mean, log_variance = self.net.infer(items)
        divergences = divergence(mean, log_variance).mean()
        self.log_mean("KL", divergences)
        return self.loss(self.net.decode(self.net.draw(mean, log_variance)), clean) + self.weight() * divergences

    def validation_loss(self, items: Tensor, clean: Tensor, step: int) -> Tensor:
        mean, log_variance = self.net.infer(items)
        divergences = divergence(mean, log_variance)
        self.valid_divergence.update(divergences)
        code = self.net.draw(mean, log_variance, self.generator_of(step, items.device))
        return self.loss(self.net.decode(code), clean) + self.kl_weight * divergences.mean()

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log("valid/KL", self.valid_divergence)


class ClosedFormTask(ReconstructionTask):
    """Fits PCA in one process: one pass over the whole training data, no gradient. Arguments as `ReconstructionTask`.

    It is fitted on clean data, whatever the corruption: PCA has no input apart from its target, and the directions in which
    clean data vary are those to keep of a corrupted input.
    """

    net: PCA

    def __init__(self, features: Features, net: Callable[[Any], Autoencoder], corruption: Corruption, loss: nn.Module) -> None:
        super().__init__(features, net, corruption, loss, None)
        self.automatic_optimization = False

    def training_step(self, batch: Any, index: int) -> None:  # type: ignore[override]
        """The first one is all: batches are drawn at random, without those that fill none."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        fit(self.net, self.features, data.in_order("train"), self.trainer.strategy.batch_to_device)
        self.trainer.should_stop = True

    def on_fit_end(self) -> None:
        """Lightning writes checkpoints after optimizer steps, of which there were none."""
        self.trainer.save_checkpoint(Path(self.trainer.default_root_dir) / "checkpoints" / "best.ckpt")


@torch.no_grad()
def fit(net: PCA, features: Features, batches: Iterable[Any], move: Callable[[Any], Any]) -> None:
    """Fit to clean data.

    Args:
        net: of vectors.
        features: makes them of the data.
        batches: of the data set.
        move: brings a batch to the device of the network.
    """
    for batch in tqdm(batches, "fitting PCA", leave=False):
        net.add(features.vectors(features.items(move(batch))[0]))
    net.solve()
