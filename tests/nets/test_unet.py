"""Tests of the U-Net of Jansson et al. 2017."""

import pytest
import torch
from torch import nn

from unbraid.nets.unet import UNet
from unbraid.runs.errors import InputError

NARROW = (2, 2, 4, 4, 4, 4)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_parameters_are_those_of_the_paper():
    assert round(count(UNet()) / 1e6, 2) == 9.82
    # The skips double the inputs of five decoder layers: 25 * (256*128 + 128*64 + 64*32 + 32*16 + 16*1) weights.
    assert count(UNet()) - count(UNet(skips=False)) == 25 * (256 * 128 + 128 * 64 + 64 * 32 + 32 * 16 + 16)


def test_layers_have_the_shapes_of_the_paper():
    shapes = []
    net = UNet().eval()
    for module in (*net.encoder, *net.decoder):
        module.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    net(torch.rand(1, 1, 513, 128))
    assert shapes == [
        (16, 256, 64), (32, 128, 32), (64, 64, 16), (128, 32, 8), (256, 16, 4), (512, 8, 2),
        (256, 16, 4), (128, 32, 8), (64, 64, 16), (32, 128, 32), (16, 256, 64), (1, 512, 128),
    ]  # fmt: skip


def test_dropout_is_in_three_decoder_layers():
    net = UNet()
    assert not [m for m in net.modules() if "Pool" in type(m).__name__]
    assert [any(isinstance(m, nn.Dropout) and m.p == 0.5 for m in layer) for layer in net.decoder] == [True] * 3 + [False] * 3
    assert all(m.negative_slope == 0.2 for m in net.modules() if isinstance(m, nn.LeakyReLU))


@pytest.mark.parametrize("frames", [64, 65, 127, 128, 200])
@pytest.mark.parametrize("audio_channels", [1, 2])
def test_mask_has_the_shape_of_the_magnitudes(frames, audio_channels):
    mask = UNet(None, NARROW, audio_channels)(torch.rand(2, audio_channels, 513, frames))
    assert mask.shape == (2, audio_channels, 513, frames)
    assert mask.min() >= 0 and mask.max() <= 1


@pytest.mark.parametrize(("drop_bin", "edge", "neighbour"), [("dc", 0, 1), ("nyquist", -1, -2)])
def test_dropped_bin_copies_the_adjacent_mask(drop_bin, edge, neighbour):
    net = UNet(None, NARROW, drop_bin=drop_bin).eval()
    magnitudes = torch.rand(1, 1, 513, 64)
    mask = net(magnitudes)
    assert torch.equal(mask[:, :, edge], mask[:, :, neighbour])
    magnitudes[:, :, edge] += 1
    assert torch.equal(net(magnitudes), mask)


def test_skips_bypass_the_bottleneck():
    def output_range(skips: bool) -> float:
        net = UNet(None, NARROW, skips=skips).eval()
        with torch.no_grad():
            for parameter in net.encoder[-1].parameters():
                parameter.zero_()
            first, second = net(torch.rand(1, 1, 513, 64)), net(torch.rand(1, 1, 513, 64))
        return float((first - second).abs().max())

    assert output_range(skips=False) == 0
    assert output_range(skips=True) > 0


