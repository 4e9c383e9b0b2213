"""Losses against what one can work out by hand."""

import torch

from unbraid.losses import MagnitudeL1
from unbraid.separators import Estimate


def test_magnitude_l1_of_equal_magnitudes_is_zero_and_of_a_shift_is_the_shift():
    magnitudes = torch.rand(2, 1, 1, 5, 7)
    truth, shifted = (Estimate(torch.empty(0), magnitudes=m) for m in (magnitudes, magnitudes + 0.25))
    assert MagnitudeL1()(truth, truth) == 0
    assert torch.isclose(MagnitudeL1()(shifted, truth), torch.tensor(0.25))
