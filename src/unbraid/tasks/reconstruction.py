"""Reconstruction tasks: train an autoencoder to reconstruct spectrograms or images, also from corrupted input."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from tqdm import tqdm

from unbraid.models.features import Features
from unbraid.nets.autoencoders import Autoencoder, VariationalAutoencoder, divergence
from unbraid.nets.pca import PCA
from unbraid.runs.errors import InputError
from unbraid.tasks.task import Task

Corruption = Callable[[Tensor, torch.Generator], Tensor]
VALIDATION = 2**31  # added to the number of a validation batch; its random numbers are then the same in each epoch


class ReconstructionTask(Task):
    """Train an autoencoder to reconstruct clean items from corrupted items.

    An item is one input of the network. Some networks take patches: a patch is a part of a spectrogram, or an image. The
    other networks take vectors: a vector is one spectrogram frame, or all pixels of an image.

    Args:
        features: conversion of audio or images to patches and vectors.
        net: function that builds the autoencoder. The argument of the function is the size of a vector or the shape of a patch.
        corruption: function that corrupts patches. If the network takes vectors, the corrupted patches are then converted to
            vectors.
        loss: function from reconstructed and clean vectors to a scalar.
        optimizer: function from parameters to an optimizer; None if the network is not trained by gradients.
        scheduler: function from the optimizer to a learning-rate schedule; None: constant learning rate.
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
        net_class: Any = getattr(net, "func", net)  # the class in a partial
        self.net = net(features.vector_size if net_class.takes == "vectors" else features.shape)
        self.valid_loss = MeanMetric(nan_strategy="disable")

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of one input of the network: (D,) for a vector of D values, or (C, H, W) for a patch."""
        return (self.features.vector_size,) if self.net.takes == "vectors" else self.features.shape

    def as_items(self, patches: Tensor) -> Tensor:
        """Convert patches to the input of the network: vectors or patches, depending on the network.

        Shape: [N, C, H, W] -> [M, D] if the network takes vectors (M vectors of D values). Otherwise the N patches are returned
        unchanged.
        """
        return self.features.vectors(patches) if self.net.takes == "vectors" else patches

    def as_vectors(self, items: Tensor) -> Tensor:
        """Convert the input or output of the network to M vectors of D values.

        Shape: [N, C, H, W] -> [M, D] if the network takes N patches. If the network takes vectors, the vectors are returned
        unchanged.
        """
        return items if self.net.takes == "vectors" else self.features.vectors(items)

    def rebuild(self, patches: Tensor) -> Tensor:
        """Reconstruct patches with the network. Shape: [N, C, H, W] -> [N, C, H, W]."""
        rebuilt = self.net(self.as_items(patches))
        return self.features.patches(rebuilt) if self.net.takes == "vectors" else rebuilt

    def corrupt(self, patches: Tensor, step: int) -> Tensor:
        """Return corrupted versions of patches. Shape: [N, C, H, W] -> [N, C, H, W].

        The random numbers depend only on the seed of the run, the number `step`, and the rank of the process.
        """
        return self.corruption(patches, self.generator_of(step, patches.device))

    def generator_of(self, step: int, device: torch.device) -> torch.Generator:
        """Return a random number generator. The seed depends on the seed of the run, `step`, and the rank of the process."""
        generator = torch.Generator(device)
        # Torch's generators do not hash seeds. The seeds of ranks and steps must be far apart for different random numbers.
        generator.manual_seed((self.seed * 1_000_003 + step) * 4_099 + self.global_rank & 2**63 - 1)
        return generator

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss of a batch. The mean loss over the epoch is logged as `train/loss`."""
        clean, _ = self.features.items(batch)
        loss = self.training_loss(self.as_items(self.corrupt(clean, self.global_step)), self.features.vectors(clean))
        self.log_mean("loss", loss)
        return loss

    def training_loss(self, items: Tensor, clean: Tensor) -> Tensor:
        """Reconstruct items, and return the training loss between the reconstructions and the clean vectors.

        Args:
            items: corrupted input of the network.
            clean: clean vectors.

        Returns:
            The loss, a scalar.
        """
        return self.loss(self.as_vectors(self.net(items)), clean)

    def validation_step(self, batch: Any, index: int) -> None:
        """Compute the loss of a validation batch, and update the mean validation loss of the epoch."""
        clean, _ = self.features.items(batch)
        step, vectors = VALIDATION + index, self.features.vectors(clean)
        loss = self.validation_loss(self.as_items(self.corrupt(clean, step)), vectors, step)
        self.valid_loss.update(loss.expand(len(vectors)))  # a mean over vectors, not over batches

    def validation_loss(self, items: Tensor, clean: Tensor, step: int) -> Tensor:
        """Reconstruct items, and return the validation loss between the reconstructions and the clean vectors.

        The definition of the validation loss does not change between epochs.

        Args:
            items: corrupted input of the network.
            clean: clean vectors.
            step: number that, together with the seed of the run, determines the random numbers for this batch. A batch has the
                same number in each epoch.

        Returns:
            The loss, a scalar.
        """
        return self.loss(self.as_vectors(self.net(items)), clean)

    def on_validation_epoch_end(self) -> None:
        """Log the values of all validation metrics, such as `valid/loss`."""
        for name, metric in self.validation_metrics.items():
            self.log(name, metric, prog_bar=name == "valid/loss")


