"""TFC-TDF v3, the network of MDX23C (Kim, Lee & Jung, "Sound demixing challenge 2023", arXiv:2306.09382).

The network is a U-Net over complex spectra. Each block has convolutions over time and frequency (TFC) and fully connected
layers over frequency (TDF: Choi et al., ISMIR 2020). The spectrum is divided into subbands, which are stacked as channels. For
fewer parameters, use `unbraid.nets.scnet`.
"""

import re

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.stft import STFT
from unbraid.nets.gradient_checkpointing import run_block
from unbraid.runs.errors import InputError, check_counts


class TFCTDF(nn.Module):
    """Estimate the waveforms of all sources from the waveform of a mixture.

    Args:
        sources: number of sources.
        audio_channels: number of channels of the waveforms.
        n_fft: length of the Hann window and of the transform in samples.
        hop_length: step between frames in samples.
        bins: number of frequency bins that the network processes, starting at 0 Hz. Higher bins of the estimates are zero.
        subbands: number of subbands. The bins are divided into subbands of equal size.
        channels: number of channels of the first level.
        growth: number of channels that each level adds.
        levels: number of levels of the U-Net, without the lowest level.
        blocks: number of blocks of a level.
        time_stride: factor by which each level reduces the number of frames.
        frequency_stride: factor by which each level reduces the number of bins.
        bottleneck: factor by which the fully connected layers reduce the number of bins.
        norm: normalisation. `instance`, `batch`, `none`, or `group` and the number of groups, such as `group8`.
        activation: activation function. `gelu`, `relu`, or `elu` and a factor for negative values, such as `elu1.0`.
        gradient_checkpointing: whether the backward pass computes activations again, to save memory.

    Shape:
        [B, C, T] -> [B, S, C, T]. B: batch, S: sources, C: channels, T: samples. Chunks can have any length. Chunks are padded
        with silence, unless `T / hop_length + 1` is a multiple of `time_stride ** levels`.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        sources: int,
        audio_channels: int = 2,
        n_fft: int = 8192,
        hop_length: int = 1024,
        bins: int = 4096,
        subbands: int = 4,
        channels: int = 128,
        growth: int = 128,
        levels: int = 5,
        blocks: int = 2,
        time_stride: int = 2,
        frequency_stride: int = 2,
        bottleneck: int = 4,
        norm: str = "instance",
        activation: str = "gelu",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_counts(
            hop_length=hop_length, subbands=subbands, channels=channels, levels=levels, blocks=blocks, time_stride=time_stride,
            frequency_stride=frequency_stride, bottleneck=bottleneck,
        )  # fmt: skip
        _check_bins(bins, n_fft, subbands * frequency_stride**levels, bottleneck)
        if growth < 0:
            raise InputError("TFCTDF.growth", found=growth, expected="at least 0")
        self.sources, self.bins, self.subbands, self.checkpointing = sources, bins, subbands, gradient_checkpointing
        self.stft, self.stride, self.frame_unit = STFT(n_fft, hop_length, "reflection"), hop_length, time_stride**levels
        ins, width, height = 2 * audio_channels * subbands, channels, bins // subbands
        strides = (time_stride, frequency_stride)
        self.first = nn.Conv2d(ins, width, 1, bias=False)
        self.encoder, self.down, self.up, self.decoder = (nn.ModuleList() for _ in range(4))
        for _ in range(levels):
            self.encoder.append(_level(width, width, blocks, height, bottleneck, norm, activation))
            convolution: nn.Module = nn.Conv2d(width, width + growth, strides, strides, bias=False)
            self.down.append(_normed(width, norm, activation, convolution))
            width, height = width + growth, height // frequency_stride
        self.lowest = _level(width, width, blocks, height, bottleneck, norm, activation)
        for _ in range(levels):
            convolution = nn.ConvTranspose2d(width, width - growth, strides, strides, bias=False)
            self.up.append(_normed(width, norm, activation, convolution))
            width, height = width - growth, height * frequency_stride
            self.decoder.append(_level(2 * width, width, blocks, height, bottleneck, norm, activation))
        self.last = nn.Sequential(
            nn.Conv2d(width + ins, width, 1, bias=False),
            _activation(activation),
            nn.Conv2d(width, sources * ins, 1, bias=False),
        )

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate mixtures [batch, channels, samples] into sources [batch, sources, channels, samples]."""
        # b batch, s source, c channel, p real and imaginary part, k subband, f bin of a subband, t frame, n sample
        samples = mixture.shape[-1]
        padded = self.padded_length(samples)
        spectra = self.stft(functional.pad(mixture, (0, padded - samples)))
        parts = torch.view_as_real(spectra[:, :, : self.bins]).movedim(-1, 2)  # b c p (k f) t
        mixtures = parts.unflatten(3, (self.subbands, -1)).flatten(1, 3)  # b (c p k) f t
        first = self.first(mixtures)
        x = self._unet(first.mT).mT * first
        x = self.last(torch.cat([mixtures, x], dim=1)).float()
        x = x.unflatten(1, (self.sources, -1, 2, self.subbands)).flatten(4, 5).movedim(3, -1)  # b s c (k f) t p
        estimates = functional.pad(torch.view_as_complex(x.contiguous()), (0, 0, 0, spectra.shape[2] - self.bins))
        return self.stft.inverse(estimates, padded)[..., :samples]

    def _unet(self, x: Tensor) -> Tensor:
        """Run the U-Net. Shape: [B, D, T, F] -> [B, D, T, F], with D = `channels`."""
        skips = []
        for level, down in zip(self.encoder, self.down, strict=True):
            x = self._run(level, x)
            skips.append(x)
            x = down(x)
        x = self._run(self.lowest, x)
        for up, level in zip(self.up, self.decoder, strict=True):
            x = self._run(level, torch.cat([up(x), skips.pop()], dim=1))
        return x

    def _run(self, level: nn.Module, x: Tensor) -> Tensor:
        for block in level.children():
            x = run_block(block, x, checkpointing=self.checkpointing)
        return x

    def padded_length(self, samples: int) -> int:
        """Return the length of a mixture after padding. The number of frames is then a multiple of `time_stride ** levels`."""
        hop, unit = self.stft.hop_length, self.frame_unit
        hops = max(-(-samples // hop), self.stft.n_fft // 2 // hop + 1)  # reflection needs more than half a window
        return (-(-(hops + 1) // unit) * unit - 1) * hop


class TFCTDFBlock(nn.Module):
    """Apply a convolution, fully connected layers over frequency with a residual connection, and another convolution.

    Args:
        ins: number of input channels.
        channels: number D of output channels.
        bins: number F of frequency bins.
        bottleneck: factor by which the fully connected layers reduce the number of bins.
        norm: normalisation, see `TFCTDF`.
        activation: activation function, see `TFCTDF`.

    Shape:
        [B, ins, T, F] -> [B, D, T, F]. B: batch, T: frames.
    """

    def __init__(self, ins: int, channels: int, bins: int, bottleneck: int, norm: str, activation: str) -> None:
        super().__init__()
        hidden = bins // bottleneck
        self.tfc1 = _normed(ins, norm, activation, nn.Conv2d(ins, channels, 3, padding=1, bias=False))
        self.tdf = nn.Sequential(
            *_normed(channels, norm, activation, nn.Linear(bins, hidden, bias=False)),
            *_normed(channels, norm, activation, nn.Linear(hidden, bins, bias=False)),
        )
        self.tfc2 = _normed(channels, norm, activation, nn.Conv2d(channels, channels, 3, padding=1, bias=False))
        self.shortcut = nn.Conv2d(ins, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to feature maps. Shape: [B, ins, T, F] -> [B, D, T, F]."""
        y = self.tfc1(x)
        return self.tfc2(y + self.tdf(y)) + self.shortcut(x)


def _check_bins(bins: int, n_fft: int, unit: int, bottleneck: int) -> None:
    if not 0 < bins <= n_fft // 2 + 1 or bins % unit:
        expected = f"at most {n_fft // 2 + 1} and a multiple of {unit} (subbands * frequency_stride ** levels)"
        raise InputError("TFCTDF.bins", found=bins, expected=expected)
    if bottleneck > bins // unit:
        expected = f"at most {bins // unit} (the number of bins of the lowest level)"
        raise InputError("TFCTDF.bottleneck", found=bottleneck, expected=expected)


def _level(ins: int, channels: int, blocks: int, bins: int, bottleneck: int, norm: str, activation: str) -> nn.Sequential:
    sizes = [ins, *[channels] * (blocks - 1)]
    return nn.Sequential(*(TFCTDFBlock(size, channels, bins, bottleneck, norm, activation) for size in sizes))


def _normed(channels: int, norm: str, activation: str, layer: nn.Module) -> nn.Sequential:
    """Chain a normalisation of `channels` channels, an activation function, and the given layer."""
    return nn.Sequential(_norm(norm, channels), _activation(activation), layer)


def _norm(norm: str, channels: int) -> nn.Module:
    if groups := re.fullmatch(r"group(\d+)", norm):
        n_groups = int(groups[1])
        if n_groups < 1 or channels % n_groups:
            raise InputError("TFCTDF.norm", found=norm, expected=f"a number of groups that divides {channels} channels")
        return nn.GroupNorm(n_groups, channels)
    if norm == "instance":
        return nn.GroupNorm(channels, channels)  # the same function as InstanceNorm2d
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "none":
        return nn.Identity()
    raise InputError("TFCTDF.norm", found=norm, expected="instance, batch, none, or groupN for N groups, such as group4")


def _activation(activation: str) -> nn.Module:
    if factor := re.fullmatch(r"elu(\d+(?:\.\d*)?)", activation):
        return nn.ELU(float(factor[1]))
    if activation not in ("gelu", "relu"):
        raise InputError("TFCTDF.activation", found=activation, expected="gelu, relu, or elu with a factor, such as elu1.0")
    return nn.GELU() if activation == "gelu" else nn.ReLU()
