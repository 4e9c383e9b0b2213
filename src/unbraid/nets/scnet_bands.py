"""Encoder and decoder layers of SCNet: convolutions that compress or expand each frequency band by the stride of the band."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.runs.errors import InputError, check_counts


class SparseBands:
    """Divide a spectrum into frequency bands, which are compressed by different strides.

    Args:
        shares: share of the bins in each band, starting at 0 Hz.
        strides: number of bins that a compression reduces to one, for each band.
        kernels: number of bins that a compression reads, for each band.
        depths: number of convolution modules after a compression, for each band.

    Raises:
        InputError: the lists have different lengths, or a value is out of range.
    """

    def __init__(self, shares: Sequence[float], strides: Sequence[int], kernels: Sequence[int], depths: Sequence[int]) -> None:
        if not shares or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-3:
            raise InputError("SCNet.band_shares", found=list(shares), expected="positive shares with sum 1")
        for name, values, least in (("strides", strides, 1), ("kernels", kernels, 1), ("depths", depths, 0)):
            if len(values) != len(shares) or min(values) < least:
                expected = f"{len(shares)} numbers of at least {least}, one for each band"
                raise InputError(f"SCNet.band_{name}", found=list(values), expected=expected)
        if any(stride not in (1, kernel) for stride, kernel in zip(strides, kernels, strict=True)):
            expected = f"the same values as in band_strides {list(strides)}"
            hint = "Only a band of stride 1 can have another kernel."
            raise InputError("SCNet.band_kernels", found=list(kernels), expected=expected, hint=hint)
        self.shares, self.strides, self.kernels, self.depths = shares, strides, kernels, depths

    def sizes(self, bins: int) -> list[int]:
        """Return the number of bins of each band, for a spectrum of `bins` bins.

        Args:
            bins: number of bins of all bands together.

        Returns:
            Number of bins of each band.

        Raises:
            InputError: a band is empty.
        """
        edges = [0, *(math.ceil(bins * share) for share in accumulate(self.shares[:-1])), bins]
        sizes = [end - start for start, end in pairwise(edges)]
        if min(sizes) < 1:
            hint = "Use fewer compressions, smaller strides or a longer n_fft."
            raise InputError("SCNet.band_shares", "a band is empty", found=sizes, expected="at least 1 bin in each", hint=hint)
        return sizes

    def compressed(self, bins: int) -> list[int]:
        """Return the number of bins of each band after a compression, for a spectrum of `bins` bins."""
        return [-(-size // stride) for size, stride in zip(self.sizes(bins), self.strides, strict=True)]


class ConvolutionModule(nn.Sequential):
    """Apply three convolutions over time (gated with fewer channels, depthwise, pointwise), and add the input to the result.

    Args:
        channels: number D of channels.
        compress: factor by which the number of channels is reduced.
        kernel: kernel size in frames, an odd number.

    Shape:
        [N, D, T] -> [N, D, T]. N: sequences, T: frames.
    """

    def __init__(self, channels: int, compress: int, kernel: int) -> None:
        hidden, half = channels // compress, kernel // 2
        super().__init__(
            nn.GroupNorm(1, channels),
            nn.Conv1d(channels, 2 * hidden, kernel, padding=half),
            nn.GLU(dim=1),
            nn.Conv1d(hidden, hidden, kernel, padding=half, groups=hidden),
            nn.GroupNorm(1, hidden),
            nn.SiLU(),
            nn.Conv1d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolutions to sequences, and add the input. Shape: [N, D, T] -> [N, D, T]."""
        return x + super().forward(x)


class Compression(nn.Module):
    """Compress each band by a convolution over frequency, process the compressed bins over time, and mix all bands.

    Args:
        ins: number of input channels.
        outs: number D of output channels.
        bins: number F of input bins.
        bands: frequency bands.
        compress: factor by which a convolution module reduces the number of channels.
        kernel: kernel size of the convolution modules in frames, an odd number.

    Shape:
        [B, ins, F, T] -> [B, D, G, T] twice: output and skip connection. G: compressed bins.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, ins: int, outs: int, bins: int, bands: SparseBands, compress: int, kernel: int) -> None:
        super().__init__()
        check_counts(compress=compress)
        if outs < compress:
            expected = f"at least {compress} channels in each layer, the value of SCNet.compress"
            raise InputError("SCNet.channels", found=outs, expected=expected)
        if kernel < 1 or kernel % 2 == 0:
            raise InputError("SCNet.conv_kernel", found=kernel, expected="an odd number")
        self.sizes = bands.sizes(bins)
        self.paddings = []
        for size, stride, band_kernel in zip(self.sizes, bands.strides, bands.kernels, strict=True):
            total = band_kernel - 1 if stride == 1 else -size % stride
            self.paddings.append((total // 2, total - total // 2))
        self.compress = nn.ModuleList(
            nn.Conv2d(ins, outs, (size, 1), (stride, 1)) for size, stride in zip(bands.kernels, bands.strides, strict=True)
        )
        self.bands = nn.ModuleList(
            nn.Sequential(*(ConvolutionModule(outs, compress, kernel) for _ in range(depth))) for depth in bands.depths
        )
        self.mix = nn.Conv2d(outs, outs, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compress a spectrum. Shape: [B, ins, F, T] -> [B, D, G, T] twice: output and skip connection."""
        # b batch, d channel, f bin, t frame
        outputs = []
        for part, padding, compress, band in zip(
            x.split(self.sizes, dim=2), self.paddings, self.compress, self.bands, strict=True
        ):
            y = compress(functional.pad(part, (0, 0, *padding)))
            sequences = band(y.transpose(1, 2).flatten(0, 1))  # (b f) d t
            outputs.append(functional.gelu(sequences).unflatten(0, (y.shape[0], y.shape[2])).transpose(1, 2))
        skip = torch.cat(outputs, dim=2)
        return self.mix(skip), skip


class Expansion(nn.Module):
    """Add a skip connection, mix all bands by a gated convolution, and expand each band by a transposed convolution.

    The authors' code applies the gated convolution to two copies of the input. This class adds the two halves of the
    weights instead. The result is the same, with half the operations.

    Args:
        ins: number D of input channels.
        outs: number of output channels.
        bins: number F of output bins.
        bands: frequency bands.

    Shape:
        [B, D, G, T] twice, input and skip connection -> [B, outs, F, T]. G: compressed bins.
    """

    direct_layers: ClassVar = ("mix",)

    def __init__(self, ins: int, outs: int, bins: int, bands: SparseBands) -> None:
        super().__init__()
        self.sizes, self.compressed = bands.sizes(bins), bands.compressed(bins)
        self.mix = nn.Conv2d(2 * ins, 2 * ins, 3, padding=1)
        self.expand = nn.ModuleList(
            nn.ConvTranspose2d(ins, outs, (size, 1), (stride, 1))
            for size, stride in zip(bands.kernels, bands.strides, strict=True)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Expand a spectrum. Shape: [B, D, G, T] twice -> [B, outs, F, T]."""
        weight = torch.add(*self.mix.weight.chunk(2, dim=1))
        x = functional.glu(functional.conv2d(x + skip, weight, self.mix.bias, padding=1), dim=1)
        outputs = []
        for part, size, expand in zip(x.split(self.compressed, dim=2), self.sizes, self.expand, strict=True):
            y = expand(part)
            outputs.append(y.narrow(2, (y.shape[2] - size) // 2, size))
        return torch.cat(outputs, dim=2)
