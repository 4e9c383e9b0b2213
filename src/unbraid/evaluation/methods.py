"""What is scored: a separator, an oracle, or a folder of files; each makes estimates of the sources of a track."""

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
    """Makes estimates of the sources of a track that are scored together."""

    @property
    def settings(self) -> dict[str, float | str | None]:
        """What else the estimates depend on, for the record."""
        return {}

    @abstractmethod
    def origin(self, track: StoredTrack) -> str:
        """What its estimates of a track depend on: as long as it stays the same, so do they."""

    @abstractmethod
    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        """Estimates at the rate and with the channels of the track.

        Shape: [C, T], [names, C, T] -> [names, C, T].
        """


@dataclass(frozen=True)
class SeparatorMethod(Method):
    """A separator, run as `separate.py` runs it: what is scored is what a user hears.

    Args:
        separator: on the device where it runs.
        weights: which ones, for the record.
        mixtures: tracks that are separated, by name: at the rate of the protocol, and with the channels of the protocol or of
            the separator, whichever are more.
        sample_rate: of the mixtures, in Hz.
        options: chunks, overlap, shifts and precision.
    """

    separator: Separator
    weights: str
    mixtures: Mapping[str, StoredTrack]
    sample_rate: int
    options: InferenceOptions
    latest: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def settings(self) -> dict[str, float | str | None]:
        options = asdict(self.options)
        del options["batch_size"]  # it changes rounding only
        return {**options, **self.separator.synthesis_options}

    def origin(self, track: StoredTrack) -> str:
        return f"{self.weights}, {self.mixtures[track.name].entry.name}, {self.settings}"

    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        sources = self.separate(track.name)
        estimates = np.stack([audio.to_channels(source, len(mixture)) for source in sources])
        return source_group.estimates(torch.from_numpy(estimates).to(mixture), mixture)

    def separate(self, name: str) -> np.ndarray:
        """Separate a track at the rate and with the channels of `mixtures`. Shape: [targets, C, T].

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
            raise InputError(f"{name}: the estimates are not numbers; training diverged, try a lower learning rate")
        self.latest.clear()
        self.latest[name] = estimates
        return estimates


def mixtures_for(
    separator: Separator, protocol: Protocol, tracks: Sequence[StoredTrack], whole: Callable[[int, int], Sequence[StoredTrack]]
) -> Sequence[StoredTrack]:
    """Return the tracks whose mixtures are separated to be scored, see `SeparatorMethod`.

    Args:
        separator: separates them.
        protocol: scores the estimates.
        tracks: tracks that are scored, in the format of the protocol.
        whole: returns the same tracks at a rate in Hz and with a number of channels; called if the separator has more channels.
    """
    rate, channels = protocol.format
    return tracks if separator.channels <= channels else whole(rate, separator.channels)


@dataclass(frozen=True)
class Oracle(Method):
    """The untouched mixture, or what the best mask of a kind would make of it.

    Args:
        name: one of `ORACLES`.
        stft: in which the mask is.
    """

    name: str
    stft: STFT

    @property
    def settings(self) -> dict[str, float | str | None]:
        return {} if self.name == "mixture" else {"n_fft": self.stft.n_fft, "hop_length": self.stft.hop_length}

    def origin(self, track: StoredTrack) -> str:
        return f"{self.name}, {track.entry.name}, {self.settings}"

    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        return ORACLES[self.name](mixture, references, self.stft.to(mixture.device))


@dataclass(frozen=True)
class EstimateFiles(Method):
    """From files that any tool has made.

    Args:
        files: where they lie.
        sample_rate: of what is scored, in Hz.
    """

    files: EstimateFolder
    sample_rate: int

    def origin(self, track: StoredTrack) -> str:
        return f"files {self.files.fingerprint(track.name)}, {track.entry.name}"

    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        estimates = torch.from_numpy(self.files.read(track.name, self.sample_rate, *mixture.shape))
        return source_group.estimates(estimates.to(mixture.device), mixture)


def fingerprint(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
