"""Separators: the one object from mixture waveform to source waveforms that training, scoring and separation share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Dictionary
from functools import partial
from typing import Any, Literal

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional

from unbraid.audio import FASTEST
from unbraid.dsp import STFT, magnitudes_of, overlap_add
from unbraid.errors import InputError
from unbraid.phases import MixturePhase, Phase

Scaling = Literal["patch", "none"]
Residual = bool | Literal["auto"]
LONGEST_CHUNK = 2**26  # samples, 25 minutes at 44.1 kHz: of more no network hears at once
IGNORED = -100  # the label of bins in which nothing sounds; what cross-entropy leaves out
SILENT = 1e-8  # energy of a bin: 16-bit rounding alone makes more


class Estimate:
    """What a separator says of a mixture, or the truth in the same form.

    Args:
        sources: in the order of the targets; or what makes them, which is called when they are asked for: a loss of magnitudes
            needs none.
        masks: of each target.
        magnitudes: of each target, in the network's scale; or what makes them, which only a loss or a picture asks for.
        scale: the factor from STFT magnitudes to the network's.
        mixture: magnitudes of the mixture in the network's scale.
        logits: logits of the classes: the targets and, if it is one, the residual.
        labels: the class of each bin, negative where it has none.
        embeddings: of each bin, of unit norm.
        weights: of each bin in a loss of embeddings.

    Shape:
        sources [B, S, C, T]; masks and magnitudes [B, S, C, F, frames]; scale [B, 1, 1, 1]; mixture [B, C, F, frames];
        logits [B, classes, F, frames]; labels [B, F, frames]; embeddings [B, D, F, frames]; weights [B, F, frames].
    """

    def __init__(
        self,
        sources: Tensor | Callable[[], Tensor],
        masks: Tensor | None = None,
        magnitudes: Tensor | Callable[[], Tensor] | None = None,
        scale: Tensor | None = None,
        mixture: Tensor | None = None,
        logits: Tensor | None = None,
        labels: Tensor | None = None,
        embeddings: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self._sources = sources
        self._magnitudes = magnitudes
        self.masks, self.scale, self.mixture = masks, scale, mixture
        self.logits, self.labels, self.embeddings, self.weights = logits, labels, embeddings, weights

    @property
    def sources(self) -> Tensor:
        if not isinstance(self._sources, Tensor):
            self._sources = self._sources()
        return self._sources

    @property
    def magnitudes(self) -> Tensor | None:
        if callable(self._magnitudes) and not isinstance(self._magnitudes, Tensor):
            self._magnitudes = self._magnitudes()
        return self._magnitudes


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
        if not 1 <= sample_rate <= FASTEST:
            raise InputError(f"sample_rate must be in [1, {FASTEST}] Hz, found {sample_rate}")
        if not 0 <= chunk_seconds <= LONGEST_CHUNK / sample_rate:
            raise InputError(f"chunk_seconds must be in [0, {LONGEST_CHUNK / sample_rate:.0f}], found {chunk_seconds}")
        self.sample_rate, self.channels = sample_rate, channels
        self.chunk_samples = round(chunk_seconds * sample_rate)

    @property
    def sound(self) -> dict[str, float | str | None]:
        """By which options, that training does not see, its estimates come to sound."""
        return {}

    @property
    def grid(self) -> int:
        """In samples: a chunk that starts on a multiple of it is seen as the whole track is."""
        return 1

    @property
    def reach(self) -> int | None:
        """How many samples on either side an estimate follows from; None where from all there are."""
        return None

    @property
    def shortest(self) -> int:
        """In samples, of what it can hear at once."""
        return self.chunk_samples

    @abstractmethod
    def forward(self, mixture: Tensor) -> Estimate:
        """Estimate the sources of a batch of chunks. Each chunk is processed on its own. Shape: [B, C, T]."""

    @torch.inference_mode()
    def sources(self, mixture: Tensor) -> Tensor:
        """Return the waveforms alone, without gradients. Shape: [B, C, T] -> [B, S, C, T]."""
        return self(mixture).sources

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
        return overlap_add(self.sources, mixture, self.chunk_samples, overlap, batch_size)


class Direct(Separator):
    """A network from the mixture's waveform to those of all targets; what transforms it takes are its own.

    Args:
        net: from the number of targets to a network: mixture [B, C, T] to sources [B, S, C, T].
        targets: see `Separator`.
        sample_rate: see `Separator`.
        channels: see `Separator`.
        chunk_seconds: see `Separator`.
    """

    def __init__(
        self,
        net: Callable[[int], nn.Module],
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
    ) -> None:
        super().__init__(targets, sample_rate, channels, chunk_seconds)
        self.net = net(len(self.targets))

    @property
    def grid(self) -> int:
        return int(getattr(self.net, "stride", 1))

    def forward(self, mixture: Tensor) -> Estimate:
        return Estimate(self.net(mixture).float())

    def reference(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, by_difference: Sequence[bool] | None = None
    ) -> Estimate:
        return Estimate(sources)


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
    def sound(self) -> dict[str, float | str | None]:
        options = {"mask_max": self.mask_max, "mask_power": self.mask_power, "consistency": self.consistency}
        return {"phase": str(self.phase), **options}

    def networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        return [net() for _ in self.targets]

    def ask(self, magnitudes: Tensor) -> dict[str, Tensor]:
        """What the networks say of scaled magnitudes: fields of an `Estimate`, `masks` or `magnitudes` among them."""
        return {"masks": _stacked([net(magnitudes) for net in self.nets])}

    @property
    def grid(self) -> int:
        # A scaled chunk differs from the whole song wherever it starts, and a coarse grid would double the overlap.
        return self.stft.hop_length if self.scaling != "none" else self._stride

    @property
    def shortest(self) -> int:
        return max(self.stft.n_fft, self._stride)

    @property
    def _stride(self) -> int:
        """Return the stride of the coarsest layer, in samples."""
        return self.stft.hop_length * max(getattr(net, "stride", 1) for net in self.nets)

    @property
    def reach(self) -> int | None:
        frames: list[Any] = [net.reach for net in self.nets if hasattr(net, "reach")]
        if self.scaling != "none" or not isinstance(self.phase, MixturePhase) or len(frames) < len(self.nets):
            return None
        return self.stft.hop_length * int(max(frames)) + self.stft.n_fft

    def forward(self, mixture: Tensor) -> Estimate:
        # b batch, s source, c channel, f bin, t frame
        spectrum = self.stft(mixture)
        magnitudes = magnitudes_of(spectrum)
        scale = self.scale_of(magnitudes)
        scaled = magnitudes * scale
        said = self.ask(scaled)
        sound = partial(self._sound, mixture, spectrum, scale, said)
        if "magnitudes" in said:
            return Estimate(sound, scale=scale, mixture=scaled, **said)
        return Estimate(sound, magnitudes=partial(_masked, said["masks"], scaled), scale=scale, mixture=scaled, **said)

    def _sound(self, mixture: Tensor, spectrum: Tensor, scale: Tensor, said: dict[str, Tensor]) -> Tensor:
        """Waveforms of what the networks said."""
        samples = mixture.shape[-1]
        if "masks" in said:
            spectra = _product(said["masks"] if self.training else self.refine(said["masks"]), spectrum.unsqueeze(1))
        else:
            phase = torch.polar(torch.ones_like(spectrum.real), spectrum.angle())
            spectra = (said["magnitudes"] / scale.unsqueeze(1)).float() * phase.unsqueeze(1)
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

    def reference(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, by_difference: Sequence[bool] | None = None
    ) -> Estimate:
        assert estimate.scale is not None
        magnitudes = magnitudes_of(self.stft(sources))
        for target in (s for s, differs in enumerate(by_difference or ()) if differs):
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


def _masked(masks: Tensor, magnitudes: Tensor) -> Tensor:
    """Shape: [B, S, C, F, T], [B, C, F, T] -> [B, S, C, F, T]."""
    return (masks.abs() if masks.is_complex() else masks) * magnitudes.unsqueeze(1)


def _product(masks: Tensor, spectra: Tensor) -> Tensor:
    """Of real masks without the complex copy of them that torch would make."""
    if masks.is_complex():
        return masks * spectra
    return torch.view_as_complex(torch.view_as_real(spectra) * masks.unsqueeze(-1))


class Mapping(Masking):
    """As `Masking`, except that each network gives the magnitudes of its target themselves.

    A denoising autoencoder is one: the accompaniment is the noise. The idea is that of Grais & Plumbley (GlobalSIP 2017), whose
    own autoencoders are convolutional.
    """

    def networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        if self.mask_max is not None or self.mask_power != 1:
            raise InputError("mask_max and mask_power: these networks give magnitudes and no masks; expected null and 1")
        return super().networks(net)

    def ask(self, magnitudes: Tensor) -> dict[str, Tensor]:
        return {"magnitudes": torch.stack([net(magnitudes) for net in self.nets], dim=1)}


class JointMasking(Masking):
    """As `Masking`, with one network for all targets, whose masks sum to one.

    Args:
        net: function from the number of classes to a network: magnitudes [B, C, F, T] to masks [B, classes, C or 1, F, T], or
            to a dict of `masks` and other fields of an `Estimate`.
        residual: whether what the targets leave of the mixture is one more class. `auto`: not if one target is all but the
            others, as vocals and accompaniment are; a mixture that is not the sum of its sources, as after mastering, would
            make a class of the difference.
        others: as `Masking`.

    Raises:
        InputError: one target without a residual has nothing to be told from.
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
        residual: Residual = "auto",
    ) -> None:
        self.residual = leaves_residual(targets) if residual == "auto" else residual  # before the network is made
        super().__init__(
            net, stft, targets, sample_rate, channels, chunk_seconds, phase, scaling, mask_max, mask_power, consistency
        )

    @property
    def classes(self) -> int:
        """Return the number of classes: the targets and, if it is one, the residual."""
        return len(self.targets) + int(self.residual)

    def networks(self, net: Callable[..., nn.Module]) -> list[nn.Module]:
        if self.classes < 2:
            raise InputError(
                "residual", "one target has nothing to be told from", found=self.residual, expected="true, or more targets"
            )
        return [net(self.classes)]

    def ask(self, magnitudes: Tensor) -> dict[str, Tensor]:
        said = self.nets[0](magnitudes)
        said = said if isinstance(said, dict) else {"masks": said}
        return said | {"masks": self.of_targets(said["masks"])}

    def of_targets(self, masks: Tensor) -> Tensor:
        """Return the targets' masks for every channel. Shape: [B, classes, C or 1, F, T] -> [B, S, C, F, T]."""
        return masks[:, : len(self.targets)].expand(-1, -1, self.channels, -1, -1)

    def energies(self, mixture: Tensor, sources: Tensor) -> Tensor:
        """Return the energy of each class, summed over channels. Shape: [B, C, T], [B, S, C, T] -> [B, classes, F, frames]."""
        if self.residual:
            sources = torch.cat([sources, (mixture - sources.sum(dim=1))[:, None]], dim=1)
        return magnitudes_of(self.stft(sources)).square().sum(dim=2)


