"""Segmentation: a separation whose masks are decisions, with their accuracy beside the loss."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from unbraid.models.separators.base import Estimate
from unbraid.models.separators.segmentation import Segmenting
from unbraid.scoring.segmentation import confusion, segmentation_scores
from unbraid.tasks.separation import SeparationTask


class Confusion(Metric):
    """The confusion matrix of all chunks of all processes.

    Args:
        classes: how many.
    """

    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.add_state("counts", torch.zeros(classes, classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, estimate: Estimate, reference: Estimate) -> None:
        assert estimate.logits is not None and reference.labels is not None
        self.counts += confusion(reference.labels, estimate.logits.argmax(dim=1), self.classes)

    def compute(self) -> Tensor:
        return self.counts


class SegmentationTask(SeparationTask):
    """As `SeparationTask`, with `valid/accuracy` and `valid/mIoU` of the bins' classes."""

    def __init__(
        self,
        separator: Segmenting,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    ) -> None:
        super().__init__(separator, loss, optimizer, scheduler)
        self.confusion = Confusion(separator.classes)

    def observe(self, estimate: Estimate, reference: Estimate) -> None:
        self.confusion.update(estimate, reference)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        for name, value in segmentation_scores(self.confusion.compute()).items():
            self.log(f"valid/{name}", value, rank_zero_only=True)
        self.confusion.reset()

    @torch.inference_mode()
    def segmentation(self, batch: Any) -> dict[str, float]:
        """Of one whole track."""
        self.confusion.reset()
        for mixture, sources in self.chunks(batch.mixture[0], batch.sources[0]):
            estimate = self.separator(mixture)
            self.confusion.update(
                estimate, self.separator.training_target(mixture, sources, estimate, batch.magnitude_difference)
            )
        return segmentation_scores(self.confusion.compute())
