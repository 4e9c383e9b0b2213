"""Layers of a U-Net that halve or double a feature map: the same numbers as torch's own, in less time on a CPU.

At the bottom of a U-Net the maps are a few pixels with hundreds of channels. What torch calls there runs over the pixels of a
row, of which there are two; here it is one matrix product with the windows of the map (im2col, Chellapilla, Puri & Simard,
2006). The last layer has one channel, which fills one lane of a CPU's vector units: there each pixel gives its 2 × 2 pixels of
the result as four channels, which are shuffled into place (Shi et al., CVPR 2016), and the two maps that a skip joins, the
largest of all, are not copied into one. What drops out, torch draws number by number; here one draw serves four. On a GPU,
outside of training, and wherever it does not pay, torch's own run.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FEW = 16  # pixels of the smaller map; of more, torch's own convolution is as fast
NARROW = 4  # channels of the result; of more, torch's own is as fast as the shuffled one


class Downsampling(nn.Conv2d):
    """A convolution of stride 2 without bias. Shape: [B, C, H, W] -> [B, D, H / 2, W / 2]; odd sizes are rounded up."""

    def __init__(self, ins: int, outs: int, kernel_size: int) -> None:
        super().__init__(ins, outs, kernel_size, stride=2, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # b batch, c channel in, d channel out, h row, w column, k row and column in a window
        h, w = x.shape[-2:]
        if not _pays(self, x) or h * w > 4 * FEW or h % 2 or w % 2:
            return super().forward(x)
        windows = _Windows.apply(x.permute(0, 2, 3, 1), self.kernel_size[0]).flatten(3)
        return functional.linear(windows, self.weight.permute(0, 2, 3, 1).flatten(1)).permute(0, 3, 1, 2)


class Upsampling(nn.ConvTranspose2d):
    """A transposed convolution of stride 2 of a map, or of several as one. Shape: [B, C, H, W] each -> [B, D, 2H, 2W]."""

    def __init__(self, ins: int, outs: int, kernel_size: int, bias: bool) -> None:
        super().__init__(ins, outs, kernel_size, 2, kernel_size // 2, output_padding=1, bias=bias)

    def forward(self, x: Tensor | Sequence[Tensor], output_size: Any = None) -> Tensor:
        maps = [x] if isinstance(x, Tensor) else x
        if _pays(self, maps[0]) and self.out_channels <= NARROW:
            return self._shuffled(maps)
        x = joined(maps)
        if _pays(self, x) and x.shape[-2] * x.shape[-1] <= FEW:
            return self._multiplied(x)
        return super().forward(x, output_size)

    def _multiplied(self, x: Tensor) -> Tensor:
        size = self.kernel_size[0]
        windows = x.permute(0, 2, 3, 1) @ self.weight.permute(0, 2, 3, 1).flatten(1)
        doubled = _Overlapped.apply(windows.unflatten(-1, (size, size, self.out_channels)))
        return (doubled if self.bias is None else doubled + self.bias).permute(0, 3, 1, 2)

    def _shuffled(self, maps: Sequence[Tensor]) -> Tensor:
        reach = (self.kernel_size[0] // 2 + 1) // 2  # pixels to either side that one of the four sees
        size = 2 * reach + 1
        # Row 2i + a of the result sees row i + r with row a + padding - 2r of the kernel.
        padding = self.padding[0]
        assert isinstance(padding, int)
        before = 2 * reach - padding
        after = 2 * size - before - self.kernel_size[0]
        kernel = functional.pad(self.weight, (before, after, before, after)).flip(2, 3)
        four = kernel.unflatten(3, (size, 2)).unflatten(2, (size, 2)).flip(3, 5)  # c d k a k a
        four = four.permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        first, *others = zip(maps, four.split([x.shape[1] for x in maps], dim=1), strict=True)
        total = functional.conv2d(*first, bias, padding=reach)
        for x, weight in others:
            total = total + functional.conv2d(x, weight, padding=reach)
        return functional.pixel_shuffle(total, 2)


class Dropout(nn.Dropout):
    """Each number is dropped by itself, as in torch's, with a probability in steps of 2⁻¹⁶. Shape: [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        if not _pays(self, x) or self.p == 1:
            return super().forward(x)
        b, c, h, w = x.shape
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = draws[: x.numel()].view(b, h, w, c).permute(0, 3, 1, 2) >= round(self.p * 2**16) - 2**15
        return x * (kept.to(x.dtype) / (1 - self.p))


def joined(maps: Sequence[Tensor]) -> Tensor:
    """Their channels, one map after the other."""
    return torch.cat([*maps], dim=1) if len(maps) > 1 else maps[0]


def _pays(module: nn.Module, x: Tensor) -> bool:
    return module.training and x.device.type == "cpu"


def windows_of(x: Tensor, size: int) -> Tensor:
    """The surroundings of every other pixel, silence beyond the edges. Shape: [B, H, W, C] -> [B, H / 2, W / 2, k, k, C]."""
    reach = size // 2
    padded = functional.pad(x, (0, 0, reach, reach, reach, reach))
    return padded.unfold(1, size, 2).unfold(2, size, 2).permute(0, 1, 2, 4, 5, 3).contiguous()


def overlapped(windows: Tensor) -> Tensor:
    """The adjoint of `windows_of`: their sum, each in its place. Shape: [B, H, W, k, k, C] -> [B, 2H, 2W, C]."""
    b, h, w, size, _, c = windows.shape
    reach = size // 2
    total = windows.new_zeros(b, 2 * (h + reach), 2 * (w + reach), c)
    for row in range(size):
        for column in range(size):
            total[:, row : row + 2 * h : 2, column : column + 2 * w : 2] += windows[:, :, :, row, column]
    return total[:, reach : reach + 2 * h, reach : reach + 2 * w]


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        return windows_of(x, size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return overlapped(gradient), None


class _Overlapped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, windows: Tensor) -> Tensor:
        ctx.size = windows.shape[3]
        return overlapped(windows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return windows_of(gradient, ctx.size)
