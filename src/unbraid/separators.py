"""Separators: the one object from mixture waveform to source waveforms that training, scoring and separation share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp import STFT, overlap_add
from unbraid.errors import InputError

IGNORED = -100  # the label of bins in which nothing sounds; what cross-entropy leaves out
SILENT = 1e-8  # energy of a bin: 16-bit rounding alone makes more


@dataclass
class Estimate:
    """What a separator says of a mixture, or the truth in the same form.

    Shape:
        sources [B, S, C, T] in the order of the targets; masks and magnitudes [B, S, C, F, frames]; scale [B, 1, 1, 1], the
        factor from STFT magnitudes to the network's. Of a segmentation: logits [B, classes, F, frames], labels [B, F, frames].
    """

    sources: Tensor
    masks: Tensor | None = None
    magnitudes: Tensor | None = None
    scale: Tensor | None = None
    logits: Tensor | None = None
    labels: Tensor | None = None


class Separator(nn.Module, ABC):
    """Mixture waveform in, one waveform per target out.

    Args:
        targets: names of the targets, in the order of the sources.
        sample_rate: of the waveforms, in Hz.
        channels: of the waveforms: 1 or 2.
        chunk_seconds: length in which a long mixture is cut for separation.
    """

    def __init__(self, targets: Iterable[str], sample_rate: int, channels: int, chunk_seconds: float) -> None:
        super().__init__()
        self.targets = list(targets)
        if not self.targets:
            raise InputError("targets: none given; choose some with targets=vocals, or +targets.NAME=[source, …]")
        if channels not in (1, 2):
            raise InputError(f"channels must be 1 or 2, found {channels}")
        self.sample_rate, self.channels = sample_rate, channels
        self.chunk_samples = round(chunk_seconds * sample_rate)

    @abstractmethod
    def forward(self, mixture: Tensor, peak: Tensor | None = None) -> Estimate:
        """The sources of a batch of chunks.

        Args:
            mixture: the chunks.
            peak: largest absolute sample of the whole track of each chunk; the chunk's own if left out.

        Shape:
            mixture [B, C, T], peak [B].
        """

    @abstractmethod
    def reference(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, by_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """The truth in the form of `estimate`: what a loss compares it with.

        Args:
            mixture: of which the estimate was made.
            sources: the true ones.
            estimate: of the sources.
            by_difference: for each target, whether its magnitudes are max(|X| - |Y|, 0), mixture less all but the target;
                where the target's waveform is but a difference of two recordings (Jansson et al., ISMIR 2017).

        Shape:
            mixture [B, C, T], sources [B, S, C, T].
        """

    @torch.inference_mode()
    def separate(self, mixture: Tensor, overlap: float = 0.25, batch_size: int = 4) -> Tensor:
        """A track of any length, in cross-faded chunks. Shape: [C, T] -> [S, C, T]."""
        peak = mixture.abs().max()
        return overlap_add(
            lambda chunks: self(chunks, peak.expand(len(chunks))).sources,
            mixture, self.chunk_samples, overlap, batch_size,
        )  # fmt: skip


class Masking(Separator):
    """STFT, one network per target that sees magnitudes and gives a mask, the mixture's phase, inverse STFT.

    Args:
        net: makes the network of one target: magnitudes [B, C, F, T] to a mask of the same shape.
        stft: the transform.
        scaling: how magnitudes come to [0, 1], which the U-Net paper leaves open. `patch`: divided by the largest magnitude
            of the chunk; `track`: by the largest that the track's peak allows, so that quiet chunks stay quiet.
    """

    def __init__(
        self,
        net: Callable[[], nn.Module],
        stft: STFT,
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        scaling: Literal["patch", "track"] = "patch",
    ) -> None:
        super().__init__(targets, sample_rate, channels, chunk_seconds)
        if self.chunk_samples < stft.n_fft:
            raise InputError(
                f"chunk_seconds={chunk_seconds} is {self.chunk_samples} samples, expected at least n_fft = {stft.n_fft}"
            )
        self.stft, self.scaling = stft, scaling
        self.nets = nn.ModuleList(self._networks(net))

    def _networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        return [net() for _ in self.targets]

    def forward(self, mixture: Tensor, peak: Tensor | None = None) -> Estimate:
        # b batch, s source, c channel, f bin, t frame
        spectrum = self.stft(mixture)
        magnitudes = spectrum.abs()
        scale = self._scale(magnitudes, mixture.abs().amax(dim=(1, 2)) if peak is None else peak)
        scaled = magnitudes * scale
        masks = torch.stack([net(scaled) for net in self.nets], dim=1)
        sources = self.stft.inverse(masks * spectrum.unsqueeze(1), mixture.shape[-1])
        return Estimate(sources, masks, masks * scaled.unsqueeze(1), scale)

    def _scale(self, magnitudes: Tensor, peak: Tensor) -> Tensor:
        largest = magnitudes.amax(dim=(1, 2, 3)) if self.scaling == "patch" else peak * self.stft.window.sum()
        return 1 / largest.clamp(min=1e-5).view(-1, 1, 1, 1)

    def reference(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, by_difference: Sequence[bool] | None = None
    ) -> Estimate:
        assert estimate.scale is not None
        magnitudes = self.stft(sources).abs()
        for target in (s for s, differs in enumerate(by_difference or ()) if differs):
            rest = self.stft(mixture - sources[:, target]).abs()
            magnitudes[:, target] = (self.stft(mixture).abs() - rest).clamp(min=0)
        return Estimate(sources, magnitudes=magnitudes * estimate.scale.unsqueeze(1), scale=estimate.scale)


class Mapping(Masking):
    """As `Masking`, except that each network gives the magnitudes of its target themselves; the phase is the mixture's.

    A denoising autoencoder is one: the accompaniment is the noise (Grais & Plumbley, GlobalSIP 2017).
    """

    def forward(self, mixture: Tensor, peak: Tensor | None = None) -> Estimate:
        spectrum = self.stft(mixture)
        magnitudes = spectrum.abs()
        scale = self._scale(magnitudes, mixture.abs().amax(dim=(1, 2)) if peak is None else peak)
        found = torch.stack([net(magnitudes * scale) for net in self.nets], dim=1)
        phase = torch.polar(torch.ones_like(magnitudes), spectrum.angle())
        sources = self.stft.inverse((found / scale.unsqueeze(1)).float() * phase.unsqueeze(1), mixture.shape[-1])
        return Estimate(sources, magnitudes=found, scale=scale)


class Segmenting(Masking):
    """Decides for every bin which source is the loudest; the masks follow from that.

    The classes are the targets and, last, the rest of the mixture; one network decides between them, for all channels.

    Args:
        net: from the number of classes to a network: magnitudes [B, C, F, T] to logits [B, classes, F, T].
        hard: masks are 1 for the likeliest class and 0 for the others; or else they are the probabilities.
        others: as `Masking`.
    """

    def __init__(
        self,
        net: Callable[[int], nn.Module],
        stft: STFT,
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        hard: bool,
        scaling: Literal["patch", "track"] = "patch",
    ) -> None:
        super().__init__(net, stft, targets, sample_rate, channels, chunk_seconds, scaling)  # type: ignore[arg-type]
        self.hard = hard

    def _networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        return [net(len(self.targets) + 1)]

    def forward(self, mixture: Tensor, peak: Tensor | None = None) -> Estimate:
        # b batch, s class, c channel, f bin, t frame
        spectrum = self.stft(mixture)
        magnitudes = spectrum.abs()
        scale = self._scale(magnitudes, mixture.abs().amax(dim=(1, 2)) if peak is None else peak)
        logits = self.nets[0](magnitudes * scale)
        if self.hard:
            masks = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).movedim(-1, 1).float()
        else:
            masks = logits.softmax(dim=1)
        masks = masks[:, : len(self.targets), None].expand(-1, -1, self.channels, -1, -1)
        sources = self.stft.inverse(masks * spectrum.unsqueeze(1), mixture.shape[-1])
        return Estimate(sources, masks, masks * (magnitudes * scale).unsqueeze(1), scale, logits)

    def reference(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, by_difference: Sequence[bool] | None = None
    ) -> Estimate:
        rest = mixture - sources.sum(dim=1)
        energies = self.stft(torch.cat([sources, rest[:, None]], dim=1)).abs().square().sum(dim=2)
        labels = energies.argmax(dim=1)
        labels[energies.amax(dim=1) < SILENT] = IGNORED
        return replace(super().reference(mixture, sources, estimate, by_difference), labels=labels)
