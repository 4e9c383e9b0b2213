"""What is scored: a separator, an oracle, or a folder of files; each makes estimates of the sources of a track."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unbraid import audio
from unbraid.data.store import StoredTrack
from unbraid.data.tracks import MIXTURE
from unbraid.dsp import STFT
from unbraid.errors import InputError
from unbraid.estimates import EstimateFolder
from unbraid.scoring.oracles import ORACLES
from unbraid.scoring.protocols import Scene
from unbraid.separators import Separator


class Subject(ABC):
    """Makes estimates of the sources of a track that are scored together."""

    @property
    def settings(self) -> dict[str, float | str | None]:
        """What else the estimates depend on, for the record."""
        return {}

    @abstractmethod
    def origin(self, track: StoredTrack) -> str:
        """What its estimates of a track depend on: as long as it stays the same, so do they."""

    @abstractmethod
    def __call__(self, track: StoredTrack, scene: Scene, mixture: Tensor, references: Tensor) -> Tensor:
        """Estimates at the rate and with the channels of the track.

        Shape: [C, T], [names, C, T] -> [names, C, T].
        """


@dataclass(frozen=True)
class Separated(Subject):
    """By a separator, which hears the mixture at its own rate, as in training.

    Args:
        separator: on the device where it shall run.
        weights: which ones, for the record.
        heard: the tracks at the separator's rate and channels, by name.
        sample_rate: of what is scored, in Hz.
        overlap: share of a chunk that is cross-faded with the next.
        batch_size: chunks at once.
    """

    separator: Separator
    weights: str
    heard: Mapping[str, StoredTrack]
    sample_rate: int
    overlap: float
    batch_size: int

    @property
    def settings(self) -> dict[str, float | str | None]:
        return {"overlap": self.overlap, **self.separator.sound}

    def origin(self, track: StoredTrack) -> str:
        return f"{self.weights}, {self.heard[track.name].entry.name}, {self.settings}"

    def __call__(self, track: StoredTrack, scene: Scene, mixture: Tensor, references: Tensor) -> Tensor:
        return scene.estimates(self._at_rate(track.name, mixture), mixture)

    def _at_rate(self, name: str, mixture: Tensor) -> Tensor:
        """Shape: [targets, C, T], as the mixture."""
        estimates = self.separate(name)
        rate = self.separator.sample_rate
        if (rate, estimates.shape[1:]) == (self.sample_rate, mixture.shape):
            return estimates
        resampled = [
            audio.to_channels(audio.resample(estimate, rate, self.sample_rate), len(mixture))
            for estimate in estimates.cpu().numpy()
        ]
        found = torch.from_numpy(np.stack(resampled)).to(mixture)
        return functional.pad(found, (0, mixture.shape[-1] - found.shape[-1]))  # lengths are rounded

    def separate(self, name: str) -> Tensor:
        """At the separator's rate; InputError where the estimates are not numbers. Shape: [targets, C, T]."""
        device = next(self.separator.parameters()).device
        mixture = self.heard[name].tensor([MIXTURE])[0].to(device)
        estimates = self.separator.separate(mixture, self.overlap, self.batch_size)
        if not estimates.isfinite().all():
            raise InputError(f"{name}: the estimates are not numbers; training diverged, try a lower learning rate")
        return estimates


@dataclass(frozen=True)
class Oracle(Subject):
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

    def __call__(self, track: StoredTrack, scene: Scene, mixture: Tensor, references: Tensor) -> Tensor:
        return ORACLES[self.name](mixture, references, self.stft.to(mixture.device))


@dataclass(frozen=True)
class Collected(Subject):
    """From files that any tool has made.

    Args:
        files: where they lie.
        sample_rate: of what is scored, in Hz.
    """

    files: EstimateFolder
    sample_rate: int

    def origin(self, track: StoredTrack) -> str:
        return f"files {self.files.fingerprint(track.name)}, {track.entry.name}"

    def __call__(self, track: StoredTrack, scene: Scene, mixture: Tensor, references: Tensor) -> Tensor:
        estimates = torch.from_numpy(self.files.read(track.name, self.sample_rate, *mixture.shape))
        return scene.estimates(estimates.to(mixture.device), mixture)


def fingerprint(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
