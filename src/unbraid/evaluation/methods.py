"""Methods: objects that estimate the sources of a track, so that the estimates can be scored.

A method is a separator, an oracle (a mask computed from the true sources), or a folder of audio files.
"""

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
from unbraid.inference.chunked import InferenceOptions, device_of, song_scale, streamed
from unbraid.models.separators.base import Separator
from unbraid.runs.errors import InputError
from unbraid.scoring.oracles import ORACLES
from unbraid.scoring.protocols import Protocol, SourceGroup

MIXED, SILENCE = "mixture", "silence"
# Labels of the rows of all baselines, by the name of their method
BASELINES = {MIXED: "mixture", SILENCE: "silence", "irm": "ideal ratio mask", "psm": "phase-sensitive mask"}


class Method(ABC):
    """Base class of objects that estimate the sources of a track, so that the estimates can be scored."""

    @property
    def settings(self) -> dict[str, float | str | None]:
        """Options that change the estimates: a dictionary from name to value, which is written to `scores.json`."""
        return {}

    @abstractmethod
    def origin(self, track: StoredTrack) -> str:
        """Return a text that identifies how the estimates of a track are computed.

        If this text differs from the stored text of the track, the track is scored again.
        """

    @abstractmethod
    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        """Return the estimated sources of a track, with the sample rate and the channels of the protocol.

        Args:
            track: track whose sources are estimated.
            source_group: names of the scored sources. Each scored source is a weighted sum of the sources in the data set.
            mixture: waveform of the mixture.
            references: true waveforms of the sources.

        Returns:
            Estimated waveform of each scored source.

        Shape:
            mixture [C, T], references [S, C, T] -> [S, C, T].
        """


@dataclass(frozen=True)
class SeparatorMethod(Method):
    """Separate tracks in the same way as `scripts/separate.py`, so that the scores are valid for the audio that users get.

    Args:
        separator: separator. The computation runs on its device.
        weights: text that identifies the weights of the separator, such as a part of the hash of the weights file.
        mixtures: dictionary from the name of each track to the track. The tracks have the given sample rate. They
            have as many channels as the protocol of the scores or as the separator, whichever number is larger.
        sample_rate: sample rate of the mixtures in Hz.
        options: options of the separation, such as the chunk length.
    """

    separator: Separator
    weights: str
    mixtures: Mapping[str, StoredTrack]
    sample_rate: int
    options: InferenceOptions
    latest: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)  # of one track

    @property
    def settings(self) -> dict[str, float | str | None]:
        """Options of the separation that change the estimates. The batch size changes only rounding, and is left out."""
        options = asdict(self.options)
        del options["batch_size"]
        return {**options, **self.separator.synthesis_options}

    def origin(self, track: StoredTrack) -> str:
        """Return a text that identifies how a track is separated: hash of the weights, hash of the mixture, and options."""
        return f"{self.weights}, {self.mixtures[track.name].entry.name}, {self.settings}"

    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        """Separate a track, and return the estimates with the number of channels of the protocol."""
        sources = self.separate(track.name)
        estimates = np.stack([audio.to_channels(source, len(mixture)) for source in sources])
        return source_group.estimates(torch.from_numpy(estimates).to(mixture), mixture)

    def separate(self, name: str) -> np.ndarray:
        """Separate a track. If the latest call had the same track, the stored estimates are returned.

        Args:
            name: name of the track in `mixtures`.

        Returns:
            Estimates, with the sample rate and the number of channels of `mixtures`.

        Shape:
            Result [targets, C, T].

        Raises:
            InputError: the estimates contain NaN or infinite values.
        """
        if name in self.latest:
            return self.latest[name]
        blocks = [self.mixtures[name].tensor([MIXTURE])[0].numpy()]
        device = device_of(self.separator)
        scale = song_scale(self.separator, blocks, self.sample_rate)
        stretches = streamed(self.separator, blocks, self.sample_rate, self.options, device, scale)
        estimates = np.concatenate([sources for _, sources in stretches], axis=-1)
        if not np.isfinite(estimates).all():
            hint = "Training has diverged. A lower optim.optimizer.lr may help."
            raise InputError(name, "the estimates of the track contain NaN or infinite values", hint=hint)
        self.latest.clear()
        self.latest[name] = estimates
        return estimates


