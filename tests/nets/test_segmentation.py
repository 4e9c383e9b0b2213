"""Tests of the U-Net for segmentation."""

import pytest
import torch

from unbraid.nets.segmentation import SegmentationUNet
from unbraid.runs.errors import InputError


def test_logits_have_the_size_of_the_input():
    net = SegmentationUNet(3, channels=[2, 4, 4], audio_channels=2).eval()
    assert net(torch.rand(2, 2, 65, 16)).shape == (2, 3, 65, 16)
    assert net(torch.rand(1, 2, 65, 21)).shape == (1, 3, 65, 21)
    logits = net(torch.rand(1, 2, 65, 16))
    assert torch.equal(logits[..., 0, :], logits[..., 1, :])  # the dropped bin copies the adjacent one


def test_every_weight_has_a_gradient():
    net = SegmentationUNet(2, channels=[2, 4])
    net(torch.rand(2, 1, 33, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_too_few_levels_are_refused():
    with pytest.raises(InputError) as error:
        SegmentationUNet(2, channels=[4])
    assert (error.value.where, error.value.found) == ("SegmentationUNet.channels", [4])
