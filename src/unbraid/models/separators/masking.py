"""Separators that mask the spectrogram of the mixture, with one network for each target."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from unbraid.dsp.phase import MixturePhase, Phase
from unbraid.dsp.stft import STFT, magnitudes_of
from unbraid.models.separators.base import Estimate, Separator
from unbraid.nets.interfaces import Bounded, stride_of
from unbraid.runs.errors import InputError

Scaling = Literal["patch", "none"]


class Masking(Separator):
    """STFT, one network per target that sees magnitudes and gives a mask, a phase, inverse STFT.

    What is heard may be refined (`phase`, `mask_max`, `mask_power`, `consistency`); training sees the plain masks.

    Args:
        net: makes the network of one target: magnitudes [B, C, F, T] to a mask of that shape, complex, or real and 0 or more.
        stft: the transform.
        phase: how masked spectra come to sound.
        scaling: input scaling of the network. `patch`: the magnitudes of a chunk are divided by its largest magnitude, in
            training, scoring and separation alike, so that an estimate does not depend on the loudness of the rest of the song
            (the U-Net paper leaves it open); `none`: magnitudes are passed as they are.
        mask_max: larger masks are clamped.
        mask_power: the power that masks are raised to; above 1 there is less of what is doubtful.
        consistency: what the sources lack of the mixture is given to them in equal parts, so that they sum to it.
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
        mask_max: float | None = None,
        mask_power: float = 1.0,
        consistency: bool = False,
    ) -> None:
        super().__init__(targets, sample_rate, channels, chunk_seconds)
        if self.chunk_samples < stft.n_fft:
            raise InputError(
                f"chunk_seconds={chunk_seconds} is {self.chunk_samples} samples, expected at least n_fft = {stft.n_fft}"
            )
        if mask_max is not None and mask_max <= 0:
            raise InputError(f"mask_max must be above 0, found {mask_max}")
        if mask_power <= 0:
            raise InputError(f"mask_power must be above 0, found {mask_power}")
        if consistency and len(self.targets) == 1:
            raise InputError(f"consistency: one target cannot sum to the mixture, found {self.targets[0]}; give all of them")
        self.stft, self.scaling, self.phase = stft, scaling, phase
        self.mask_max, self.mask_power, self.consistency = mask_max, mask_power, consistency
        self.nets = nn.ModuleList(self.networks(net))

    @property
    def synthesis_options(self) -> dict[str, float | str | None]:
        options = {"mask_max": self.mask_max, "mask_power": self.mask_power, "consistency": self.consistency}
        return {"phase": str(self.phase), **options}

    def networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        return [net() for _ in self.targets]

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        """What the networks say of scaled magnitudes: fields of an `Estimate`, `masks` or `magnitudes` among them."""
        return {"masks": _stacked([net(magnitudes) for net in self.nets])}

    @property
    def chunk_alignment(self) -> int:
        # A scaled chunk differs from the whole song wherever it starts, and a coarse grid would double the overlap.
        return self.stft.hop_length if self.scaling != "none" else self._stride

    @property
    def min_samples(self) -> int:
        return max(self.stft.n_fft, self._stride)

    @property
    def _stride(self) -> int:
        """Return the stride of the coarsest layer, in samples."""
        return self.stft.hop_length * max(stride_of(net) for net in self.nets)

    @property
    def receptive_field(self) -> int | None:
        frames = [net.receptive_field for net in self.nets if isinstance(net, Bounded)]
        if self.scaling != "none" or not isinstance(self.phase, MixturePhase) or len(frames) < len(self.nets):
            return None
        return self.stft.hop_length * int(max(frames)) + self.stft.n_fft

    def forward(self, mixture: Tensor) -> Estimate:
        # b batch, s source, c channel, f bin, t frame
        spectrum = self.stft(mixture)
        magnitudes = magnitudes_of(spectrum)
        scale = self.scale_of(magnitudes)
        scaled = magnitudes * scale
        outputs = self.predict(scaled)
        synthesize = partial(self._sound, mixture, spectrum, scale, outputs)
        return Estimate(synthesize=synthesize, scale=scale, mixture=scaled, **outputs)

    def _sound(self, mixture: Tensor, spectrum: Tensor, scale: Tensor, outputs: dict[str, Tensor]) -> Tensor:
        """Waveforms of what the networks said."""
        samples = mixture.shape[-1]
        if "masks" in outputs:
            spectra = _product(outputs["masks"] if self.training else self.refine(outputs["masks"]), spectrum.unsqueeze(1))
        else:
            phase = torch.polar(torch.ones_like(spectrum.real), spectrum.angle())
            spectra = (outputs["magnitudes"] / scale.unsqueeze(1)).float() * phase.unsqueeze(1)
        if self.training:
            return self.stft.inverse(spectra, samples)
        return self.consistent(mixture, self.phase(spectra, spectrum, self.stft, samples))

    def consistent(self, mixture: Tensor, sources: Tensor) -> Tensor:
        """With their share of what they lack of the mixture, if they shall sum to it."""
        if not self.consistency:
            return sources
        return sources + (mixture - sources.sum(dim=1)).unsqueeze(1) / len(self.targets)

    def refine(self, masks: Tensor) -> Tensor:
        """Clamped and raised to a power; of complex masks the absolute values are."""
        if self.mask_max is None and self.mask_power == 1:
            return masks
        size = masks.abs()
        wanted = (size if self.mask_max is None else size.clamp(max=self.mask_max)) ** self.mask_power
        return masks * (wanted / size.clamp(min=1e-12)) if masks.is_complex() else wanted

    def scale_of(self, magnitudes: Tensor) -> Tensor:
        """Return the factor from STFT magnitudes to the network's. Shape: [B, C, F, T] -> [B, 1, 1, 1]."""
        if self.scaling == "none":
            return magnitudes.new_ones(magnitudes.shape[0], 1, 1, 1)  # whose `len` would be fixed in a graph
        return 1 / magnitudes.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-5)

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        assert estimate.scale is not None
        magnitudes = magnitudes_of(self.stft(sources))
        for target in (s for s, differs in enumerate(magnitude_difference or ()) if differs):
            rest = magnitudes_of(self.stft(mixture - sources[:, target]))
            magnitudes[:, target] = (magnitudes_of(self.stft(mixture)) - rest).clamp(min=0)
        return Estimate(sources, magnitudes=magnitudes * estimate.scale.unsqueeze(1), scale=estimate.scale)


def _stacked(masks: Sequence[Tensor]) -> Tensor:
    """Along the sources, in the order in memory that they have: a recurrent network's have bins beside each other."""
    if len(masks) == 1:
        return masks[0].unsqueeze(1)  # a view of one is no copy
    if masks[0].stride(-2) == 1:
        return torch.stack([mask.transpose(-1, -2) for mask in masks], dim=1).transpose(-1, -2)
    return torch.stack([*masks], dim=1)


def _product(masks: Tensor, spectra: Tensor) -> Tensor:
    """Of real masks without the complex copy of them that torch would make."""
    if masks.is_complex():
        return masks * spectra
    return torch.view_as_complex(torch.view_as_real(spectra) * masks.unsqueeze(-1))
