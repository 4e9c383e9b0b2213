"""Segmentation task: train a separator that classifies each time-frequency bin, and log the accuracy of the classes."""

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
    """Count the time-frequency bins for each pair of a true class and an estimated class (confusion matrix).

    The counts of all processes of a run are summed.

    Args:
        classes: number of classes.
    """

    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.add_state("counts", torch.zeros(classes, classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, estimate: Estimate, reference: Estimate) -> None:
        """Add the time-frequency bins of a batch to the counts.

        Args:
            estimate: output of the separator. The field `logits` contains the class scores of each bin.
            reference: true output. The field `labels` contains the true class of each bin.

        Raises:
            ValueError: `logits` or `labels` is missing.
        """
        if estimate.logits is None or reference.labels is None:
            raise ValueError(
                "`estimate.logits` or `reference.labels` is None, but this metric needs both. Use the separator `Segmenting`"
            )
        self.counts += confusion(reference.labels, estimate.logits.argmax(dim=1), self.classes)

    def compute(self) -> Tensor:
        """Return the confusion matrix [classes, classes]. Rows are true classes, columns are estimated classes."""
        return self.counts


class SegmentationTask(SeparationTask):
    """Train a separator that classifies time-frequency bins.

    The task logs the same values as the task `SeparationTask`, and two values about the classes: `valid/accuracy`, and
    `valid/mIoU` (mean intersection over union).

    Args:
        separator: separator to train.
        loss: function from two objects of class `Estimate` to a scalar. The first object is the output of the separator, the
            second object contains the true values.
        optimizer: function from parameters to an optimizer.
        scheduler: function from the optimizer to a learning-rate schedule; None: constant learning rate.
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
        """Count the true and estimated classes of the time-frequency bins in a validation chunk."""
        self.confusion.update(estimate, reference)

    def reset_validation(self) -> None:
        """Reset all validation metrics and the confusion matrix of the time-frequency bins."""
        super().reset_validation()
        self.confusion.reset()

    def on_validation_epoch_end(self) -> None:
        """Log all validation values, including accuracy and mean IoU of the classes of time-frequency bins."""
        super().on_validation_epoch_end()
        for name, value in segmentation_scores(self.confusion.compute()).items():
            self.log(f"valid/{name}", value, rank_zero_only=True)
        self.confusion.reset()

    @torch.inference_mode()
    def segmentation(self, batch: Any) -> dict[str, float]:
        """Classify the time-frequency bins of one whole track, and return `accuracy` and `mIoU` of the classes."""
        self.confusion.reset()
        for mixture, sources in self.chunks(batch.mixture[0], batch.sources[0]):
            estimate = self.separator(mixture)
            self.confusion.update(
                estimate, self.separator.training_target(mixture, sources, estimate, batch.magnitude_difference)
            )
        return segmentation_scores(self.confusion.compute())
