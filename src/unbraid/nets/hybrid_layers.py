"""Encoder and decoder layers of Demucs for waveforms and spectrograms (Défossez, MDX workshop 2021; Rouard et al. 2023).

An encoder layer divides the number of samples or frequency bins by 4. A decoder layer multiplies this number by 4. The residual
branch of a layer reads neighbouring samples or frames by dilated convolutions with few channels (DConv). In spectrograms, the
branch processes each bin as a separate sequence of frames. For a plain U-Net, use `unbraid.nets.strided_conv`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.stft import up_to

KERNEL_SIZE, STRIDE = 8, 4  # of all layers, along samples or bins
PADDING = (KERNEL_SIZE - STRIDE) // 2
BRANCH_SCALE = 1e-3  # initial scale of the residual branches


class ResidualBranch(nn.Module):
    """Add the outputs of dilated convolutions with few channels to the input. Each dilation is twice the previous one.

    Args:
        channels: number of channels C of input and output.
        depth: number of dilated convolutions; 0: the output is the input.
        compression: number of channels of the input, divided by the number of channels within the branch.

    Shape:
        [B, C, T] -> [B, C, T], or [B, C, F, T] -> [B, C, F, T] for spectrograms. B: batch, T: samples or frames, F: bins.
    """

    def __init__(self, channels: int, depth: int, compression: int) -> None:
        super().__init__()
        hidden = channels // compression
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, hidden, 3, dilation=2**number, padding=2**number),
                nn.GroupNorm(1, hidden),
                nn.GELU(),
                nn.Conv1d(hidden, 2 * channels, 1),
                nn.GroupNorm(1, 2 * channels),
                nn.GLU(dim=1),
                ChannelScale(channels, BRANCH_SCALE),
            )
            for number in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the dilated convolutions to a waveform or a spectrogram. The shape does not change."""
        # b batch, c channel, f bin, t sample or frame
        if not self.blocks:
            return x
        bins = x.shape[2] if x.ndim == 4 else None
        x = x if bins is None else x.transpose(1, 2).flatten(0, 1)  # (b f) c t
        for block in self.blocks:
            x = x + block(x)
        return x if bins is None else x.unflatten(0, (-1, bins)).transpose(1, 2)


class ChannelScale(nn.Module):
    """Multiply each channel by a learned factor (Touvron et al., ICCV 2021). Shape: [B, C, T] -> [B, C, T].

    Args:
        channels: number of channels C.
        scale: initial value of all factors.
    """

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each channel by the factor of the channel."""
        return self.factors[:, None] * x


class EncoderLayer(nn.Module):
    """Divide the number of samples or bins by 4: convolution, residual branch, gated convolution.

    Args:
        ins: number of input channels.
        outs: number of output channels.
        spectral: True for spectrograms, False for waveforms.
        dconv_depth: number of dilated convolutions in the residual branch.
        dconv_comp: factor by which the residual branch reduces the number of channels.

    Shape:
        [B, ins, T] -> [B, outs, ceil(T / 4)] for waveforms, [B, ins, F, T] -> [B, outs, F / 4, T] for spectrograms.
    """

    def __init__(self, ins: int, outs: int, spectral: bool, dconv_depth: int, dconv_comp: int) -> None:
        super().__init__()
        self.spectral = spectral
        if spectral:
            self.conv: nn.Module = nn.Conv2d(ins, outs, (KERNEL_SIZE, 1), (STRIDE, 1), (PADDING, 0))
            self.gate: nn.Module = nn.Conv2d(outs, 2 * outs, 1)
        else:
            self.conv = nn.Conv1d(ins, outs, KERNEL_SIZE, STRIDE, PADDING)
            self.gate = nn.Conv1d(outs, 2 * outs, 1)
        self.branch = ResidualBranch(outs, dconv_depth, dconv_comp)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a waveform or a spectrogram. Zeros are appended to a waveform up to a multiple of 4 samples."""
        if not self.spectral:
            x = functional.pad(x, (0, up_to(x.shape[-1], STRIDE)))
        x = self.branch(functional.gelu(self.conv(x)))
        return functional.glu(self.gate(x), dim=1)


class DecoderLayer(nn.Module):
    """Multiply the number of samples or bins by 4: gated convolution, residual branch, transposed convolution.

    Args:
        ins: number of input channels.
        outs: number of output channels.
        spectral: True for spectrograms, False for waveforms.
        last: True for the last layer, which has no activation function.
        dconv_depth: number of dilated convolutions in the residual branch; 0: no residual branch.
        dconv_comp: factor by which the residual branch reduces the number of channels.

    Shape:
        [B, ins, T] -> [B, outs, length] for waveforms, [B, ins, F, T] -> [B, outs, 4 * F, T] for spectrograms. `length` is an
        argument of `forward`.
    """

    def __init__(self, ins: int, outs: int, spectral: bool, last: bool, dconv_depth: int, dconv_comp: int) -> None:
        super().__init__()
        self.last = last
        if spectral:
            self.gate: nn.Module = nn.Conv2d(ins, 2 * ins, 3, padding=1)
            self.conv: nn.Module = nn.ConvTranspose2d(ins, outs, (KERNEL_SIZE, 1), (STRIDE, 1), (PADDING, 0))
        else:
            self.gate = nn.Conv1d(ins, 2 * ins, 3, padding=1)
            self.conv = nn.ConvTranspose1d(ins, outs, KERNEL_SIZE, STRIDE, PADDING)
        self.branch = ResidualBranch(ins, dconv_depth, dconv_comp)

    def forward(self, x: Tensor, skip: Tensor, length: int) -> Tensor:
        """Decode a waveform or a spectrogram.

        Args:
            x: output of the previous layer.
            skip: output of the encoder layer with the same resolution.
            length: number of samples or frames of the output.

        Shape:
            x, skip: [B, ins, T] or [B, ins, F, T].

        Returns:
            Decoded waveform or spectrogram.
        """
        x = self.branch(functional.glu(self.gate(x + skip), dim=1))
        x = self.conv(x)[..., :length]
        return x if self.last else functional.gelu(x)


@torch.no_grad()
def rescale(module: nn.Module, reference: float) -> None:
    """Multiply the initial weights of each convolution by (reference / σ)**0.5.

    σ is the standard deviation of the weights of this convolution.

    Args:
        module: network whose convolutions are changed.
        reference: a standard deviation. Weights that already have this standard deviation stay the same.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d):
            factor = (reference / layer.weight.std()) ** 0.5
            layer.weight *= factor
            if layer.bias is not None:
                layer.bias *= factor
