"""Methods that are scored: a separator, an oracle, or a folder of files. Each one estimates the sources of a track."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unbraid import audio
from unbraid.data.store import StoredTrack
from unbraid.data.tracks import MIXTURE
from unbraid.dsp.stft import STFT
from unbraid.evaluation.estimates import EstimateFolder
from unbraid.inference.chunked import InferenceOptions, device_of, streamed
from unbraid.models.separators.base import Separator
from unbraid.runs.errors import InputError
from unbraid.scoring.oracles import ORACLES
from unbraid.scoring.protocols import Protocol, SourceGroup


class Method(ABC):
    """Estimate the sources of a track that are scored together."""

    @property
    def settings(self) -> dict[str, float | str | None]:
        """Options on which the estimates depend, for `scores.json`."""
        return {}

    @abstractmethod
    def origin(self, track: StoredTrack) -> str:
        """Return a text that identifies the estimates of a track. If it changes, the track is scored again."""

    @abstractmethod
    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        """Return the estimates of a track, in the sample rate and with the channels of the protocol.

        Args:
            track: track to estimate.
            source_group: sources that are scored together.
            mixture: waveform of the mixture.
            references: true waveforms of the sources.

        Returns:
            Estimate of each source of the group.

        Shape:
            mixture [C, T], references [S, C, T] -> [S, C, T].
        """


@dataclass(frozen=True)
class SeparatorMethod(Method):
    """Separate tracks in the same way as `scripts/separate.py`, so that the scores describe the audio that users get.

    Args:
        separator: separator on the device on which it runs.
        weights: text that identifies the weights, such as a fingerprint.
        mixtures: tracks to separate, by name. Their sample rate is that of the protocol. Their number of channels is that of
            the protocol or of the separator, whichever is larger.
        sample_rate: sample rate of the mixtures in Hz.
        options: chunk length, overlap, shifts and precision.
    """

    separator: Separator
    weights: str
    mixtures: Mapping[str, StoredTrack]
    sample_rate: int
    options: InferenceOptions
    latest: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)  # of one track

    @property
    def settings(self) -> dict[str, float | str | None]:
        """Options of the inference and of the separator. The batch size is left out, since it changes only rounding."""
        options = asdict(self.options)
        del options["batch_size"]
        return {**options, **self.separator.synthesis_options}

    def origin(self, track: StoredTrack) -> str:
        """Return a text of the weights, the stored mixture and the options; see `Method.origin`."""
        return f"{self.weights}, {self.mixtures[track.name].entry.name}, {self.settings}"

    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        """Return the estimates of the separator, converted to the channels of the protocol; see `Method`."""
        sources = self.separate(track.name)
        estimates = np.stack([audio.to_channels(source, len(mixture)) for source in sources])
        return source_group.estimates(torch.from_numpy(estimates).to(mixture), mixture)

    def separate(self, name: str) -> np.ndarray:
        """Separate a track. A second call for the same track returns the same array without a new computation.

        Args:
            name: name of the track in `mixtures`.

        Returns:
            Estimates in the sample rate and with the channels of `mixtures`.

        Shape:
            Result [targets, C, T].

        Raises:
            InputError: the estimates are not finite numbers.
        """
        if name in self.latest:
            return self.latest[name]
        blocks = [self.mixtures[name].tensor([MIXTURE])[0].numpy()]
        device = device_of(self.separator)
        stretches = streamed(self.separator, blocks, self.sample_rate, self.options, device)
        estimates = np.concatenate([sources for _, sources in stretches], axis=-1)
        if not np.isfinite(estimates).all():
            hint = "Training has diverged. A lower optim.optimizer.lr may help."
            raise InputError(name, "the estimates contain NaN or infinite values", hint=hint)
        self.latest.clear()
        self.latest[name] = estimates
        return estimates


def mixtures_for(
    separator: Separator, protocol: Protocol, tracks: Sequence[StoredTrack], whole: Callable[[int, int], Sequence[StoredTrack]]
) -> Sequence[StoredTrack]:
    """Return the tracks whose mixtures are separated for scoring, see `SeparatorMethod`.

    Args:
        separator: separator that reads the mixtures.
        protocol: protocol of the scores.
        tracks: scored tracks, in the sample rate and with the channels of the protocol.
        whole: function from a sample rate in Hz and a number of channels to the same tracks. It is called only if the separator
            has more channels than the protocol.

    Returns:
        Tracks in the order of `tracks`.
    """
    rate, channels = protocol.format
    return tracks if separator.channels <= channels else whole(rate, separator.channels)


@dataclass(frozen=True)
class Oracle(Method):
    """Estimate sources with the unchanged mixture, or with a mask that is computed from the true sources.

    Args:
        name: name of the mask, or `mixture`; see `ORACLES`.
        stft: transform in which the mask is applied.
    """

    name: str
    stft: STFT

    @property
    def settings(self) -> dict[str, float | str | None]:
        """Options of the STFT; empty for the unchanged mixture."""
        return {} if self.name == "mixture" else {"n_fft": self.stft.n_fft, "hop_length": self.stft.hop_length}

    def origin(self, track: StoredTrack) -> str:
        """Return a text of the oracle's name, the stored track and the options; see `Method.origin`."""
        return f"{self.name}, {track.entry.name}, {self.settings}"

    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        """Return the masked mixture for each reference, see `Method`."""
        return ORACLES[self.name](mixture, references, self.stft.to(mixture.device))


@dataclass(frozen=True)
class EstimateFiles(Method):
    """Read the estimates from audio files of any tool.

    Args:
        files: folder of the files.
        sample_rate: sample rate of the protocol in Hz.
    """

    files: EstimateFolder
    sample_rate: int

    def origin(self, track: StoredTrack) -> str:
        """Return a text of the fingerprint of the files and the stored track; see `Method.origin`."""
        return f"files {self.files.fingerprint(track.name)}, {track.entry.name}"

    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        """Return the estimates of a track's files, see `Method`."""
        estimates = torch.from_numpy(self.files.read(track.name, self.sample_rate, *mixture.shape))
        return source_group.estimates(estimates.to(mixture.device), mixture)


def fingerprint(path: Path) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
