"""The U-Net of singing-voice separation (Jansson et al., ISMIR 2017), after Ronneberger et al. 2015.

Strided 5×5 convolutions halve the spectrogram in both directions, transposed ones double it again, and a sigmoid gives the
mask of ONE target. `skips=False` is the paper's baseline: the same network without skip connections. Told a number of sources,
one network gives the masks of all of them. Everything is local, so any number of frames goes through; for music that needs
minutes of context take a recurrent net instead.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from unbraid.dsp.stft import up_to
from unbraid.nets.convolutional import widened
from unbraid.nets.strided_conv import Downsampling, Dropout, Upsampling, joined
from unbraid.runs.errors import InputError

DropBin = Literal["dc", "nyquist"]
Masks = Literal["sigmoid", "softmax"]
Up = Literal["transposed", "nearest", "bilinear"]


class UNet(nn.Module):
    """Magnitudes to a soft mask of the same shape, or to the masks of several sources.

    Args:
        sources: how many have masks; None: one, without an axis of its own.
        channels: output channels of the encoder's layers, one stride-2 layer each.
        audio_channels: channels of the magnitudes (1 mono, 2 stereo).
        kernel_size: odd size of every kernel in bins and frames.
        skips: concatenate each encoder output to the decoder's input of the same size.
        dropout: probability in the first `dropout_layers` layers of the decoder.
        dropout_layers: how many decoder layers drop out.
        drop_bin: an STFT has one bin more than halving can use. The paper does not say which one it leaves out; the mask
            of the bin left out is its neighbour's.
        up: `transposed` convolutions double the size, as the paper's do; or convolutions of what `nearest` or `bilinear`
            interpolation has doubled, which leave no checkerboard (Odena, Dumoulin & Olah, 2016).
        masks: `sigmoid`: each by itself; `softmax`: those of all sources sum to one.

    Shape:
        [B, C, F, T] -> [B, C, F, T] or [B, S, C, F, T] in [0, 1], where F - 1 is a multiple of `2 ** len(channels)`; T may be
        any from that number on.
    """

    def __init__(
        self,
        sources: int | None = None,
        channels: Sequence[int] = (16, 32, 64, 128, 256, 512),
        audio_channels: int = 1,
        kernel_size: int = 5,
        skips: bool = True,
        dropout: float = 0.5,
        dropout_layers: int = 3,
        drop_bin: DropBin = "dc",
        up: Up = "transposed",
        masks: Masks = "sigmoid",
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise InputError(f"a U-Net's kernel_size must be odd, found {kernel_size}")
        if not channels or min(channels) < 1:
            raise InputError(f"a U-Net's channels must be one positive number for each layer, found {list(channels)}")
        if not 0 <= dropout_layers <= len(channels):
            raise InputError(f"a U-Net's dropout_layers must lie in [0, {len(channels)}], found {dropout_layers}")
        for name, value, known in (("up", up, get_args(Up)), ("masks", masks, get_args(Masks))):
            if value not in known:
                raise InputError(f"a U-Net's {name} must be one of {', '.join(known)}, found {value}")
        if masks == "softmax" and (sources or 1) < 2:
            raise InputError("masks=softmax is over several sources, and there is one; take a separator of all targets at once")
        self.sources, self.skips, self.drop_bin, self.up, self.masks = sources, skips, drop_bin, up, masks
        self.stride = 2 ** len(channels)  # in frames, of the map at the bottom
        wider = 0 if up == "transposed" else 2  # interpolation reaches that much farther
        self.receptive_field = (2 * (kernel_size // 2) + wider) * (
            self.stride - 1
        )  # frames on either side that a frame's mask hears
        ins = [audio_channels, *channels[:-1]]
        self.encoder = nn.ModuleList(_down(i, o, kernel_size) for i, o in zip(ins, channels, strict=True))
        self.decoder = nn.ModuleList()
        for depth, width in enumerate([*ins[:0:-1], audio_channels * (sources or 1)]):
            heard = channels[-1 - depth] * (2 if skips and depth > 0 else 1)
            last = depth == len(ins) - 1
            self.decoder.append(_up(heard, width, kernel_size, dropout if depth < dropout_layers else 0.0, last, up))
        convert_conv2d_weight_memory_format(self, torch.channels_last)  # faster on CPU, and what tensor cores want

    def forward(self, magnitudes: Tensor) -> Tensor:
        # b batch, s source, c channel, f bin, t frame
        x = crop(magnitudes, len(self.encoder), self.drop_bin).contiguous(memory_format=torch.channels_last)
        levels = []
        for down in self.encoder:
            x = down(x)
            levels.append(x)
        for depth, up in enumerate(self.decoder):
            maps = [x, levels[-1 - depth]] if self.skips and depth > 0 else [x]
            x = up(maps if self.up == "transposed" else widened(joined(maps), self.up))
        x = restore(x.float(), magnitudes.shape[-1], self.drop_bin)
        x = x if self.sources is None else x.unflatten(1, (self.sources, -1))
        return x.softmax(dim=1) if self.masks == "softmax" else torch.sigmoid(x)


def crop(magnitudes: Tensor, levels: int, drop_bin: DropBin) -> Tensor:
    """Leave out one bin, and pad the frames with silence until `levels` halvings leave nothing over.

    Shape: [B, C, F, T] -> [B, C, F - 1, T or more].
    """
    bins, frames = magnitudes.shape[-2:]
    stride = 2**levels
    if (bins - 1) % stride:
        raise InputError(
            f"a U-Net of {levels} layers needs an n_fft that is a multiple of {2 * stride}, found {2 * (bins - 1)}"
        )
    if frames < stride:
        raise InputError(f"the chunk is too short: a U-Net of {levels} layers needs at least {stride} frames, found {frames}")
    kept = magnitudes[..., 1:, :] if drop_bin == "dc" else magnitudes[..., :-1, :]
    return functional.pad(kept, (0, up_to(frames, stride)))


def restore(values: Tensor, frames: int, drop_bin: DropBin) -> Tensor:
    """The inverse of `crop`; the bin that was left out has its neighbour's values."""
    one_bin = (1, 0) if drop_bin == "dc" else (0, 1)
    return functional.pad(values.narrow(-1, 0, frames), (0, 0, *one_bin), mode="replicate")


def _down(ins: int, outs: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(Downsampling(ins, outs, kernel_size), nn.BatchNorm2d(outs), nn.LeakyReLU(0.2, inplace=True))


def _up(ins: int, outs: int, kernel_size: int, dropout: float, last: bool, up: Up) -> nn.Sequential:
    convolution = (
        Upsampling(ins, outs, kernel_size, last)
        if up == "transposed"
        else nn.Conv2d(ins, outs, kernel_size, padding=kernel_size // 2, bias=last)
    )
    if last:
        return nn.Sequential(convolution)
    layers = [convolution, nn.BatchNorm2d(outs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, Dropout(dropout)) if dropout else nn.Sequential(*layers)
