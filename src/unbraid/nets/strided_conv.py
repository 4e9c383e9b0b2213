"""U-Net layers that halve or double a feature map. On a CPU, training is faster than with torch's layers.

Three cases are computed in another way than in torch:

- Small maps: at the coarsest levels, a map has hundreds of channels, but is only two pixels wide. Torch vectorises convolutions
  along the width, so convolutions of such maps are slow. Here the convolution is one matrix product with the windows of the map
  (im2col; Chellapilla, Puri & Simard, 2006).
- Few output channels: the last layer has one channel, so torch uses only a part of the CPU's vector units. Here the 2 × 2
  output pixels of an input pixel are computed as four channels. The channels are then rearranged to pixels (pixel shuffle,
  Shi et al., CVPR 2016). At the largest skip connection, the maps of encoder and decoder are not concatenated. This saves a
  copy.
- Dropout: torch draws one random number per value. Here one 64-bit number serves four values.

On a GPU, in evaluation, and for all other sizes, torch's own layers are used.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_PIXELS = 16  # size of the smaller map up to which the matrix product is faster than torch's convolution
MAX_CHANNELS = 4  # number of output channels up to which the pixel shuffle is faster than torch's convolution


class Downsampling(nn.Conv2d):
    """Halve height and width of a feature map by a convolution of stride 2 without bias. Half of an odd size is rounded up.

    Args:
        ins: number of input channels.
        outs: number of output channels.
        kernel_size: height and width of the kernel, an odd number.

    Shape:
        [B, C, H, W] -> [B, D, H / 2, W / 2], with C = `ins` and D = `outs` channels, height H and width W.
    """

    def __init__(self, ins: int, outs: int, kernel_size: int) -> None:
        super().__init__(ins, outs, kernel_size, stride=2, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width of a feature map. Shape: [B, C, H, W] -> [B, D, H / 2, W / 2]."""
        # b batch, c channel in, d channel out, h row, w column, k row and column in a window
        h, w = x.shape[-2:]
        if not _is_faster(self, x) or h * w > 4 * MAX_PIXELS or h % 2 or w % 2:
            return super().forward(x)
        windows = _Windows.apply(x.permute(0, 2, 3, 1), self.kernel_size[0]).flatten(3)
        return functional.linear(windows, self.weight.permute(0, 2, 3, 1).flatten(1)).permute(0, 3, 1, 2)


class Upsampling(nn.ConvTranspose2d):
    """Double height and width of one or several feature maps by a transposed convolution of stride 2.

    Args:
        ins: number of input channels of all feature maps together.
        outs: number of output channels.
        kernel_size: height and width of the kernel, an odd number.
        bias: whether a bias is added.

    Shape:
        one or several feature maps [B, C, H, W] -> [B, D, 2H, 2W], with D = `outs` channels, height H and width W.
    """

    def __init__(self, ins: int, outs: int, kernel_size: int, bias: bool) -> None:
        super().__init__(ins, outs, kernel_size, 2, kernel_size // 2, output_padding=1, bias=bias)

    def forward(self, x: Tensor | Sequence[Tensor], output_size: Any = None) -> Tensor:
        """Double height and width of one or several feature maps.

        Args:
            x: one feature map, or several feature maps. Several feature maps are convolved like their concatenation along the
                channels.
            output_size: size of the result, see `torch.nn.ConvTranspose2d`.

        Shape:
            [B, C, H, W] each -> [B, D, 2H, 2W].

        Returns:
            The doubled map.
        """
        maps = [x] if isinstance(x, Tensor) else x
        if _is_faster(self, maps[0]) and self.out_channels <= MAX_CHANNELS:
            return self._shuffled(maps)
        x = joined(maps)
        if _is_faster(self, x) and x.shape[-2] * x.shape[-1] <= MAX_PIXELS:
            return self._multiplied(x)
        return super().forward(x, output_size)

    def _multiplied(self, x: Tensor) -> Tensor:
        size = self.kernel_size[0]
        windows = x.permute(0, 2, 3, 1) @ self.weight.permute(0, 2, 3, 1).flatten(1)
        doubled = _Overlapped.apply(windows.unflatten(-1, (size, size, self.out_channels)))
        return (doubled if self.bias is None else doubled + self.bias).permute(0, 3, 1, 2)

    def _shuffled(self, maps: Sequence[Tensor]) -> Tensor:
        radius = (self.kernel_size[0] // 2 + 1) // 2  # pixels on either side that one of the four output pixels depends on
        size = 2 * radius + 1
        # Row 2i + a of the result depends on row i + r by row a + padding - 2r of the kernel.
        before = 2 * radius - self.kernel_size[0] // 2
        after = 2 * size - before - self.kernel_size[0]
        kernel = functional.pad(self.weight, (before, after, before, after)).flip(2, 3)
        four = kernel.unflatten(3, (size, 2)).unflatten(2, (size, 2)).flip(3, 5)  # c d k a k a
        four = four.permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        first, *others = zip(maps, four.split([x.shape[1] for x in maps], dim=1), strict=True)
        total = functional.conv2d(*first, bias, padding=radius)
        for x, weight in others:
            total = total + functional.conv2d(x, weight, padding=radius)
        return functional.pixel_shuffle(total, 2)


class Dropout(nn.Dropout):
    """Set each value to zero with probability `p`, and scale all other values, as `torch.nn.Dropout` does.

    `p` is rounded to a multiple of 2⁻¹⁶.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Set random values of a feature map to zero in training. Shape: [B, C, H, W] -> [B, C, H, W]."""
        if not _is_faster(self, x) or self.p == 1:
            return super().forward(x)
        b, c, h, w = x.shape
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = draws[: x.numel()].view(b, h, w, c).permute(0, 3, 1, 2) >= round(self.p * 2**16) - 2**15
        return x * (kept.to(x.dtype) / (1 - self.p))


def joined(maps: Sequence[Tensor]) -> Tensor:
    """Concatenate feature maps along the channels."""
    return torch.cat([*maps], dim=1) if len(maps) > 1 else maps[0]


def _is_faster(module: nn.Module, x: Tensor) -> bool:
    # The compiler of PyTorch writes its own fast operations, and refuses some of these.
    return module.training and x.device.type == "cpu" and not torch.compiler.is_compiling()


def windows_of(x: Tensor, size: int) -> Tensor:
    """Return the windows of `size` × `size` pixels around every second pixel. Pixels outside of the feature map are 0.

    Shape: [B, H, W, C] -> [B, H / 2, W / 2, size, size, C].
    """
    radius = size // 2
    padded = functional.pad(x, (0, 0, radius, radius, radius, radius))
    return padded.unfold(1, size, 2).unfold(2, size, 2).permute(0, 1, 2, 4, 5, 3).contiguous()


def overlapped(windows: Tensor) -> Tensor:
    """Sum overlapping windows of k × k pixels to a feature map. This is the adjoint (transpose) of `windows_of`.

    Shape: [B, H, W, k, k, C] -> [B, 2H, 2W, C].
    """
    b, h, w, size, _, c = windows.shape
    radius = size // 2
    total = windows.new_zeros(b, 2 * (h + radius), 2 * (w + radius), c)
    for row in range(size):
        for column in range(size):
            total[:, row : row + 2 * h : 2, column : column + 2 * w : 2] += windows[:, :, :, row, column]
    return total[:, radius : radius + 2 * h, radius : radius + 2 * w]


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
