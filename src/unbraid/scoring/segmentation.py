"""Compute accuracy and mean IoU of a segmentation from its confusion matrix (Long, Shelhamer & Darrell, CVPR 2015).

The accuracy depends mostly on frequent classes. Use mean IoU if some classes are rare.
"""

import torch
from torch import Tensor


def confusion(labels: Tensor, decided: Tensor, classes: int) -> Tensor:
    """Count the bins of a spectrogram for each combination of true and predicted class.

    Args:
        labels: true class of each bin. Bins with a negative label are ignored.
        decided: predicted class of each bin.
        classes: number of classes.

    Shape:
        each integers [...] -> [classes, classes].

    Returns:
        The confusion matrix: rows are true classes, columns are predicted classes.
    """
    known = labels >= 0
    return torch.bincount(labels[known] * classes + decided[known], minlength=classes**2).view(classes, classes)


def segmentation_scores(counts: Tensor) -> dict[str, float]:
    """Compute accuracy and mean intersection over union (IoU) from a confusion matrix.

    Args:
        counts: confusion matrix, see `confusion`.

    Shape:
        [classes, classes].

    Returns:
        `accuracy`: share of correct bins. `mIoU`: mean IoU over all classes with at least one true or predicted bin. Both are
        NaN if all counts are 0.
    """
    counts = counts.double()
    correct, union = counts.diagonal(), counts.sum(dim=0) + counts.sum(dim=1) - counts.diagonal()
    return {"accuracy": float(correct.sum() / counts.sum()), "mIoU": float((correct / union)[union > 0].mean())}
