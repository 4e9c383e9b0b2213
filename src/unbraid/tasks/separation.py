"""Separation: one training step is a batch of mixture chunks and their true sources."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric

from unbraid.models.separators.base import Estimate, Separator
from unbraid.scoring.measures import usdr
from unbraid.tasks.task import Task


class SeparationBatch(Protocol):
    """What the task reads of a batch: mixture [B, C, T], sources [B, S, C, T], by_difference [S]."""

    mixture: Tensor
    sources: Tensor
    magnitude_difference: tuple[bool, ...]


class SeparationTask(Task):
    """Trains a separator on chunks and validates it on whole tracks.

    Args:
        separator: the object that is trained, scored and used.
        loss: from two `Estimate`s, the separator's and the truth's, to a scalar.
        optimizer: see `Task`.
        scheduler: see `Task`.
    """

    def __init__(
        self,
        separator: Separator,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.separator, self.loss = separator, loss
        self.valid_loss = MeanMetric(nan_strategy="disable")  # a loss that is no number must be seen
        # torchmetrics 1.9 drops the weights of this metric where nan_strategy is "disable".
        self.valid_usdr = [MeanMetric() for _ in separator.targets]
        for target, metric in zip(separator.targets, self.valid_usdr, strict=True):
            self.add_module(f"valid_usdr_{target}", metric)

    def training_step(self, batch: SeparationBatch, index: int) -> Tensor:
        estimate = self.separator(batch.mixture)
        loss = self.loss(
            estimate, self.separator.training_target(batch.mixture, batch.sources, estimate, batch.magnitude_difference)
        )
        self.log_mean("loss", loss)
        return loss

    def validation_step(self, batch: SeparationBatch, index: int) -> Tensor:
        """One whole track (a batch of one), in chunks that touch but do not overlap: the loss and the uSDR of each target.

        Shape: the estimates, for callbacks, [S, C, T].
        """
        mixture, sources = batch.mixture[0], batch.sources[0]
        estimates = [self._validate_chunk(*chunk, batch) for chunk in self.chunks(mixture, sources)]
        whole = torch.cat(estimates, dim=-1)[..., : mixture.shape[-1]]
        for metric, reference, estimate in zip(self.valid_usdr, sources, whole, strict=True):
            value = usdr(reference, estimate)
            # Every rank updates, so that all of them meet when the metric is gathered; an undefined value weighs nothing.
            metric.update(0.0 if value is None else value, weight=0.0 if value is None else 1.0)
        return whole

    def chunks(self, mixture: Tensor, sources: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        """[C, T] and [S, C, T] cut to [1, C, chunk] and [1, S, C, chunk], the last one padded with silence."""
        chunk = self.separator.chunk_samples
        for start in range(0, mixture.shape[-1], chunk):
            missing = (0, max(0, start + chunk - mixture.shape[-1]))
            yield (
                functional.pad(mixture[None, ..., start : start + chunk], missing),
                functional.pad(sources[None, ..., start : start + chunk], missing),
            )

    def _validate_chunk(self, mixture: Tensor, sources: Tensor, batch: SeparationBatch) -> Tensor:
        estimate = self.separator(mixture)
        reference = self.separator.training_target(mixture, sources, estimate, batch.magnitude_difference)
        self.valid_loss.update(self.loss(estimate, reference))
        self.observe(estimate, reference)
        return estimate.sources[0].detach()

    def observe(self, estimate: Estimate, reference: Estimate) -> None:
        """What else a task wants to know of a validation chunk."""

    def on_validation_epoch_end(self) -> None:
        self.log("valid/loss", self.valid_loss, prog_bar=True)
        for target, metric in zip(self.separator.targets, self.valid_usdr, strict=True):
            self.log(f"valid/uSDR/{target}", metric, prog_bar=True)
