"""U-Net for segmentation (Ronneberger, Fischer & Brox, MICCAI 2015), applied to spectrograms: one class for each bin.

Each level has two 3 × 3 convolutions. Max-pooling halves the feature map, transposed convolutions double it, and skip
connections are concatenated. Unlike in the paper, convolutions are padded, so that output and input have the same size. To
estimate masks instead of classes, use `unbraid.nets.unet`.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from unbraid.nets.unet import DropBin, crop, restore
from unbraid.runs.errors import InputError


class SegmentationUNet(nn.Module):
    """Estimate the class of each time-frequency bin from magnitudes. The output has one logit for each class and bin.

    Args:
        classes: number of classes.
        channels: number of channels of each level, starting at full resolution. Each level after the first halves the numbers
            of bins and frames.
        audio_channels: number of channels of the magnitudes. All channels share one class in each bin.
        drop_bin: bin that the network leaves out, because n_fft / 2 + 1 bins cannot be halved: `dc` (0 Hz) or `nyquist`
            (highest bin). The logits of this bin are copied from the adjacent bin.

    Shape:
        [B, C, F, T] -> [B, classes, F, T]; F - 1 is a multiple of `2 ** (len(channels) - 1)`. B: batch, C: channels, F:
        frequency bins, T: frames.

    Raises:
        InputError: `channels` has fewer than two levels, or a level has fewer than one channel.
    """

    def __init__(
        self, classes: int, channels: Sequence[int] = (16, 32, 64, 128), audio_channels: int = 1, drop_bin: DropBin = "dc"
    ) -> None:
        super().__init__()
        if len(channels) < 2 or min(channels) < 1:
            raise InputError("SegmentationUNet.channels", found=list(channels), expected="at least two positive numbers")
        self.levels, self.drop_bin = len(channels) - 1, drop_bin
        self.stride = 2**self.levels  # in frames, of the coarsest level
        # Two frames on each side per level and direction, and one for each pooling and transposed convolution.
        self.receptive_field = 2 * self.stride + 6 * (self.stride - 1)
        self.down = nn.ModuleList(_level(i, o) for i, o in pairwise([audio_channels, *channels]))
        self.widen = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2) for i, o in pairwise(channels[::-1]))
        self.up = nn.ModuleList(_level(2 * o, o) for o in channels[-2::-1])
        self.decide = nn.Conv2d(channels[0], classes, 1)
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Estimate the logits of the class of each bin. Shape: [B, C, F, T] -> [B, classes, F, T]."""
        x = crop(magnitudes, self.levels, self.drop_bin).contiguous(memory_format=torch.channels_last)
        skips = []
        for number, level in enumerate(self.down):
            x = level(functional.max_pool2d(x, 2) if number else x)
            skips.append(x)
        for widen, level, skip in zip(self.widen, self.up, skips[-2::-1], strict=True):
            x = level(torch.cat([skip, widen(x)], dim=1))
        return restore(self.decide(x).float(), magnitudes.shape[-1], self.drop_bin)


def _level(ins: int, outs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in ((ins, outs), (outs, outs)):
        layers += [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
