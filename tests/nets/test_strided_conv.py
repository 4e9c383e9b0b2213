"""Convolutions in another form: torch's own numbers, whichever way they come about."""

import pytest
import torch
from torch import nn

from unbraid.nets import strided_conv
from unbraid.nets.strided_conv import Downsampling, Dropout, Upsampling, overlapped, windows_of


def same(module: nn.Module, own: type[nn.Module], x: torch.Tensor) -> None:
    """Values and gradients of our form and of torch's, which also runs outside of training."""
    x, weights = x.requires_grad_(), tuple(module.parameters())
    ours, theirs = module.train()(x), own.forward(module, x)
    assert ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-5)
    assert torch.equal(module.eval()(x), theirs)
    pull = torch.randn_like(theirs)
    for one, other in zip(*(torch.autograd.grad(y, (x, *weights), pull) for y in (ours, theirs)), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("pixels", [(16, 4), (2, 8), (5, 4), (3, 3), (40, 40)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_halving_is_a_convolution_of_stride_two(size, pixels, layout):
    torch.manual_seed(0)
    same(Downsampling(6, 9, size).to(memory_format=layout), nn.Conv2d, torch.randn(2, 6, *pixels).to(memory_format=layout))


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("outs", [1, 4, 9])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pixels", [(8, 2), (4, 3), (20, 20)])
def test_doubling_is_a_transposed_convolution(size, outs, bias, pixels):
    torch.manual_seed(0)
    layer = Upsampling(6, outs, size, bias).to(memory_format=torch.channels_last)
    same(layer, nn.ConvTranspose2d, torch.randn(2, 6, *pixels).to(memory_format=torch.channels_last))


@pytest.mark.parametrize("outs", [1, 4, 9])
@pytest.mark.parametrize("training", [True, False])
def test_doubling_joins_the_channels_of_maps(outs, training):
    torch.manual_seed(0)
    layer = Upsampling(7, outs, 5, True).train(training)
    maps = torch.randn(2, 2, 6, 4), torch.randn(2, 5, 6, 4)
    assert torch.allclose(layer(maps), nn.ConvTranspose2d.forward(layer, torch.cat(maps, dim=1)), atol=1e-5)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(8, 16, 32, 32), (3, 5, 7, 9)])
def test_dropout_drops_that_share_and_raises_the_rest(p, shape):
    torch.manual_seed(0)
    x = torch.ones(shape, requires_grad=True)
    dropped = Dropout(p)(x)
    share = float((dropped == 0).float().mean())
    assert abs(share - p) < 4 * (p * (1 - p) / x.numel()) ** 0.5 + 1e-6
    assert torch.allclose(dropped[dropped != 0], torch.tensor(1 / (1 - p) if p < 1 else 0.0))
    (gradient,) = torch.autograd.grad(dropped.sum(), x)
    assert torch.equal(gradient, dropped)


def test_dropout_is_drawn_anew_by_the_seed_and_each_number_by_itself():
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


def test_windows_and_their_sum_are_adjoint():
    x, windows = torch.randn(2, 6, 4, 3, dtype=torch.float64), torch.randn(2, 3, 2, 5, 5, 3, dtype=torch.float64)
    assert torch.isclose((windows_of(x, 5) * windows).sum(), (x * overlapped(windows)).sum())


def test_the_other_forms_run_where_they_pay(monkeypatch):
    """Else the tests above would compare torch with itself."""
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
