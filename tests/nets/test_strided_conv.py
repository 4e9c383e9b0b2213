"""Tests that the faster layers agree with those of torch."""

import pytest
import torch
from torch import nn

from unbraid.nets import strided_conv
from unbraid.nets.strided_conv import Downsampling, Dropout, Upsampling, overlapped, windows_of


def assert_agrees(module: nn.Module, torch_class: type[nn.Module], x: torch.Tensor) -> None:
    """Compare values and gradients with those of torch's layer, which is also used in evaluation."""
    x, weights = x.requires_grad_(), tuple(module.parameters())
    ours, theirs = module.train()(x), torch_class.forward(module, x)
    assert ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-5)
    assert torch.equal(module.eval()(x), theirs)
    weight = torch.randn_like(theirs)
    for our_gradient, their_gradient in zip(
        *(torch.autograd.grad(y, (x, *weights), weight) for y in (ours, theirs)), strict=True
    ):
        assert torch.allclose(our_gradient, their_gradient, atol=1e-4)


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("pixels", [(16, 4), (2, 8), (5, 4), (3, 3), (40, 40)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_downsampling_agrees_with_torch(size, pixels, layout):
    torch.manual_seed(0)
    assert_agrees(
        Downsampling(6, 9, size).to(memory_format=layout), nn.Conv2d, torch.randn(2, 6, *pixels).to(memory_format=layout)
    )


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("outs", [1, 4, 9])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pixels", [(8, 2), (4, 3), (20, 20)])
def test_upsampling_agrees_with_torch(size, outs, bias, pixels):
    torch.manual_seed(0)
    layer = Upsampling(6, outs, size, bias).to(memory_format=torch.channels_last)
    assert_agrees(layer, nn.ConvTranspose2d, torch.randn(2, 6, *pixels).to(memory_format=torch.channels_last))


@pytest.mark.parametrize("outs", [1, 4, 9])
@pytest.mark.parametrize("training", [True, False])
def test_upsampling_concatenates_maps(outs, training):
    torch.manual_seed(0)
    layer = Upsampling(7, outs, 5, True).train(training)
    maps = torch.randn(2, 2, 6, 4), torch.randn(2, 5, 6, 4)
    assert torch.allclose(layer(maps), nn.ConvTranspose2d.forward(layer, torch.cat(maps, dim=1)), atol=1e-5)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(8, 16, 32, 32), (3, 5, 7, 9)])
def test_dropout_has_the_given_probability(p, shape):
    torch.manual_seed(0)
    x = torch.ones(shape, requires_grad=True)
    dropped = Dropout(p)(x)
    share = float((dropped == 0).float().mean())
    assert abs(share - p) < 4 * (p * (1 - p) / x.numel()) ** 0.5 + 1e-6
    assert torch.allclose(dropped[dropped != 0], torch.tensor(1 / (1 - p) if p < 1 else 0.0))
    (gradient,) = torch.autograd.grad(dropped.sum(), x)
    assert torch.equal(gradient, dropped)


def test_dropout_is_independent_and_seeded():
    x = torch.ones(16, 64, 16, 16)
    torch.manual_seed(0)
    first, second = Dropout(0.5)(x), Dropout(0.5)(x)
    torch.manual_seed(0)
    assert torch.equal(Dropout(0.5)(x), first) and abs(float((first == second).float().mean()) - 0.5) < 0.01
    kept = (first > 0).permute(0, 2, 3, 1).flatten().float() - 0.5  # in the order of the draws
    for lag in range(1, 9):
        assert abs(float((kept[lag:] * kept[:-lag]).mean())) < 0.25 * 0.02
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert Dropout(0.5)(x.bfloat16()).dtype == torch.bfloat16


def test_windows_and_overlapped_are_adjoint():
    x, windows = torch.randn(2, 6, 4, 3, dtype=torch.float64), torch.randn(2, 3, 2, 5, 5, 3, dtype=torch.float64)
    assert torch.isclose((windows_of(x, 5) * windows).sum(), (x * overlapped(windows)).sum())


def test_faster_layers_are_used_for_small_maps(monkeypatch):
    """Without this test, the tests above could compare torch with itself."""
    called = []
    for name in ("windows_of", "overlapped"):
        function = getattr(strided_conv, name)
        monkeypatch.setattr(strided_conv, name, lambda *a, f=function, n=name: called.append(n) or f(*a))
    Downsampling(2, 9, 5)(torch.rand(1, 2, 16, 4))
    Upsampling(2, 9, 5, False)(torch.rand(1, 2, 8, 2))
    assert called == ["windows_of", "overlapped"]
    Downsampling(2, 9, 5)(torch.rand(1, 2, 18, 4))
    Upsampling(2, 9, 5, False)(torch.rand(1, 2, 9, 2))
    assert len(called) == 2