def leaves_residual(targets: Iterable[str]) -> bool:
    """Return whether targets may leave something of a mixture: not if one is all sources but those of the others.

    Args:
        targets: names of the targets, or the terms of each by its name: `[vocals]`, `[drums, bass]`, `[-vocals]`.
    """
    if not isinstance(targets, Dictionary):
        return True
    for name, terms in targets.items():
        others = sorted(term for other in targets if other != name for term in targets[other])
        if others and sorted(terms) == sorted(f"-{term}" for term in others):
            return False
    return True


class Segmenting(JointMasking):
    """Decides for every bin which source is the loudest; the masks follow from that.

    Args:
        net: function from the number of classes to a network: magnitudes [B, C, F, T] to logits [B, classes, F, T].
        hard: masks are 1 for the likeliest class and 0 for the others; or else they are the probabilities.
        others: as `JointMasking`.
    """

    def __init__(
        self,
        net: Callable[[int], nn.Module],
        stft: STFT,
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        phase: Phase,
        hard: bool,
        scaling: Scaling = "patch",
        mask_max: float | None = None,
        mask_power: float = 1.0,
        consistency: bool = False,
        residual: Residual = "auto",
    ) -> None:
        super().__init__(
            net,
            stft,
            targets,
            sample_rate,
            channels,
            chunk_seconds,
            phase,
            scaling,
            mask_max,
            mask_power,
            consistency,
            residual,
        )
        self.hard = hard

    def ask(self, magnitudes: Tensor) -> dict[str, Tensor]:
        logits = self.nets[0](magnitudes)
        if self.hard:
            masks = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).movedim(-1, 1).float()
        else:
            masks = logits.softmax(dim=1)
        return {"masks": self.of_targets(masks.unsqueeze(2)), "logits": logits}

    def reference(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, by_difference: Sequence[bool] | None = None
    ) -> Estimate:
        energies = self.energies(mixture, sources)
        labels = energies.argmax(dim=1)
        labels[energies.amax(dim=1) < SILENT] = IGNORED
        truth = super().reference(mixture, sources, estimate, by_difference)
        truth.labels = labels
        return truth


