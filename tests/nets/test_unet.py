"""The U-Net of Jansson et al. 2017, layer by layer."""

import pytest
import torch
from torch import nn

from unbraid.errors import InputError
from unbraid.nets.unet import UNet

NARROW = (2, 2, 4, 4, 4, 4)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_it_has_the_papers_9_8_million_parameters():
    assert round(count(UNet()) / 1e6, 2) == 9.82
    # The skips double the inputs of five decoder layers: 25 * (256*128 + 128*64 + 64*32 + 32*16 + 16*1) weights.
    assert count(UNet()) - count(UNet(skips=False)) == 25 * (256 * 128 + 128 * 64 + 64 * 32 + 32 * 16 + 16)


def test_the_layers_have_the_papers_shapes():
    shapes = []
    net = UNet().eval()
    for module in (*net.encoder, *net.decoder):
        module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    net(torch.rand(1, 1, 513, 128))
    assert shapes == [
        (16, 256, 64), (32, 128, 32), (64, 64, 16), (128, 32, 8), (256, 16, 4), (512, 8, 2),
        (256, 16, 4), (128, 32, 8), (64, 64, 16), (32, 128, 32), (16, 256, 64), (1, 512, 128),
    ]  # fmt: skip


def test_there_is_no_pooling_and_dropout_is_in_the_first_three_decoder_layers():
    net = UNet()
    assert not [m for m in net.modules() if "Pool" in type(m).__name__]
    assert [any(isinstance(m, nn.Dropout) and m.p == 0.5 for m in layer) for layer in net.decoder] == [True] * 3 + [False] * 3
    assert all(m.negative_slope == 0.2 for m in net.modules() if isinstance(m, nn.LeakyReLU))


@pytest.mark.parametrize("frames", [64, 65, 127, 128, 200])
@pytest.mark.parametrize("audio_channels", [1, 2])
def test_the_mask_has_the_shape_of_the_magnitudes_and_lies_in_0_1(frames, audio_channels):
    mask = UNet(NARROW, audio_channels)(torch.rand(2, audio_channels, 513, frames))
    assert mask.shape == (2, audio_channels, 513, frames)
    assert mask.min() >= 0 and mask.max() <= 1


@pytest.mark.parametrize(("drop_bin", "edge", "neighbour"), [("dc", 0, 1), ("nyquist", -1, -2)])
def test_the_bin_left_out_is_not_seen_and_takes_its_neighbours_mask(drop_bin, edge, neighbour):
    net = UNet(NARROW, drop_bin=drop_bin).eval()
    magnitudes = torch.rand(1, 1, 513, 64)
    mask = net(magnitudes)
    assert torch.equal(mask[:, :, edge], mask[:, :, neighbour])
    magnitudes[:, :, edge] += 1
    assert torch.equal(net(magnitudes), mask)


def test_without_skips_nothing_bypasses_the_bottleneck():
    def output_range(skips: bool) -> float:
        net = UNet(NARROW, skips=skips).eval()
        with torch.no_grad():
            for parameter in net.encoder[-1].parameters():
                parameter.zero_()  # the bottleneck says nothing
            one, other = net(torch.rand(1, 1, 513, 64)), net(torch.rand(1, 1, 513, 64))
        return float((one - other).abs().max())

    assert output_range(skips=False) == 0
    assert output_range(skips=True) > 0


def test_every_weight_gets_a_gradient():
    net = UNet(NARROW)
    net(torch.rand(2, 1, 513, 64)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_what_it_cannot_take_is_said():
    with pytest.raises(InputError, match="needs at least 64 frames, found 63"):
        UNet(NARROW)(torch.rand(1, 1, 513, 63))
    with pytest.raises(InputError, match="n_fft that is a multiple of 128, found 1000"):
        UNet(NARROW)(torch.rand(1, 1, 501, 64))
    with pytest.raises(InputError, match="kernel_size must be odd, found 4"):
        UNet(NARROW, kernel_size=4)
    for channels in ((), (0, 4), (-1,)):
        with pytest.raises(InputError, match="channels must be one positive number for each layer"):
            UNet(channels)
    with pytest.raises(InputError, match=r"dropout_layers must lie in \[0, 6\], found -3"):
        UNet(NARROW, dropout_layers=-3)
