"""Tests of the convolutional autoencoder and its methods of halving and doubling."""

import pytest
import torch
from torch.nn import functional

from unbraid.nets.convolutional import ConvolutionalAutoencoder, bed_of_nails, max_unpool
from unbraid.runs.errors import InputError

METHODS = [("max_pool", up) for up in ("transposed", "max_unpool", "nearest", "bilinear", "bed_of_nails")]
METHODS += [("stride", up) for up in ("transposed", "nearest", "bilinear", "bed_of_nails")]
TWO = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])


def test_max_unpool_restores_the_maxima():
    x = torch.randn(2, 3, 8, 6)
    pooled, positions = functional.max_pool2d(x, 2, return_indices=True)
    back = max_unpool(pooled, positions)
    cells = x.unflatten(2, (4, 2)).unflatten(4, (3, 2))
    is_maximum = (cells == cells.amax(dim=(3, 5), keepdim=True)).reshape(x.shape)
    assert torch.equal(back, torch.where(is_maximum, x, 0))
    assert int((back != 0).sum()) == pooled.numel()


def test_transposed_convolution_of_torch():
    kernel = torch.tensor([[[[1.0, 10.0], [100.0, 1000.0]]]])
    dense = functional.conv_transpose2d(TWO, kernel, stride=1, padding=0)
    assert dense.tolist() == [[[[1, 12, 20], [103, 1234, 2040], [300, 3400, 4000]]]]
    strided = functional.conv_transpose2d(TWO, kernel, stride=2, padding=1)
    # With stride 2, four scaled kernels do not overlap; padding 1 removes the outer ring.
    assert strided.tolist() == [[[[1000, 200], [30, 4]]]]


def test_transposed_layer_of_the_autoencoder():
    net = ConvolutionalAutoencoder((1, 4, 4), [1], kernel_size=3, up="transposed", normalise=False)
    with torch.no_grad():
        net.decoder[0].weight.copy_(torch.outer(torch.tensor([1.0, 10, 100]), torch.tensor([2.0, 3, 5])))
        net.decoder[0].bias.zero_()
    # Along one axis, a kernel a b c maps r0 r1 to b r0, c r0 + a r1, b r1, c r1: first along the rows, then the columns.
    rows = [[3, 5 + 4, 6, 10], [9, 15 + 8, 12, 20]]
    first, second = torch.tensor(rows)
    expected = torch.stack([10 * first, 100 * first + second, 10 * second, 100 * second])
    assert torch.equal(net.decode(TWO)[0, 0], expected.float())


def test_each_level_uses_its_own_positions():
    net = ConvolutionalAutoencoder((1, 8, 8), [1, 1], kernel_size=1, up="max_unpool", normalise=False)
    for name, parameter in net.named_parameters():
        torch.nn.init.constant_(parameter, float(name.endswith("weight")))
    x = 1 + torch.randperm(64, generator=torch.Generator().manual_seed(0)).float().view(1, 1, 8, 8)
    largest = functional.max_pool2d(x, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(net(x), torch.where(x == largest, x, 0))


def test_bed_of_nails_nearest_and_bilinear():
    assert bed_of_nails(TWO).tolist() == [[[[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]]]
    doubled = {}
    for up in ("nearest", "bilinear"):
        net = ConvolutionalAutoencoder((1, 4, 4), [1], kernel_size=1, up=up, normalise=False)
        torch.nn.init.ones_(net.decoder[0].weight)
        torch.nn.init.zeros_(net.decoder[0].bias)
        doubled[up] = net.decode(TWO)[0, 0]
    assert doubled["nearest"].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    row = torch.tensor([0.0, 0.25, 0.75, 1.0])
    torch.testing.assert_close(doubled["bilinear"], 1 + row[None, :] + 2 * row[:, None])


@pytest.mark.parametrize(("down", "up"), METHODS)
def test_each_method_learns_to_reconstruct(down, up):
    torch.manual_seed(0)
    net = ConvolutionalAutoencoder((2, 16, 8), [8, 8], down=down, up=up)
    items = torch.rand(4, 2, 16, 8)
    assert net.encode(items).shape == (4, *net.code_shape) == (4, 8, 4, 2)
    assert net.code_size == 64
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = functional.mse_loss(net(items), items)
        loss.backward()
        assert all(parameter.grad is not None for parameter in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    if up != "max_unpool":
        net.eval()
        torch.testing.assert_close(net.decode(net.encode(items)), net(items))


def test_encoder_is_the_same_for_all_decoders():
    encoders = []
    for _, up in METHODS[:5]:
        torch.manual_seed(0)
        encoders.append(ConvolutionalAutoencoder((1, 8, 8), [4, 4], up=up).encoder.state_dict())
    for other in encoders[1:]:
        assert all(torch.equal(other[name], value) for name, value in encoders[0].items())


@pytest.mark.parametrize(
    ("arguments", "where", "found", "expected"),
    [
        ({"shape": (1, 28, 28), "channels": [4, 4, 4]}, "channels", "height 28", "height 24 or 32"),
        ({"shape": (1, 32, 3), "channels": [4, 4]}, "channels", "width 3", "width 4"),
        ({"kernel_size": 4}, "kernel_size", 4, "odd"),
        ({"up": "sideways"}, "up", "sideways", "transposed"),
        ({"down": "sideways"}, "down", "sideways", "stride, max_pool"),
        ({"down": "stride", "up": "max_unpool"}, "down", "stride", "max_pool"),
        ({"channels": []}, "channels", [], "positive"),
        ({"channels": [5]}, "channels", 5, "at most 4 "),
        ({"shape": (2, 8, 4), "channels": [1, 33]}, "channels", 33, "at most 32 "),
    ],
)
def test_invalid_arguments_are_refused(arguments, where, found, expected):
    with pytest.raises(InputError) as error:
        ConvolutionalAutoencoder(**({"shape": (1, 8, 8), "channels": [4]} | arguments))
    assert (error.value.where, error.value.found) == (f"ConvolutionalAutoencoder.{where}", found)
    assert expected in error.value.expected


def test_code_is_at_most_as_large_as_a_patch():
    assert ConvolutionalAutoencoder((1, 8, 8), [4]).code_size == 64
    assert ConvolutionalAutoencoder((1, 28, 28)).code_size == 28 * 28 / 2


def test_max_unpool_cannot_decode_a_code():
    net = ConvolutionalAutoencoder((1, 8, 8), [4], up="max_unpool")
    with pytest.raises(InputError) as error:
        net.decode(torch.zeros(1, 4, 4, 4))
    assert (error.value.where, error.value.found) == ("ConvolutionalAutoencoder.up", "max_unpool")
