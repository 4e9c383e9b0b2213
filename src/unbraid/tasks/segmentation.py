"""Segmentation task: separation by the class of each bin, with the accuracy of the classes."""

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
    """Count the bins of each pair of true and estimated class, over all chunks and processes.

    Args:
        classes: number of classes.
    """

    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.add_state("counts", torch.zeros(classes, classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, estimate: Estimate, reference: Estimate) -> None:
        """Add the bins of a batch.

        Args:
            estimate: result of the separator, with `logits`.
            reference: the truth, with `labels`.

        Raises:
            ValueError: `logits` or `labels` is missing.
        """
        if estimate.logits is None or reference.labels is None:
            raise ValueError("estimate.logits and reference.labels: missing, expected those of a Segmenting separator")
        self.counts += confusion(reference.labels, estimate.logits.argmax(dim=1), self.classes)

    def compute(self) -> Tensor:
        """Return the counts. Shape: [classes, classes], true class first."""
        return self.counts


class SegmentationTask(SeparationTask):
    """Train a separator that classifies bins. In addition to `SeparationTask`, it logs `valid/accuracy` and `valid/mIoU`.

    Args:
        separator: see `SeparationTask`.
        loss: see `SeparationTask`.
        optimizer: see `Task`.
        scheduler: see `Task`.
    """

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
        """Count the classes of a validation chunk."""
        self.confusion.update(estimate, reference)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of `SeparationTask` and those of the classes."""
        super().on_validation_epoch_end()
        for name, value in segmentation_scores(self.confusion.compute()).items():
            self.log(f"valid/{name}", value, rank_zero_only=True)
        self.confusion.reset()

    @torch.inference_mode()
    def segmentation(self, batch: Any) -> dict[str, float]:
        """Return the scores of the classes of one whole track, by name."""
        self.confusion.reset()
        for mixture, sources in self.chunks(batch.mixture[0], batch.sources[0]):
            estimate = self.separator(mixture)
            self.confusion.update(
                estimate, self.separator.training_target(mixture, sources, estimate, batch.magnitude_difference)
            )
        return segmentation_scores(self.confusion.compute())
