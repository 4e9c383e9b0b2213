"""Separators that mask the spectrogram of the mixture, with one network for each target.

The signal path is: STFT, network, mask times mixture spectrum, phase, inverse STFT. For one network for all targets, use
`unbraid.models.separators.joint`.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from unbraid.dsp.phase import MixturePhase, Phase
from unbraid.dsp.stft import STFT, magnitudes_of
from unbraid.models.separators.base import Estimate, Separator
from unbraid.models.separators.mask_options import KEEP_MASKS, MaskOptions
from unbraid.nets.interfaces import Bounded, stride_of
from unbraid.runs.errors import InputError

Scaling = Literal["patch", "none"]


class Masking(Separator):
    """Separate by masks of the mixture's spectrogram. Each target has its own network.

    Losses compare the original masks of the network. Only evaluation applies `phase` and `mask_options`.

    Args:
        net: function without arguments that returns the network of one target. The network maps magnitudes [B, C, F, T] (batch,
            channels, bins, frames) to a mask of the same shape. The mask is complex, or real and at least 0.
        stft: STFT of the mixture.
        targets: names of the targets, in the order of the output.
        sample_rate: sample rate of all waveforms in Hz.
        channels: number of channels of all waveforms, 1 or 2.
        chunk_seconds: length in seconds of the chunks into which a longer mixture is cut; at least the window of the STFT.
        phase: method that converts masked spectra to waveforms, for example with the phase of the mixture. This method is used
            in evaluation only.
        scaling: input scaling of the network. `patch`: the magnitudes of a chunk are divided by their maximum, so that the
            estimate does not depend on the loudness of the rest of the song. `none`: magnitudes are not scaled.
        mask_options: changes of the masks in evaluation.

    Raises:
        InputError: chunks are shorter than the window of the STFT, or `consistency` is set with one target only.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module],
        stft: STFT,
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        phase: Phase,
        scaling: Scaling = "patch",
        mask_options: MaskOptions = KEEP_MASKS,
    ) -> None:
        super().__init__(targets, sample_rate, channels, chunk_seconds)
        if self.chunk_samples < stft.n_fft:
            samples = f"{chunk_seconds} s = {self.chunk_samples} samples"
            raise InputError(
                "chunk_seconds",
                "the chunk is shorter than one window of the STFT",
                found=samples,
                expected=f"at least n_fft = {stft.n_fft} samples",
            )
        if mask_options.consistency and len(self.targets) == 1:
            raise InputError(
                "mask_options.consistency",
                "this option needs targets that sum to the mixture, but the model has only one target",
                found=self.targets[0],
                expected="all sources of the mixture",
                hint="Choose all sources as targets, or set mask_options.consistency=false.",
            )
        self.stft, self.scaling, self.phase, self.mask_options = stft, scaling, phase, mask_options
        self.nets = nn.ModuleList(self.networks(net))

    @property
    def synthesis_options(self) -> dict[str, float | str | None]:
        """Return the phase method and the mask options, which change the sources in evaluation but not in training."""
        options = self.mask_options
        return {
            "phase": str(self.phase),
            "mask_max": options.mask_max,
            "mask_power": options.mask_power,
            "consistency": options.consistency,
        }

    def networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        """Create one network for each target by calling `net`."""
        return [net() for _ in self.targets]

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        """Estimate masks or magnitudes of the targets with the networks.

        Args:
            magnitudes: magnitudes of the mixture in the scale of the networks' input.

        Shape:
            [B, C, F, T].

        Returns:
            Fields of an `Estimate` by name. Either `masks` or `magnitudes` is one of the fields.
        """
        return {"masks": _stacked([net(magnitudes) for net in self.nets])}

    @property
    def chunk_alignment(self) -> int:
        """Return the distance between possible chunk starts in samples: each chunk must start at a multiple of this number.

        If `scaling` is `none`, the number is the stride of the network. If not, it is the hop of the STFT.
        """
        # A scaled chunk differs from the whole song at any start, and a larger step would double the overlap.
        return self.stft.hop_length if self.scaling != "none" else self._stride

    @property
    def min_samples(self) -> int:
        """Return the length of the shortest accepted mixture in samples: the longer of STFT window and network stride."""
        return max(self.stft.n_fft, self._stride)

    @property
    def _stride(self) -> int:
        """Return the stride of the coarsest layer of all networks, in samples of the waveform."""
        return self.stft.hop_length * max(stride_of(net) for net in self.nets)

    @property
    def receptive_field(self) -> int | None:
        """Return n: an output sample depends only on n input samples before and n after its position.

        The result is None (all samples of the chunk) if the scaling, the phase method or a network reads the whole chunk.
        """
        frames = [net.receptive_field for net in self.nets if isinstance(net, Bounded)]
        if self.scaling != "none" or not isinstance(self.phase, MixturePhase) or len(frames) < len(self.nets):
            return None
        return self.stft.hop_length * int(max(frames)) + self.stft.n_fft

    def forward(self, mixture: Tensor) -> Estimate:
        """Estimate the sources of a batch of mixture chunks [B, C, T]. The waveforms are computed when they are first read."""
        # b batch, s source, c channel, f bin, t frame
        spectrum = self.stft(mixture)
        magnitudes = magnitudes_of(spectrum)
        scale = self.scale_of(magnitudes)
        scaled = magnitudes * scale
        outputs = self.predict(scaled)
        synthesize = partial(self._synthesize, mixture, spectrum, scale, outputs)
        return Estimate(synthesize=synthesize, scale=scale, mixture=scaled, **outputs)

    def _synthesize(self, mixture: Tensor, spectrum: Tensor, scale: Tensor, outputs: dict[str, Tensor]) -> Tensor:
        """Compute the source waveforms from the masks or magnitudes in `outputs`.

        Shape: mixture [B, C, T], spectrum [B, C, F, frames] -> [B, S, C, T].
        """
        samples = mixture.shape[-1]
        if "masks" in outputs:
            masks = outputs["masks"] if self.training else self.refine(outputs["masks"])
            spectra = _product(masks, spectrum.unsqueeze(1))
        else:
            phase = torch.polar(torch.ones_like(spectrum.real), spectrum.angle())
            spectra = (outputs["magnitudes"] / scale.unsqueeze(1)).float() * phase.unsqueeze(1)
        if self.training:
            return self.stft.inverse(spectra, samples)
        return self.consistent(mixture, self.phase(spectra, spectrum, self.stft, samples))

    def consistent(self, mixture: Tensor, sources: Tensor) -> Tensor:
        """If `consistency` is set, correct the sources so that they sum to the mixture.

        The mixture minus all sources is divided equally among the sources.

        Shape: mixture [B, C, T], sources [B, S, C, T] -> [B, S, C, T].
        """
        if not self.mask_options.consistency:
            return sources
        return sources + (mixture - sources.sum(dim=1)).unsqueeze(1) / len(self.targets)

    def refine(self, masks: Tensor) -> Tensor:
        """Apply the options `mask_max` and `mask_power` to masks, as in evaluation."""
        return self.mask_options.refine(masks)

    def scale_of(self, magnitudes: Tensor) -> Tensor:
        """Compute the factor that scales the magnitudes of each chunk for the network. Shape: [B, C, F, T] -> [B, 1, 1, 1]."""
        if self.scaling == "none":
            return magnitudes.new_ones(magnitudes.shape[0], 1, 1, 1)  # torch.export would fix the value of len(magnitudes)
        return 1 / magnitudes.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-5)

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """Return the true sources and the true magnitudes, see `Separator.training_target`.

        The true magnitudes are multiplied by `estimate.scale`, the scale of the network's input.
        """
        if estimate.scale is None:
            raise ValueError(
                "`estimate.scale` is None, but the training target needs this scale. Use an estimate of a `Masking` separator"
            )
        magnitudes = magnitudes_of(self.stft(sources))
        for target in (s for s, differs in enumerate(magnitude_difference or ()) if differs):
            others = magnitudes_of(self.stft(mixture - sources[:, target]))
            magnitudes[:, target] = (magnitudes_of(self.stft(mixture)) - others).clamp(min=0)
        return Estimate(sources, magnitudes=magnitudes * estimate.scale.unsqueeze(1), scale=estimate.scale)


def _stacked(masks: Sequence[Tensor]) -> Tensor:
    """Stack the masks of all targets along a new source axis. The memory layout of the masks is kept.

    The memory layout depends on the network: in the mask of a recurrent network, the bins of a frame are adjacent in memory.
    """
    if len(masks) == 1:
        return masks[0].unsqueeze(1)  # a view: `torch.stack` would copy
    if masks[0].stride(-2) == 1:
        return torch.stack([mask.transpose(-1, -2) for mask in masks], dim=1).transpose(-1, -2)
    return torch.stack([*masks], dim=1)


def _product(masks: Tensor, spectra: Tensor) -> Tensor:
    """Multiply masks and spectra. Unlike torch, this function does not convert real masks to complex numbers."""
    if masks.is_complex():
        return masks * spectra
    return torch.view_as_complex(torch.view_as_real(spectra) * masks.unsqueeze(-1))
