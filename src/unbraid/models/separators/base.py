"""Separators: mixture waveform in, source waveforms out. Training, scoring and separation share them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from unbraid.audio import FASTEST, SLOWEST
from unbraid.runs.errors import InputError

LONGEST_CHUNK = 2**26  # samples, 25 minutes at 44.1 kHz: the longest input of a network


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
        if not SLOWEST <= sample_rate <= FASTEST:  # soxr crashes between 3 Hz and 768 kHz
            raise InputError(f"sample_rate must be in [{SLOWEST}, {FASTEST}] Hz, found {sample_rate}")
        if not 0 <= chunk_seconds <= LONGEST_CHUNK / sample_rate:
            raise InputError(f"chunk_seconds must be in [0, {LONGEST_CHUNK / sample_rate:.0f}], found {chunk_seconds}")
        self.sample_rate, self.channels = sample_rate, channels
        self.chunk_samples = round(chunk_seconds * sample_rate)

    @property
    def synthesis_options(self) -> dict[str, float | str | None]:
        """By which options, that training does not see, its estimates come to sound."""
        return {}

    @property
    def chunk_alignment(self) -> int:
        """In samples: a chunk that starts on a multiple of it is seen as the whole track is."""
        return 1

    @property
    def receptive_field(self) -> int | None:
        """How many samples on either side an estimate follows from; None where from all there are."""
        return None

    @property
    def min_samples(self) -> int:
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
    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """The truth in the form of `estimate`: what a loss compares it with.

        Args:
            mixture: of which the estimate was made.
            sources: the true ones.
            estimate: of the sources.
            magnitude_difference: for each target, whether its magnitudes are max(|X| - |Y|, 0), where X is the mixture and Y
                all but the target. Used if the target is the difference of two recordings (Jansson et al., ISMIR 2017).

        Shape:
            mixture [B, C, T], sources [B, S, C, T].
        """
