"""Losses against what one can work out by hand."""

import math

import torch

from unbraid.losses import BinCrossEntropy, MagnitudeL1, MagnitudeMSE, SquaredError
from unbraid.separators import Estimate


def test_magnitude_l1_of_equal_magnitudes_is_zero_and_of_a_shift_is_the_shift():
    magnitudes = torch.rand(2, 1, 1, 5, 7)
    truth, shifted = (Estimate(torch.empty(0), magnitudes=m) for m in (magnitudes, magnitudes + 0.25))
    assert MagnitudeL1()(truth, truth) == 0
    assert torch.isclose(MagnitudeL1()(shifted, truth), torch.tensor(0.25))


def test_magnitude_mse_of_a_shift_is_its_square():
    magnitudes = torch.rand(2, 1, 1, 5, 7)
    truth, shifted = (Estimate(torch.empty(0), magnitudes=m) for m in (magnitudes, magnitudes + 0.25))
    assert MagnitudeMSE()(truth, truth) == 0
    assert torch.isclose(MagnitudeMSE()(shifted, truth), torch.tensor(0.0625))


def test_squared_error_is_summed_over_an_item_and_averaged_over_items():
    estimate, truth = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    assert SquaredError()(estimate, truth) == (4 + 25) / 2


def test_cross_entropy_is_of_the_bins_that_have_a_class():
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 1, 0, 0] = 5.0
    labels = torch.tensor([[[1, 2], [-100, -100]]])
    sure, unsure = -math.log(math.exp(5) / (math.exp(5) + 2)), math.log(3)
    loss = BinCrossEntropy()(*(Estimate(torch.empty(0), logits=logits, labels=labels) for _ in range(2)))
    assert math.isclose(loss.item(), (sure + unsure) / 2, rel_tol=1e-6)
    silent = Estimate(torch.empty(0), logits=logits, labels=torch.full_like(labels, -100))
    assert BinCrossEntropy()(silent, silent) == 0