class Clustering(JointMasking):
    """Masks and embeddings of one network: masks are taken from the one or, by k-means, from the other.

    Sources have names, so nothing is permuted: each cluster starts at the mean embedding of the bins that the masks give to a
    source, and is that source.

    Args:
        masks_from: `head`: the network's masks; `clusters`: of embeddings; those are decisions. Training needs none of them.
        silent_db: bins that are quieter than the loudest of the chunk by more than this have no say in the loss of embeddings.
        others: as `JointMasking`; the network has `gather` and `spread`, between bins and what its embeddings are of.
    """

    def __init__(
        self,
        net: Callable[[int], nn.Module],
        stft: STFT,
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        phase: Phase,
        masks_from: Literal["head", "clusters"],
        silent_db: float,
        scaling: Scaling = "patch",
        mask_max: float | None = None,
        mask_power: float = 1.0,
        consistency: bool = False,
        residual: Residual = "auto",
    ) -> None:
        super().__init__(
            net,
            stft,
            targets,
            sample_rate,
            channels,
            chunk_seconds,
            phase,
            scaling,
            mask_max,
            mask_power,
            consistency,
            residual,
        )
        if silent_db <= 0:
            raise InputError(f"silent_db must be above 0, found {silent_db}")
        self.masks_from, self.silent_db = masks_from, silent_db

    @property
    def sound(self) -> dict[str, float | str | None]:
        return {**super().sound, "masks_from": self.masks_from}

    def ask(self, magnitudes: Tensor) -> dict[str, Tensor]:
        said = self.nets[0](magnitudes)
        if self.masks_from == "clusters" and not self.training:
            likely = self._net.gather(said["masks"][:, :, 0]).argmax(dim=1)
            found = torch.stack([self._cluster(*one) for one in zip(said["embeddings"], likely, strict=True)])
            said["masks"] = self._net.spread(found).unsqueeze(2)
        return said | {"masks": self.of_targets(said["masks"])}

    @property
    def _net(self) -> Any:
        return self.nets[0]

    def _cluster(self, embeddings: Tensor, likely: Tensor) -> Tensor:
        """Which bin is in which cluster. Shape: [D, F, frames], classes [F, frames] -> 0 or 1 [classes, F, frames]."""
        if not embeddings.isfinite().all():  # left to whom such estimates reach, who says that training diverged
            return embeddings.new_full((self.classes, *likely.shape), torch.nan)
        points, classes = embeddings.detach().flatten(start_dim=1).T.cpu(), likely.flatten().cpu()
        present = classes.unique()
        start = torch.stack([points[classes == number].mean(dim=0) for number in present])
        fitted = KMeans(len(present), init=start.numpy(), n_init=1).fit(points.numpy())
        numbers = present[torch.from_numpy(fitted.labels_).long()]
        return functional.one_hot(numbers, self.classes).T.float().view(-1, *likely.shape).to(embeddings)

    def reference(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, by_difference: Sequence[bool] | None = None
    ) -> Estimate:
        energies = self._net.gather(self.energies(mixture, sources))
        truth = super().reference(mixture, sources, estimate, by_difference)
        truth.labels = energies.argmax(dim=1)
        total = energies.sum(dim=1)
        loudest = total.amax(dim=(1, 2), keepdim=True).clamp(min=SILENT)
        truth.weights = (total > loudest * 10 ** (-self.silent_db / 10)).float()
        return truth