def test_every_weight_has_a_gradient():
    net = UNet(None, NARROW)
    net(torch.rand(2, 1, 513, 64)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("skips", [True, False])
def test_training_agrees_with_torch_layers(skips):
    """The maps are small enough for every faster layer of `unbraid.nets.strided_conv`."""
    torch.manual_seed(0)
    net, x = UNet(None, (6, 8, 10, 12), 2, skips=skips, dropout=0.0), torch.rand(3, 2, 65, 32)
    levels = [x[:, :, 1:]]
    for convolution, norm, activation in net.encoder:
        levels.append(activation(norm(nn.Conv2d.forward(convolution, levels[-1]))))
    y = levels.pop()
    for depth, (convolution, *rest) in enumerate(net.decoder):
        y = nn.ConvTranspose2d.forward(convolution, torch.cat([y, levels.pop()], dim=1) if skips and depth else y)
        for layer in rest:
            y = layer(y)
    expected = torch.sigmoid(torch.cat([y[:, :, :1], y], dim=2))
    mask = net(x)
    assert torch.allclose(mask, expected, atol=1e-5) and mask.std() > 1e-3
    torchs, ours = (torch.autograd.grad((output * x).sum(), [*net.parameters()]) for output in (expected, mask))
    for (name, _), torch_gradient, gradient in zip(net.named_parameters(), torchs, ours, strict=True):
        assert (torch_gradient - gradient).abs().max() < 1e-4 * max(1, torch_gradient.abs().max()), name


@pytest.mark.parametrize(
    ("shape", "where", "found", "expected"),
    [((1, 1, 513, 63), "chunk_seconds", "63 frames", "64 frames"), ((1, 1, 501, 64), "n_fft", 1000, "a multiple of 128")],
)
def test_magnitudes_that_do_not_fit_are_refused(shape, where, found, expected):
    with pytest.raises(InputError) as error:
        UNet(None, NARROW)(torch.rand(shape))
    assert (error.value.where, error.value.found) == (where, found) and expected in error.value.expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("kernel_size", 4, "odd"),
        ("channels", [], "positive"),
        ("channels", [0, 4], "positive"),
        ("channels", [-1], "positive"),
        ("dropout_layers", -3, "0 to 6"),
        ("masks", "softmax", "sigmoid"),
        ("up", "max_unpool", "transposed, nearest, bilinear"),
        ("masks", "max_unpool", "sigmoid, softmax"),
    ],
)
def test_invalid_arguments_are_refused(name, value, expected):
    with pytest.raises(InputError) as error:
        UNet(**{name: value})
    assert (error.value.where, error.value.found) == (f"UNet.{name}", value) and expected in error.value.expected


@pytest.mark.parametrize("up", ["nearest", "bilinear"])
@pytest.mark.parametrize("skips", [True, False])
def test_interpolation_has_as_many_weights(up, skips):
    net = UNet(None, NARROW, skips=skips, up=up)
    assert count(net) == count(UNet(None, NARROW, skips=skips))
    assert not [m for m in net.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert net(torch.rand(2, 1, 513, 70)).shape == (2, 1, 513, 70)


def test_interpolation_avoids_the_checkerboard():
    """A constant input gives a constant mask away from the edges, but not with transposed convolutions."""

    def roughness(up: str) -> float:
        torch.manual_seed(0)
        net = UNet(None, (4, 8), skips=False, dropout_layers=0, up=up).eval()
        return float(net(torch.full((1, 1, 257, 256), 0.5))[..., 64:192, 64:192].std())

    assert roughness("nearest") < 1e-6 < roughness("transposed")


@pytest.mark.parametrize("audio_channels", [1, 2])
def test_softmax_masks_sum_to_one(audio_channels):
    masks = UNet(3, NARROW, audio_channels, masks="softmax")(torch.rand(2, audio_channels, 513, 100))
    assert masks.shape == (2, 3, audio_channels, 513, 100)
    assert torch.allclose(masks.sum(dim=1), torch.ones(()), atol=1e-6) and masks.std() > 0


def test_sigmoid_masks_differ_in_the_last_layer_only():
    several, single = UNet(2, NARROW, 2).eval(), UNet(None, NARROW, 2).eval()
    magnitudes = torch.rand(1, 2, 513, 64)
    masks = several(magnitudes)
    for source in range(2):
        state = several.state_dict()
        for name in ("decoder.5.0.weight", "decoder.5.0.bias"):
            state[name] = state[name].unflatten(-1 if "bias" in name else 1, (2, 2)).select(0 if "bias" in name else 1, source)
        single.load_state_dict(state)
        assert torch.allclose(masks[:, source], single(magnitudes), atol=1e-6)


def test_names_of_weights_are_frozen():
    names = set(UNet(None, NARROW).state_dict())
    for depth in range(6):
        norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
        assert {f"encoder.{depth}.0.weight"} | {f"encoder.{depth}.1.{n}" for n in norm} <= names
    assert {"decoder.5.0.weight", "decoder.5.0.bias", "decoder.0.1.weight"} <= names and "decoder.0.0.bias" not in names
