"""Measures of a segmentation, from its confusion matrix (Long, Shelhamer & Darrell, CVPR 2015)."""

import torch
from torch import Tensor


def confusion(labels: Tensor, decided: Tensor, classes: int) -> Tensor:
    """How many bins of each class were taken for each; negative labels do not count.

    Shape: [...] both, of whole numbers -> [classes, classes], rows are the labels.
    """
    known = labels >= 0
    return torch.bincount(labels[known] * classes + decided[known], minlength=classes**2).view(classes, classes)


def segmentation_scores(counts: Tensor) -> dict[str, float]:
    """`accuracy`: share of bins that were decided rightly; `mIoU`: mean over classes of intersection over union.

    Classes that neither occur nor were decided for do not count; without any bin both are not a number.

    Shape: [classes, classes].
    """
    counts = counts.double()
    right, union = counts.diagonal(), counts.sum(dim=0) + counts.sum(dim=1) - counts.diagonal()
    return {"accuracy": float(right.sum() / counts.sum()), "mIoU": float((right / union)[union > 0].mean())}