class VariationalTask(ReconstructionTask):
    """Train a variational autoencoder by the squared error plus the weighted KL divergence of the codes from N(0, 1).

    If the decoder's output is Gaussian with the variance σ², use a weight of 2σ². This training loss is then -2σ² times the
    evidence lower bound (ELBO), plus a constant (Kingma & Welling, ICLR 2014).

    In training, the weight rises during the first epochs (warm-up). These epochs are never selected as the best epoch.
    `valid/loss` always uses the full weight, one random code for each item, and the same random numbers in each epoch.

    Args:
        features: conversion of audio or images to patches and vectors.
        net: function that builds the variational autoencoder. The argument of the function is the size of a vector or the shape
            of a patch.
        corruption: function that corrupts the input of the network.
        loss: function from reconstructed and clean vectors to the squared error.
        optimizer: function from parameters to an optimizer.
        kl_weight: weight of the KL divergence, 2σ². For an output of unit variance, the weight is 2.
        kl_warmup_epochs: number of epochs in which the weight of the KL divergence rises to `kl_weight`; 0: no warm-up.
        scheduler: function from the optimizer to a learning-rate schedule; None: constant learning rate.

    Raises:
        InputError: `kl_weight` or `kl_warmup_epochs` is negative or not finite.
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
                raise InputError(name, found=value, expected="a finite number of at least 0")
        self.kl_weight, self.kl_warmup_epochs = kl_weight, kl_warmup_epochs
        self.valid_divergence = MeanMetric(nan_strategy="disable")

    @property
    def is_warming_up(self) -> bool:
        """True if the weight of the KL divergence in this epoch is still below `kl_weight`."""
        return self.weight() < self.kl_weight

    def weight(self) -> float:
        """Return the weight of the KL divergence in this epoch. The weight rises during the first epochs (warm-up)."""
        return self.kl_weight * min(1.0, (self.current_epoch + 1) / (self.kl_warmup_epochs + 1))

    def training_loss(self, items: Tensor, clean: Tensor) -> Tensor:
        """Return the squared error of the reconstructions plus the KL divergence times the weight of this epoch."""
        mean, log_variance = self.net.infer(items)
        divergences = divergence(mean, log_variance).mean()
        self.log_mean("KL", divergences)
        return self.loss(self.net.decode(self.net.draw(mean, log_variance)), clean) + self.weight() * divergences

    def validation_loss(self, items: Tensor, clean: Tensor, step: int) -> Tensor:
        """Return the squared error of the reconstructions plus the KL divergence times the full weight `kl_weight`."""
        mean, log_variance = self.net.infer(items)
        divergences = divergence(mean, log_variance)
        self.valid_divergence.update(divergences)
        code = self.net.draw(mean, log_variance, self.generator_of(step, items.device))
        return self.loss(self.net.decode(code), clean) + self.kl_weight * divergences.mean()

    @property
    def validation_metrics(self) -> dict[str, Metric]:
        """Dictionary from the logged name (`valid/loss`, `valid/KL`) to the metric: mean loss, and mean KL divergence."""
        return super().validation_metrics | {"valid/KL": self.valid_divergence}


class ClosedFormTask(ReconstructionTask):
    """Fit PCA with one pass over the training data, without gradients. The run must have a single process.

    If a corruption is set, the task is a denoising task. PCA is nevertheless fitted to clean data, to find the directions in
    which clean data vary. Validation and test project the corrupted input on these directions.

    Args:
        features: conversion of audio or images to vectors.
        net: function from the size of a vector to a `PCA`.
        corruption: function that corrupts the input in validation and test.
        loss: function from reconstructed and clean vectors to a scalar, for the validation.
    """

    net: PCA

    def __init__(self, features: Features, net: Callable[[Any], Autoencoder], corruption: Corruption, loss: nn.Module) -> None:
        super().__init__(features, net, corruption, loss, None)
        self.automatic_optimization = False

    def training_step(self, batch: Any, index: int) -> None:  # type: ignore[override]
        """Fit PCA to all training data, and stop training. The argument `batch` is ignored."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        fit(self.net, self.features, data.in_order("train"), self.trainer.strategy.batch_to_device)
        self.trainer.should_stop = True

    def on_fit_end(self) -> None:
        """Write `best.ckpt`. Lightning does not write this checkpoint, because PCA is fitted without an optimizer step."""
        self.trainer.save_checkpoint(Path(self.trainer.default_root_dir) / "checkpoints" / "best.ckpt")


@torch.no_grad()
def fit(net: PCA, features: Features, batches: Iterable[Any], move: Callable[[Any], Any]) -> None:
    """Fit PCA to the clean vectors of a data set.

    Args:
        net: PCA to fit.
        features: conversion of a batch of audio or images to vectors.
        batches: batches of the data set.
        move: function that moves a batch to the device of the network.
    """
    for batch in tqdm(batches, "fitting PCA", leave=False, disable=None):
        net.add(features.vectors(features.items(move(batch))[0]))
    net.solve()
