"""Open-Unmix (Stöter, Uhlich, Liutkus & Mitsufuji, JOSS 2019): a recurrent network that reads the whole chunk.

Each frame is standardised, and a linear layer reduces the frame to a few hundred values. Bidirectional LSTMs follow. Two linear
layers map the reduced frame and the output of the LSTMs to all bins. The parameters have the names and shapes of the published
weights. In the code, the weights of the first and the last layer are scaled instead of the frames. The result is the same. The
computation is faster, because these weights have fewer values than the frames of a batch.

For short chunks or low latency, set `causal` or use a convolutional network.
"""

import re
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.runs.errors import InputError


class OpenUnmix(nn.Module):
    """Estimate the mask of one target from the magnitudes of a mixture. Mask values are at least 0.

    Args:
        bins: number of frequency bins of the magnitudes, n_fft / 2 + 1.
        audio_channels: number of channels of the magnitudes, 1 (mono) or 2 (stereo).
        max_bin: number of bins that the network reads, starting at 0 Hz. None: all bins are read. The mask always has all bins.
        hidden: number of values to which a frame is reduced. An LSTM layer has half as many units in each direction.
        layers: number of LSTM layers.
        causal: whether the LSTM runs only from past to future, with `hidden` units.
        dropout: dropout probability between the LSTM layers, in [0, 1).

    Shape:
        [B, C, F, T] -> [B, C, F, T], with F = `bins` and C = `audio_channels`. B: batch, T: frames.

    Raises:
        InputError: an argument is out of range, or the magnitudes do not have `audio_channels` channels and `bins` bins.
    """

    direct_layers: ClassVar = ("fc1",)

    def __init__(
        self,
        bins: int = 2049,
        audio_channels: int = 2,
        max_bin: int | None = 1487,
        hidden: int = 512,
        layers: int = 3,
        causal: bool = False,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        n_used = bins if max_bin is None else max_bin
        if not 1 <= n_used <= bins:
            raise InputError("OpenUnmix.max_bin", found=max_bin, expected=f"1 to {bins}", hint=f"The STFT has {bins} bins.")
        if layers < 1:
            raise InputError("OpenUnmix.layers", found=layers, expected="at least 1")
        if hidden < 1 or (hidden % 2 and not causal):
            raise InputError("OpenUnmix.hidden", found=hidden, expected="a positive number (a multiple of 2 if causal=false)")
        if not 0 <= dropout < 1:
            raise InputError("OpenUnmix.dropout", found=dropout, expected="a probability in [0, 1)")
        self.bins, self.audio_channels, self.max_bin = bins, audio_channels, n_used
        self.hidden, self.layers, self.causal = hidden, layers, causal
        self.fc1 = nn.Linear(n_used * audio_channels, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(
            hidden, hidden if causal else hidden // 2, layers,
            dropout=dropout if layers > 1 else 0.0, bidirectional=not causal,
        )  # fmt: skip
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, bins * audio_channels, bias=False)
        self.bn3 = nn.BatchNorm1d(bins * audio_channels)
        self.input_mean = nn.Parameter(torch.zeros(n_used))  # minus the mean of the magnitudes
        self.input_scale = nn.Parameter(torch.ones(n_used))
        self.output_scale = nn.Parameter(torch.ones(bins))
        self.output_mean = nn.Parameter(torch.ones(bins))

    @torch.no_grad()
    def start_from(self, mean: Tensor, scale: Tensor) -> None:
        """Set the scaling of the input, so that each frequency bin has mean 0 and standard deviation 1 when training starts.

        Args:
            mean: mean of the mixture magnitudes in each bin.
            scale: standard deviation of the mixture magnitudes in each bin. Small values are raised to 1e-4 of the largest
                value.

        Shape:
            each [F].
        """
        self.input_mean.copy_(-mean[: self.max_bin])
        self.input_scale.copy_(1 / scale.clamp(min=1e-4 * float(scale.max()))[: self.max_bin])

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Estimate the mask of the target from the magnitudes of the mixture. Shape: [B, C, F, T] -> [B, C, F, T]."""
        # b batch, c channel, f bin, t frame, h hidden
        batch, channels, bins, frames = magnitudes.shape
        if (channels, bins) != (self.audio_channels, self.bins):
            expected = f"{self.audio_channels} channels of {self.bins} bins"
            hint = "Set OpenUnmix.bins to n_fft / 2 + 1, and OpenUnmix.audio_channels to the number of channels."
            raise InputError("magnitudes", found=f"{channels} channels of {bins} bins", expected=expected, hint=hint)
        inputs = magnitudes[:, :, : self.max_bin].permute(3, 0, 1, 2).reshape(frames * batch, -1)  # (t b) (c f)
        x = self.bn1(self._reduce(inputs)).view(frames, batch, -1).tanh()
        x = torch.cat([x, self.lstm(x)[0]], dim=-1).view(frames * batch, -1)
        x = functional.relu(self.bn2(self.fc2(x)))
        mask = functional.relu(self._expand(x).float())
        return mask.view(frames, batch, channels, bins).permute(1, 2, 3, 0)

    def _reduce(self, frames: Tensor) -> Tensor:
        """Scale N frames and reduce each frame to H = `hidden` values: fc1((frames + mean) * scale).

        Shape: [N, C * max_bin] -> [N, H].
        """
        scale, mean = self.input_scale.repeat(self.audio_channels), self.input_mean.repeat(self.audio_channels)
        weight = self.fc1.weight * scale
        return functional.linear(frames, weight, weight @ mean)

    def _expand(self, x: Tensor) -> Tensor:
        """Expand N frames of H values to all F bins of C channels: bn3(fc3(x)) * scale + mean. Shape: [N, H] -> [N, C * F]."""
        scale, mean = self.output_scale.repeat(self.audio_channels), self.output_mean.repeat(self.audio_channels)
        norm = self.bn3
        if norm.training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        return functional.batch_norm(
            self.fc3(x), norm.running_mean, norm.running_var, norm.weight * scale, norm.bias * scale + mean,
            norm.training, norm.momentum or 0.0, norm.eps,
        )  # fmt: skip


NOT_ITS_STATE = (KeyError, TypeError, ZeroDivisionError)  # a tensor is missing, is a scalar, or is empty


def options_of(state: Mapping[str, Tensor]) -> dict[str, int | bool]:
    """Derive the arguments of `OpenUnmix` from the names and shapes in a state dict.

    Args:
        state: state dict (parameters by name) of an `OpenUnmix`. Any other state dict raises one of the exceptions in
            `NOT_ITS_STATE`.

    Returns:
        The value of each argument of `OpenUnmix` except `dropout`.
    """
    bins = len(state["output_mean"])
    return {
        "bins": bins,
        "audio_channels": len(state["bn3.weight"]) // bins,
        "max_bin": len(state["input_mean"]),
        "hidden": len(state["bn1.weight"]),
        "layers": sum(re.fullmatch(r"lstm\.weight_ih_l\d+", name) is not None for name in state),
        "causal": "lstm.weight_ih_l0_reverse" not in state,
    }