def mixtures_for(
    separator: Separator, protocol: Protocol, tracks: Sequence[StoredTrack], whole: Callable[[int, int], Sequence[StoredTrack]]
) -> Sequence[StoredTrack]:
    """Return the tracks whose mixtures a separator reads. The tracks have enough channels for the separator.

    The returned tracks have the sample rate of the protocol. They have as many channels as the protocol or as the separator,
    whichever number is larger.

    Args:
        separator: separator that reads the mixtures.
        protocol: protocol of the scores.
        tracks: scored tracks, with the sample rate and the number of channels of the protocol.
        whole: function that returns the scored tracks with a given sample rate in Hz and a given number of channels. The
            function is called only if the separator has more channels than the protocol.

    Returns:
        The tracks, in the order of `tracks`.
    """
    rate, channels = protocol.format
    return tracks if separator.channels <= channels else whole(rate, separator.channels)


@dataclass(frozen=True)
class Oracle(Method):
    """Estimate sources as the unchanged mixture, as silence, or with a mask that is computed from the true sources.

    Args:
        name: `mixture` for the unchanged mixture, `silence`, or the name of the mask, such as `irm` (ideal ratio mask).
        stft: short-time Fourier transform in which the mask is applied.
    """

    name: str
    stft: STFT

    @property
    def settings(self) -> dict[str, float | str | None]:
        """Options of the STFT in which the mask is applied. Empty for the unchanged mixture and for silence."""
        return {} if self.name in (MIXED, SILENCE) else {"n_fft": self.stft.n_fft, "hop_length": self.stft.hop_length}

    def origin(self, track: StoredTrack) -> str:
        """Return a text that identifies the estimates of a track: name of the oracle, hash of the sources, and STFT options."""
        return f"{self.name}, {track.entry.name}, {self.settings}"

    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        """Return the estimates of all sources: each estimate is the masked mixture, the unchanged mixture or silence."""
        return ORACLES[self.name](mixture, references, self.stft.to(mixture.device))


@dataclass(frozen=True)
class EstimateFiles(Method):
    """Read the estimated sources of a track from audio files that another program has written.

    Args:
        files: reader of the folder with the audio files.
        sample_rate: sample rate of the protocol in Hz.
    """

    files: EstimateFolder
    sample_rate: int

    def origin(self, track: StoredTrack) -> str:
        """Return a text that identifies the estimates of a track: hash of the estimate files, and hash of the true sources."""
        return f"files {self.files.fingerprint(track.name)}, {track.entry.name}"

    def __call__(self, track: StoredTrack, source_group: SourceGroup, mixture: Tensor, references: Tensor) -> Tensor:
        """Read the audio files with the estimates of a track, and return the estimates."""
        estimates = torch.from_numpy(self.files.read(track.name, self.sample_rate, *mixture.shape))
        return source_group.estimates(estimates.to(mixture.device), mixture)


def baselines(stft: STFT, protocol: Protocol) -> dict[str, Method]:
    """Return the baselines of a table of scores: the unchanged mixture, silence, and oracle masks.

    Args:
        stft: STFT in which the oracle masks are applied.
        protocol: protocol of the scores. If the protocol uses BSS Eval, silence is left out, because BSS Eval does not define
            scores of silence.

    Returns:
        Dictionary from the name of each table row to the baseline, an object of the class `Method`.
    """
    return {name: Oracle(name, stft) for name in BASELINES if name != SILENCE or protocol.measure != "bss_eval"}


def fingerprint(path: Path) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
