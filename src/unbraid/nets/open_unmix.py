"""Open-Unmix (Stöter, Uhlich, Liutkus & Mitsufuji, JOSS 2019): a recurrent net that hears the whole chunk before it decides.

Each frame is whitened, squeezed to a few hundred numbers, seen by LSTMs in both directions of time, joined with what it was
before them, and spread over all bins again. Parameters are named and shaped as in the published weights. The whitening of
input and output is not done to every frame: it is folded into the weights beside it, which are far smaller than a batch.

For short chunks, or where the music must be heard no later than it sounds, take `causal`, or a convolutional net.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.runs.errors import InputError


class OpenUnmix(nn.Module):
    """Magnitudes to a mask of the same shape, 0 or more.

    Args:
        bins: of the magnitudes, n_fft / 2 + 1.
        audio_channels: of the magnitudes (1 mono, 2 stereo).
        max_bin: the lowest so many bins are heard; the mask is of all. None: all are heard.
        hidden: what a frame is squeezed to. An LSTM has half of it in each direction.
        layers: of the LSTM.
        causal: one direction, from past to future, with all of `hidden`.
        dropout: probability between the layers of the LSTM.

    Shape:
        [B, C, F, T] -> [B, C, F, T], where F = `bins` and C = `audio_channels`.
    """

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
        heard = bins if max_bin is None else max_bin
        if not 1 <= heard <= bins:
            raise InputError(f"Open-Unmix's max_bin must lie in [1, {bins}], the bins there are, found {max_bin}")
        if layers < 1:
            raise InputError(f"Open-Unmix's layers must be at least 1, found {layers}")
        if hidden < 1 or (hidden % 2 and not causal):
            raise InputError(f"Open-Unmix's hidden must be a positive number, even unless causal, found {hidden}")
        if not 0 <= dropout < 1:
            raise InputError(f"Open-Unmix's dropout must lie in [0, 1), found {dropout}")
        self.bins, self.audio_channels, self.max_bin = bins, audio_channels, heard
        self.hidden, self.layers, self.causal = hidden, layers, causal
        self.fc1 = nn.Linear(heard * audio_channels, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(
            hidden, hidden if causal else hidden // 2, layers,
            dropout=dropout if layers > 1 else 0.0, bidirectional=not causal,
        )  # fmt: skip
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, bins * audio_channels, bias=False)
        self.bn3 = nn.BatchNorm1d(bins * audio_channels)
        self.input_mean = nn.Parameter(torch.zeros(heard))  # what is added, the mean's negative
        self.input_scale = nn.Parameter(torch.ones(heard))
        self.output_scale = nn.Parameter(torch.ones(bins))
        self.output_mean = nn.Parameter(torch.ones(bins))

    @torch.no_grad()
    def start_from(self, mean: Tensor, scale: Tensor) -> None:
        """Begin with an input of mean 0 and deviation 1.

        Args:
            mean: of the magnitudes of the mixtures that will be heard.
            scale: their standard deviation; 1e-4 of its maximum is the least that is divided by.

        Shape:
            [F] both.
        """
        self.input_mean.copy_(-mean[: self.max_bin])
        self.input_scale.copy_(1 / scale.clamp(min=1e-4 * float(scale.max()))[: self.max_bin])

    def forward(self, magnitudes: Tensor) -> Tensor:
        # b batch, c channel, f bin, t frame, h hidden
        batch, channels, bins, frames = magnitudes.shape
        if (channels, bins) != (self.audio_channels, self.bins):
            raise InputError(
                f"Open-Unmix hears {self.audio_channels} channels of {self.bins} bins, found {channels} of {bins}; "
                "its bins must be n_fft / 2 + 1"
            )
        heard = magnitudes[:, :, : self.max_bin].permute(3, 0, 1, 2).reshape(frames * batch, -1)  # (t b) (c f)
        x = self.bn1(self._squeeze(heard)).view(frames, batch, -1).tanh()
        x = torch.cat([x, self.lstm(x)[0]], dim=-1).view(frames * batch, -1)
        x = functional.relu(self.bn2(self.fc2(x)))
        mask = functional.relu(self._spread(x).float())
        return mask.view(frames, batch, channels, bins).permute(1, 2, 3, 0)

    def _squeeze(self, heard: Tensor) -> Tensor:
        """fc1((x + mean) * scale). Shape: [N, C * max_bin] -> [N, H]."""
        scale, mean = self.input_scale.repeat(self.audio_channels), self.input_mean.repeat(self.audio_channels)
        weight = self.fc1.weight * scale
        return functional.linear(heard, weight, weight @ mean)

    def _spread(self, x: Tensor) -> Tensor:
        """bn3(fc3(x)) * scale + mean. Shape: [N, H] -> [N, C * F]."""
        scale, mean = self.output_scale.repeat(self.audio_channels), self.output_mean.repeat(self.audio_channels)
        norm = self.bn3
        if norm.training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        return functional.batch_norm(
            self.fc3(x), norm.running_mean, norm.running_var, norm.weight * scale, norm.bias * scale + mean,
            norm.training, norm.momentum or 0.0, norm.eps,
        )  # fmt: skip


NOT_ITS_STATE = (KeyError, TypeError, ZeroDivisionError)  # a tensor is missing, has no dimensions, or is empty


def options_of(state: Mapping[str, Tensor]) -> dict[str, int | bool]:
    """The arguments of the `OpenUnmix` whose state this is; one of `NOT_ITS_STATE` where it is of no such network."""
    bins = len(state["output_mean"])
    return {
        "bins": bins,
        "audio_channels": len(state["bn3.weight"]) // bins,
        "max_bin": len(state["input_mean"]),
        "hidden": len(state["bn1.weight"]),
        "layers": sum(re.fullmatch(r"lstm\.weight_ih_l\d+", name) is not None for name in state),
        "causal": "lstm.weight_ih_l0_reverse" not in state,
    }
