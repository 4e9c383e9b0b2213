"""The convolutional autoencoder: patches halved level by level, and doubled again in one of five ways.

Unpooling with the positions of the maxima is Noh, Hong & Han's (ICCV 2015), the arithmetic of transposed convolutions that of
Dumoulin & Visin (2016). A decoder that is told where the maxima were has more to go by than the code: compare it with care.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from unbraid.nets.autoencoders import Autoencoder
from unbraid.runs.errors import InputError

Up = Literal["transposed", "max_unpool", "nearest", "bilinear", "bed_of_nails"]
Down = Literal["stride", "max_pool"]


class ConvolutionalAutoencoder(Autoencoder):
    """Patches to patches; the code is the last feature map.

    Args:
        shape: of a patch, (C, H, W); H and W are multiples of `2 ** len(channels)`.
        channels: of each level, which halves both directions; the last are the code's, which is no wider than a patch.
        kernel_size: odd, of every convolution.
        down: `stride`: the convolution itself leaves out every other position; `max_pool`: the largest of four is kept.
        up: `transposed` convolution with stride 2; or a convolution after `max_unpool`, each value where the maximum was;
            `nearest`, each value four times; `bilinear`; `bed_of_nails`, each value in the upper left of four, zeros beside it.
        normalise: batch normalisation after every convolution but the last.

    Shape:
        [N, C, H, W] -> the same.
    """

    takes = "patches"

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int] = (32, 8),
        kernel_size: int = 3,
        down: Down = "max_pool",
        up: Up = "transposed",
        normalise: bool = True,
    ) -> None:
        super().__init__()
        _check(shape, channels, kernel_size, down, up)
        c, h, w = shape
        self.up, self.pools = up, down == "max_pool"
        levels = len(channels)
        self.code_shape = (channels[-1], h >> levels, w >> levels)
        self.code_size = math.prod(self.code_shape)
        ins = [c, *channels[:-1]]
        self.encoder = nn.ModuleList(
            _layer(nn.Conv2d(i, o, kernel_size, 2 if down == "stride" else 1, kernel_size // 2), normalise)
            for i, o in zip(ins, channels, strict=True)
        )
        self.decoder = nn.ModuleList()
        for i, o in zip(channels[::-1], ins[::-1], strict=True):
            doubling = up == "transposed"
            convolution: nn.Module = (
                nn.ConvTranspose2d(i, o, kernel_size, 2, kernel_size // 2, output_padding=1)
                if doubling
                else nn.Conv2d(i, o, kernel_size, 1, kernel_size // 2)
            )
            last = len(self.decoder) == levels - 1
            self.decoder.append(convolution if last else _layer(convolution, normalise))
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, items: Tensor) -> Tensor:
        return self._decode(*self._encode(items))

    def encode(self, items: Tensor) -> Tensor:
        return self._encode(items)[0]

    def decode(self, code: Tensor) -> Tensor:
        """InputError for `max_unpool`, whose positions are not in the code."""
        if self.up == "max_unpool":
            raise InputError("up=max_unpool: a code alone cannot be decoded, the positions of the maxima are needed as well")
        return self._decode(code, [])

    def _encode(self, items: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The code, and of each level where its maxima were."""
        x, places = items.contiguous(memory_format=torch.channels_last), []
        for layer in self.encoder:
            x = layer(x)
            if self.pools and self.up == "max_unpool":
                x, indices = functional.max_pool2d(x, 2, return_indices=True)
                places.append(indices)
            elif self.pools:
                x = functional.max_pool2d(x, 2)
        return x, places

    def _decode(self, x: Tensor, places: list[Tensor]) -> Tensor:
        for layer in self.decoder:
            if self.up == "max_unpool":
                x = max_unpool(x, places.pop())
            elif self.up == "bed_of_nails":
                x = bed_of_nails(x)
            x = layer(widened(x, self.up))
        return x


def widened(x: Tensor, up: Up) -> Tensor:
    """What a level's convolution sees: interpolated if `nearest` or `bilinear`. Shape: [N, C, H, W] -> [N, C, 2H, 2W]."""
    if up == "nearest":
        return functional.interpolate(x, scale_factor=2, mode="nearest")
    if up == "bilinear":
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return x


def max_unpool(x: Tensor, places: Tensor) -> Tensor:
    """Each value where its maximum was, zeros elsewhere. Shape: [N, C, H, W], places from pooling by 2 -> [N, C, 2H, 2W]."""
    return functional.max_unpool2d(x, places, [2, 2])


def bed_of_nails(x: Tensor) -> Tensor:
    """Each value in the upper left of a cell of four, zeros beside it. Shape: [N, C, H, W] -> [N, C, 2H, 2W]."""
    n, c, h, w = x.shape
    nails = x.new_zeros(n, c, 2 * h, 2 * w)
    nails[..., ::2, ::2] = x
    return nails


def _layer(convolution: nn.Module, normalise: bool) -> nn.Sequential:
    outs = convolution.out_channels
    assert isinstance(outs, int)
    return nn.Sequential(convolution, *([nn.BatchNorm2d(outs)] if normalise else []), nn.ReLU(inplace=True))


def _check(shape: Sequence[int], channels: Sequence[int], kernel_size: int, down: str, up: str) -> None:
    for name, value, known in (("down", down, Down), ("up", up, Up)):
        if value not in known.__args__:  # type: ignore[attr-defined]
            raise InputError(f"{name} must be one of {', '.join(known.__args__)}, found {value}")  # type: ignore[attr-defined]
    if up == "max_unpool" and down != "max_pool":
        raise InputError(f"up=max_unpool needs down=max_pool, whose positions it uses, found down={down}")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise InputError(f"kernel_size must be odd, found {kernel_size}")
    if not channels or min(channels) < 1:
        raise InputError(f"channels must be one positive number for each level, found {list(channels)}")
    cell = 2 ** len(channels)
    for name, size in zip(("height", "width"), shape[1:], strict=True):
        if size % cell:
            nearest = " and ".join(str(n) for n in (size // cell * cell, -(-size // cell) * cell) if n)
            raise InputError(
                f"channels: {len(channels)} levels halve patches {len(channels)} times, and their {name} of {size} cannot be; "
                f"the nearest that can: {nearest}"
            )
    widest = cell**2 * shape[0]
    if channels[-1] > widest:
        raise InputError(
            f"channels: the last one must be at most {widest}, with which a code is as wide as a patch of {math.prod(shape)}, "
            f"found {channels[-1]}: a wider one need not learn anything"
        )
