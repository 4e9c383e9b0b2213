"""The U-Net for segmentation."""

import pytest
import torch

from unbraid.nets.segmentation import SegmentationUNet
from unbraid.runs.errors import InputError


def test_it_gives_logits_for_every_bin_of_any_number_of_frames():
    net = SegmentationUNet(3, channels=[2, 4, 4], audio_channels=2).eval()
    assert net(torch.rand(2, 2, 65, 16)).shape == (2, 3, 65, 16)
    assert net(torch.rand(1, 2, 65, 21)).shape == (1, 3, 65, 21)
    logits = net(torch.rand(1, 2, 65, 16))
    assert torch.equal(logits[..., 0, :], logits[..., 1, :])  # the bin that is left out has its neighbour's


def test_every_weight_learns():
    net = SegmentationUNet(2, channels=[2, 4])
    net(torch.rand(2, 1, 33, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_too_few_levels_are_refused():
    with pytest.raises(InputError, match="at least two positive numbers"):
        SegmentationUNet(2, channels=[4])
