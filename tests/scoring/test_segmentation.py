"""Accuracy and mean IoU, calculated by hand."""

import pytest
import torch

from unbraid.scoring.segmentation import confusion, segmentation_scores


def test_scores_calculated_by_hand():
    labels = torch.tensor([0, 0, 0, 1, 1, -100, 2, 0])
    decided = torch.tensor([0, 0, 1, 1, 1, 1, 0, 0])
    counts = confusion(labels, decided, 4)
    assert counts.tolist() == [[3, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    scores = segmentation_scores(counts)
    assert scores["accuracy"] == pytest.approx(5 / 7)
    assert scores["mIoU"] == pytest.approx((3 / 5 + 2 / 3 + 0) / 3)  # the fourth class is neither true nor predicted


def test_scores_of_correct_predictions_are_one():
    labels = torch.randint(0, 3, (4, 5, 6))
    assert segmentation_scores(confusion(labels, labels, 3)) == {"accuracy": 1, "mIoU": 1}
