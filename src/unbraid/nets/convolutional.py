"""Convolutional autoencoder: each encoder level halves the height and width of a patch, each decoder level doubles them.

The decoder can use one of five methods to double height and width. Sources: Noh, Hong & Han (ICCV 2015) for unpooling with the
positions of the maxima; Dumoulin & Visin (2016) for transposed convolutions. With the method `max_unpool`, the decoder reads
the code and also the positions of the maxima. The reconstruction error of `max_unpool` is therefore not comparable with the
error of the other methods.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from unbraid.nets.autoencoders import Autoencoder
from unbraid.runs.errors import InputError

Up = Literal["transposed", "max_unpool", "nearest", "bilinear", "bed_of_nails"]
Down = Literal["stride", "max_pool"]


class ConvolutionalAutoencoder(Autoencoder):
    """Reconstruct patches with convolutions. The code is the last feature map of the encoder.

    Args:
        shape: shape (C, H, W) of a patch. H and W are multiples of `2 ** len(channels)`.
        channels: number of channels of each level. Each level halves height and width. The code, which is the output of the
            last level, must not have more values than a patch.
        kernel_size: height and width of all kernels, an odd number.
        down: method of halving height and width. `stride`: a convolution with stride 2; `max_pool`: maximum of 2 × 2 values.
        up: method of doubling height and width. `transposed`: a transposed convolution with stride 2; `max_unpool`: each value
            is written to the pixel at which `max_pool` found the maximum, and the other three of the 2 × 2 pixels are 0;
            `bed_of_nails`: each value is written to the upper left of 2 × 2 pixels, and the other three pixels are 0;
            `nearest`: each value is repeated four times; `bilinear`: bilinear interpolation. A convolution follows every method
            except `transposed`.
        normalise: whether batch normalisation follows every convolution except the last.

    Shape:
        [N, C, H, W] -> [N, C, H, W], for N patches of C channels, height H and width W.
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
            convolution: nn.Conv2d | nn.ConvTranspose2d = (
                nn.ConvTranspose2d(i, o, kernel_size, 2, kernel_size // 2, output_padding=1)
                if up == "transposed"
                else nn.Conv2d(i, o, kernel_size, 1, kernel_size // 2)
            )
            last = len(self.decoder) == levels - 1
            self.decoder.append(convolution if last else _layer(convolution, normalise))
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, items: Tensor) -> Tensor:
        """Encode patches and reconstruct them. Shape: [N, C, H, W] -> [N, C, H, W]."""
        return self._decode(*self._encode(items))

    def encode(self, items: Tensor) -> Tensor:
        """Compute the codes of N patches. Shape: [N, C, H, W] -> [N, *code_shape]; `code_shape`: shape of a code."""
        return self._encode(items)[0]

    def decode(self, code: Tensor) -> Tensor:
        """Reconstruct patches from their codes.

        Args:
            code: codes of the patches.

        Shape:
            [N, *code_shape] -> [N, C, H, W].

        Returns:
            The patches.

        Raises:
            InputError: `up` is `max_unpool`, which needs the positions of the maxima in addition to the code.
        """
        if self.up == "max_unpool":
            hint = "max_unpool also needs the positions of the maxima. The code does not contain these positions."
            raise InputError(
                "ConvolutionalAutoencoder.up",
                "this upsampling method cannot reconstruct a patch from its code alone",
                found=self.up,
                expected="another upsampling method",
                hint=hint,
            )
        return self._decode(code, [])

    def _encode(self, items: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the codes of patches, and a list with the positions of the maxima of each level for `max_unpool`."""
        x, positions = items.contiguous(memory_format=torch.channels_last), []
        for layer in self.encoder:
            x = layer(x)
            if self.pools and self.up == "max_unpool":
                x, indices = functional.max_pool2d(x, 2, return_indices=True)
                positions.append(indices)
            elif self.pools:
                x = functional.max_pool2d(x, 2)
        return x, positions

    def _decode(self, x: Tensor, positions: list[Tensor]) -> Tensor:
        for layer in self.decoder:
            if self.up == "max_unpool":
                x = max_unpool(x, positions.pop())
            elif self.up == "bed_of_nails":
                x = bed_of_nails(x)
            x = layer(widened(x, self.up))
        return x


def widened(x: Tensor, up: Up) -> Tensor:
    """Double height and width of a feature map by interpolation if `up` is `nearest` or `bilinear`, else do nothing.

    Args:
        x: feature map.
        up: method of doubling, as in `ConvolutionalAutoencoder`.

    Shape:
        [N, C, H, W] -> [N, C, 2H, 2W], or [N, C, H, W] if `up` is another method.

    Returns:
        The doubled feature map; the unchanged feature map if `up` is another method.
    """
    if up == "nearest":
        return functional.interpolate(x, scale_factor=2, mode="nearest")
    if up == "bilinear":
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return x


def max_unpool(x: Tensor, positions: Tensor) -> Tensor:
    """Double height and width: write each value to the pixel in `positions`, and 0 to all other pixels.

    Args:
        x: feature map.
        positions: index of the pixel for each value: the position of the maximum, as returned by `max_pool2d`.

    Shape:
        each [N, C, H, W] -> [N, C, 2H, 2W].

    Returns:
        The doubled feature map.
    """
    return functional.max_unpool2d(x, positions, [2, 2])


def bed_of_nails(x: Tensor) -> Tensor:
    """Double height and width: write each value to the upper left of 2 × 2 pixels, and 0 to the other three pixels.

    Shape: [N, C, H, W] -> [N, C, 2H, 2W].
    """
    n, c, h, w = x.shape
    nails = x.new_zeros(n, c, 2 * h, 2 * w)
    nails[..., ::2, ::2] = x
    return nails


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d, normalise: bool) -> nn.Sequential:
    norm = [nn.BatchNorm2d(convolution.out_channels)] if normalise else []
    return nn.Sequential(convolution, *norm, nn.ReLU(inplace=True))


def _check(shape: Sequence[int], channels: Sequence[int], kernel_size: int, down: str, up: str) -> None:
    """Raise InputError if an argument of `ConvolutionalAutoencoder` is out of range."""
    name = ConvolutionalAutoencoder.__name__
    for argument, value, known in (("down", down, get_args(Down)), ("up", up, get_args(Up))):
        if value not in known:
            raise InputError(f"{name}.{argument}", found=value, expected=f"one of {', '.join(known)}")
    if up == "max_unpool" and down != "max_pool":
        raise InputError(f"{name}.down", "up=max_unpool needs another downsampling method", found=down, expected="max_pool")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise InputError(f"{name}.kernel_size", found=kernel_size, expected="a positive odd number")
    if not channels or min(channels) < 1:
        raise InputError(f"{name}.channels", found=list(channels), expected="a positive number for each level")
    cell = 2 ** len(channels)
    for side, size in zip(("height", "width"), shape[1:], strict=True):
        if size % cell:
            nearest = " or ".join(str(n) for n in (size // cell * cell, -(-size // cell) * cell) if n)
            problem = f"the {side} of a patch cannot be halved {len(channels)} times"
            raise InputError(f"{name}.channels", problem, found=f"{side} {size}", expected=f"{side} {nearest}")
    widest = cell**2 * shape[0]
    if channels[-1] > widest:
        problem, expected = "the last level has too many channels", f"at most {widest} channels"
        hint = f"With a code larger than the {math.prod(shape)} values of a patch, an autoencoder can copy its input."
        raise InputError(f"{name}.channels", problem, found=channels[-1], expected=expected, hint=hint)
