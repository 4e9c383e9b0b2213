"""The U-Net for segmentation (Ronneberger, Fischer & Brox, MICCAI 2015), here of spectrograms: a class for every bin.

Two 3 x 3 convolutions on each level, max-pooling down, transposed convolutions up, the skips concatenated. Unlike the paper's,
convolutions are padded, so that what comes out is as large as what goes in. For masks that are trained on the spectrograms
themselves take `unbraid.nets.unet`.
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
    """Magnitudes to the logits of classes.

    Args:
        classes: how many.
        channels: of the levels, from full resolution down; each but the first halves both directions.
        audio_channels: channels of the magnitudes, which are decided on together.
        drop_bin: the bin that halving leaves over, see `UNet`.

    Shape:
        [B, C, F, T] -> [B, classes, F, T], where F - 1 is a multiple of `2 ** (len(channels) - 1)`.
    """

    def __init__(
        self, classes: int, channels: Sequence[int] = (16, 32, 64, 128), audio_channels: int = 1, drop_bin: DropBin = "dc"
    ) -> None:
        super().__init__()
        if len(channels) < 2 or min(channels) < 1:
            raise InputError(f"channels must be at least two positive numbers, found {list(channels)}")
        self.levels, self.drop_bin = len(channels) - 1, drop_bin
        self.stride = 2**self.levels  # in frames, of the map at the bottom
        # Two frames to either side for each level, twice for all but the lowest, and one for each pooling and widening.
        self.receptive_field = 2 * self.stride + 6 * (self.stride - 1)
        self.down = nn.ModuleList(_level(i, o) for i, o in pairwise([audio_channels, *channels]))
        self.widen = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2) for i, o in pairwise(channels[::-1]))
        self.up = nn.ModuleList(_level(2 * o, o) for o in channels[-2::-1])
        self.decide = nn.Conv2d(channels[0], classes, 1)
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, magnitudes: Tensor) -> Tensor:
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
