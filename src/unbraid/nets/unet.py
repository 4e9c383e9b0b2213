"""U-Net for singing-voice separation (Jansson et al., ISMIR 2017).

Convolutions of 5 × 5 with stride 2 halve the spectrogram in time and frequency. Transposed convolutions double the spectrogram.
The output is the mask of one target, limited to [0, 1] by a sigmoid. `skips=False` is the baseline of the paper, a network
without skip connections. With `sources`, one network estimates the masks of several targets. All layers are local, so chunks of
any length can be processed. If the separation needs more context than the receptive field, use a recurrent network.
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
    """Estimate a mask of the same shape as the magnitudes, or the masks of several sources.

    Args:
        sources: number S of masks. None: one mask, and the output lacks the source axis.
        channels: number of output channels of each encoder layer. Each layer has stride 2.
        audio_channels: number of channels of the magnitudes, 1 (mono) or 2 (stereo).
        kernel_size: height and width of all kernels in bins and frames, an odd number.
        skips: whether each encoder output is concatenated to the decoder input of the same size.
        dropout: dropout probability of the first `dropout_layers` decoder layers.
        dropout_layers: number of decoder layers with dropout.
        drop_bin: bin that the network leaves out, because n_fft / 2 + 1 bins cannot be halved: `dc` (0 Hz) or `nyquist`
            (highest bin). The mask of this bin is copied from the adjacent bin. The paper does not specify which bin is left
            out.
        up: method of doubling height and width. `transposed`: transposed convolutions as in the paper; `nearest`, `bilinear`:
            interpolation followed by a convolution, against checkerboard artefacts (Odena, Dumoulin & Olah, 2016).
        masks: `sigmoid`: each mask is in [0, 1]; `softmax`: the masks of all sources also sum to one.

    Shape:
        [B, C, F, T] -> [B, C, F, T], or [B, S, C, F, T] for S masks, in [0, 1]. B: batch, C: channels, F: frequency bins, T:
        frames. F - 1 is a multiple of `2 ** len(channels)`, and T is at least `2 ** len(channels)`.

    Raises:
        InputError: an argument is out of range, or the magnitudes have an unsuitable number of bins or frames.
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
            raise InputError("UNet.kernel_size", found=kernel_size, expected="a positive odd number")
        if not channels or min(channels) < 1:
            raise InputError("UNet.channels", found=list(channels), expected="a positive number for each layer")
        if not 0 <= dropout_layers <= len(channels):
            raise InputError("UNet.dropout_layers", found=dropout_layers, expected=f"0 to {len(channels)} layers")
        for name, value, known in (("up", up, get_args(Up)), ("masks", masks, get_args(Masks))):
            if value not in known:
                raise InputError(f"UNet.{name}", found=value, expected=f"one of {', '.join(known)}")
        if masks == "softmax" and (sources or 1) < 2:
            expected = "sigmoid"
            raise InputError(
                "UNet.masks",
                "these masks need a network with at least two sources",
                found=masks,
                expected=expected,
                hint="For softmax, separate all targets with one network, as model=unet_softmax does.",
            )
        self.sources, self.skips, self.drop_bin, self.up, self.masks = sources, skips, drop_bin, up, masks
        self.stride = 2 ** len(channels)  # in frames, of the coarsest level
        interpolation = 0 if up == "transposed" else 2
        self.receptive_field = (2 * (kernel_size // 2) + interpolation) * (self.stride - 1)  # frames on either side
        ins = [audio_channels, *channels[:-1]]
        self.encoder = nn.ModuleList(_down(i, o, kernel_size) for i, o in zip(ins, channels, strict=True))
        self.decoder = nn.ModuleList()
        for depth, width in enumerate([*ins[:0:-1], audio_channels * (sources or 1)]):
            decoder_ins = channels[-1 - depth] * (2 if skips and depth > 0 else 1)
            last = depth == len(ins) - 1
            self.decoder.append(_up(decoder_ins, width, kernel_size, dropout if depth < dropout_layers else 0.0, last, up))
        convert_conv2d_weight_memory_format(self, torch.channels_last)  # faster on CPUs and on tensor cores

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Estimate the masks from the magnitudes of a mixture. Shape: [B, C, F, T] -> [B, C, F, T] or [B, S, C, F, T]."""
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
    """Remove one frequency bin, and append silent frames until the number of frames is a multiple of `2 ** levels`.

    Args:
        magnitudes: magnitudes of the mixture.
        levels: number of encoder layers of the network. Each encoder layer halves the spectrogram.
        drop_bin: bin to remove.

    Shape:
        [B, C, F, T] -> [B, C, F - 1, T or more], with F frequency bins and T frames.

    Returns:
        The cropped and padded magnitudes.

    Raises:
        InputError: F - 1 is not a multiple of `2 ** levels`, or there are fewer than `2 ** levels` frames.
    """
    bins, frames = magnitudes.shape[-2:]
    stride = 2**levels
    if (bins - 1) % stride:
        raise InputError("n_fft", found=2 * (bins - 1), expected=f"a multiple of {2 * stride} for a U-Net of {levels} levels")
    if frames < stride:
        expected = f"at least {stride} frames for a U-Net of {levels} levels"
        raise InputError("chunk_seconds", "the chunk is too short", found=f"{frames} frames", expected=expected)
    cropped = magnitudes[..., 1:, :] if drop_bin == "dc" else magnitudes[..., :-1, :]
    return functional.pad(cropped, (0, up_to(frames, stride)))


def restore(values: Tensor, frames: int, drop_bin: DropBin) -> Tensor:
    """Undo `crop`: remove the padding, and insert the removed bin with the values of the adjacent bin.

    Args:
        values: output of the network for cropped magnitudes.
        frames: number of frames before `crop`.
        drop_bin: bin that `crop` removed.

    Shape:
        [B, C, F - 1, T or more] -> [B, C, F, T], with F frequency bins and T frames.

    Returns:
        The values at all bins and frames.
    """
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
