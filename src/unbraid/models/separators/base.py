"""Class `Separator`, the base class of all separators, and class `Estimate`, the output of a separator.

A separator contains all steps between the mixture waveform and the source waveforms: STFT, network, masks, phase, inverse STFT.
Training, scoring and separation use the same separator object.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from unbraid.audio import FASTEST, SLOWEST
from unbraid.dsp.input_scale import InputScale
from unbraid.runs.errors import InputError

Normalisation = Literal["none", "chunk", "song"]

LONGEST_CHUNK = 2**26  # samples, 25 minutes at 44.1 kHz: the longest input of a network


class Estimate:
    """Store the estimated or true sources of a mixture, and the intermediate values that losses compare.

    Two fields can be computed when they are first read: `sources` by calling `synthesize`, and `magnitudes` from `masks`. If a
    loss compares only magnitudes, no waveforms are computed.

    Args:
        sources: waveforms of the sources in the order of the targets. None: computed by `synthesize`.
        synthesize: function without arguments that returns the waveforms. It is called when `sources` is first read.
        masks: mask of each target.
        magnitudes: magnitudes of each target in the scale of the network's input. None: `masks` times `mixture`.
        scale: factor by which STFT magnitudes are multiplied to get the network's input.
        mixture: magnitudes of the mixture in the scale of the network's input.
        logits: logits of the classes of each bin. The classes are the targets and, in some networks, the residual (mixture
            minus all targets).
        labels: true class of each bin. Losses ignore bins with negative values.
        embeddings: embedding of each bin, of unit norm.
        weights: weight of each bin in a loss that compares embeddings.
        waveform: waveform of the mixture; only in true values.

    Shape:
        Axes: batch B, sources S, channels C, samples T, frequency bins F, frames N, values of an embedding D.
        sources: [B, S, C, T]. masks and magnitudes: [B, S, C, F, N]. scale: [B, 1, 1, 1]. mixture: [B, C, F, N].
        logits: [B, classes, F, N]. labels and weights: [B, F, N]. embeddings: [B, D, F, N]. waveform: [B, C, T].
    """

    def __init__(
        self,
        sources: Tensor | None = None,
        *,
        synthesize: Callable[[], Tensor] | None = None,
        masks: Tensor | None = None,
        magnitudes: Tensor | None = None,
        scale: Tensor | None = None,
        mixture: Tensor | None = None,
        logits: Tensor | None = None,
        labels: Tensor | None = None,
        embeddings: Tensor | None = None,
        weights: Tensor | None = None,
        waveform: Tensor | None = None,
    ) -> None:
        if sources is not None:
            self.sources = sources  # replaces the computation below
        if magnitudes is not None:
            self.magnitudes = magnitudes
        self.synthesize, self.masks, self.scale, self.mixture = synthesize, masks, scale, mixture
        self.logits, self.labels, self.embeddings, self.weights = logits, labels, embeddings, weights
        self.waveform = waveform

    @cached_property
    def sources(self) -> Tensor:
        """Return the waveforms of the sources. Shape: [B, S, C, T]."""
        if self.synthesize is None:
            raise ValueError(
                "`Estimate.sources` cannot be computed, because the arguments `sources` and `synthesize` are both None"
            )
        return self.synthesize()

    @cached_property
    def magnitudes(self) -> Tensor | None:
        """Return masks times mixture magnitudes; None if `masks` or `mixture` is None. Shape: [B, S, C, F, frames]."""
        if self.masks is None or self.mixture is None:
            return None
        return (self.masks.abs() if self.masks.is_complex() else self.masks) * self.mixture.unsqueeze(1)

    def part(self, examples: Tensor, target: int | None = None) -> "Estimate":
        """Return the values of some examples of the batch, and of one target or of all targets.

        Args:
            examples: indices of the examples.
            target: index of the target, None: all targets. With one target, the fields `logits`, `labels`, `embeddings` and
                `weights` are None, because their values concern all targets.

        Returns:
            The values. The axis of the sources has the length 1 if `target` is not None.
        """
        targets = slice(None) if target is None else slice(target, target + 1)
        names = ("scale", "mixture", "waveform", *(() if target is not None else ("logits", "labels", "embeddings", "weights")))
        fields = {name: None if (value := getattr(self, name)) is None else value[examples] for name in names}
        for name in ("masks", "magnitudes"):
            if (value := vars(self).get(name)) is not None:  # magnitudes that are not yet computed are computed from masks
                fields[name] = value[examples, targets]
        return Estimate(synthesize=lambda: self.sources[examples, targets], **fields)


class Separator(nn.Module, ABC):
    """Separate a mixture waveform into one waveform per target.

    Args:
        targets: names of the targets, in the order of the output.
        sample_rate: sample rate of all waveforms in Hz.
        channels: number of channels of all waveforms, 1 or 2.
        chunk_seconds: length in seconds of the chunks into which a longer mixture is cut.

    Attributes:
        normalisation: where the mixture is normalised. `song`: before a call, the caller normalises the mixture by the result
            of `song_scale`; after the call, the caller restores the scale of the sources. `chunk`: the separator normalises
            each chunk. `none`: the mixture is not normalised.

    Raises:
        InputError: `targets` is empty, or another argument is out of range.
    """

    normalisation: Normalisation = "none"

    def __init__(self, targets: Iterable[str], sample_rate: int, channels: int, chunk_seconds: float) -> None:
        super().__init__()
        self.targets = list(targets)
        if not self.targets:
            raise InputError(
                "targets",
                "the list of targets is empty",
                hint="Set for example targets=vocals, or define a target by +targets.NAME=[source, …].",
            )
        if channels not in (1, 2):
            raise InputError("channels", found=channels, expected="1 or 2")
        if not SLOWEST <= sample_rate <= FASTEST:  # soxr crashes between 3 Hz and 768 kHz
            raise InputError("sample_rate", found=sample_rate, expected=f"{SLOWEST} to {FASTEST} Hz")
        if not 0 <= chunk_seconds <= LONGEST_CHUNK / sample_rate:
            raise InputError("chunk_seconds", found=chunk_seconds, expected=f"0 to {LONGEST_CHUNK / sample_rate:.0f} seconds")
        self.sample_rate, self.channels = sample_rate, channels
        self.chunk_samples = round(chunk_seconds * sample_rate)

    def song_scale(self, blocks: Iterable[Tensor]) -> InputScale | None:
        """Compute the mean and the standard deviation by which a song is normalised before the song is cut into chunks.

        Args:
            blocks: consecutive blocks of the whole song, with the sample rate and channels of the separator. The blocks are
                read only if `normalisation` is `song`.

        Shape:
            blocks [C, n], with C channels and any lengths n.

        Returns:
            The mean and the standard deviation; None if `normalisation` is not `song`.
        """
        return InputScale.of(blocks) if self.normalisation == "song" else None

    @property
    def synthesis_options(self) -> dict[str, float | str | None]:
        """Return the options (values by name) that change the separated sources in evaluation but not in training."""
        return {}

    @property
    def chunk_alignment(self) -> int:
        """Return the distance between possible chunk starts in samples: each chunk must start at a multiple of this number.

        The number is larger than 1 if the network has strides. A chunk that starts between two multiples would get another
        estimate than the same part of the whole track.
        """
        return 1

    @property
    def receptive_field(self) -> int | None:
        """Return n: an output sample depends only on n input samples before and n after its position. None: on all samples."""
        return None

    @property
    def min_samples(self) -> int:
        """Return the length in samples of the shortest mixture that the separator accepts."""
        return self.chunk_samples

    @abstractmethod
    def forward(self, mixture: Tensor) -> Estimate:
        """Estimate the sources of a batch of mixture chunks [B, C, T]. The chunks do not influence each other."""

    @torch.inference_mode()
    def sources(self, mixture: Tensor) -> Tensor:
        """Separate mixture waveforms into source waveforms, without gradients. Shape: [B, C, T] -> [B, S, C, T]."""
        return self(mixture).sources

    @abstractmethod
    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """Compute the true values (sources, magnitudes, labels, …) with which a loss compares an estimate.

        Args:
            mixture: mixture that was separated.
            sources: true sources.
            estimate: result of `forward` for this mixture.
            magnitude_difference: True or False for each target. True: the true magnitudes of the target are max(|X| - |Y|, 0),
                where X is the mixture and Y is the mixture without the target. Use True for a target that is the difference of
                two recordings (Jansson et al., ISMIR 2017). None: False for all targets.

        Shape:
            mixture [B, C, T], sources [B, S, C, T]. B: batch, S: sources, C: channels, T: samples.

        Returns:
            An `Estimate` of the true sources, with all fields that the losses of this separator compare.
        """

    def true_values(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """Return the result of `training_target`, with the waveform of the mixture in the field `waveform`."""
        truth = self.training_target(mixture, sources, estimate, magnitude_difference)
        truth.waveform = mixture
        return truth
