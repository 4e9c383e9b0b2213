"""Pitch of a monophonic sound at control points: CREPE (Kim et al., ICASSP 2018), or pYIN (Mauch & Dixon, ICASSP 2014), which
needs no network. Both come with the extra `pitch`. Of several voices at once neither says anything of use.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from unbraid import audio
from unbraid.runs.errors import InputError

LOWEST_HZ, HIGHEST_HZ = 20.0, 4000.0  # that any pitch of ours may have
CREPE_RATE, CREPE_WINDOW, CREPE_BATCH = 16000, 1024, 256
CREPE_RANGE_HZ = (32.0, 1975.0)
# Of the network's 360 classes: 20 cents apart, from 10 Hz · 2^(1997.38 / 1200) on.
CENTS_PER_BIN, FIRST_CENTS, BINS = 20.0, 1997.3794084376191, 360
NEIGHBOURS = 4  # each side of the likeliest class, over which the pitch is averaged


class Pitch(Protocol):
    """A way to find pitch."""

    def __call__(self, waveform: np.ndarray, sample_rate: int, hop_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Pitch in Hz and how periodic the sound is, in [0, 1]. Shape: [samples] -> [samples // hop_length + 1] each."""


@dataclass(frozen=True)
class Crepe:
    """The convolutional network, with the weights that the package `torchcrepe` ships.

    Args:
        model: `full` (22 M parameters) or `tiny` (0.5 M), which is twenty times as fast.
        every: of so many control points one is listened to; between them pitch is interpolated.
        fmin: that is looked for.
        fmax: that is looked for.
    """

    model: Literal["full", "tiny"]
    every: int
    fmin: float
    fmax: float

    def __post_init__(self) -> None:
        _check_range(self.fmin, self.fmax, CREPE_RANGE_HZ)
        if self.every < 1:
            raise InputError(f"every must be at least 1, found {self.every}")
        _need("torchcrepe")

    def __call__(self, waveform: np.ndarray, sample_rate: int, hop_length: int) -> tuple[np.ndarray, np.ndarray]:
        count = len(waveform) // hop_length + 1
        heard = np.unique([*range(0, count, self.every), count - 1])
        samples = torch.from_numpy(audio.resample(waveform[None], sample_rate, CREPE_RATE)[0])
        centres = torch.from_numpy(np.rint(heard * (hop_length * CREPE_RATE / sample_rate)).astype(np.int64))
        cents, periodicity = self._decode(_classes(samples, centres, self.model))
        points = np.arange(count)
        hz = 10 * 2 ** (np.interp(points, heard, cents.numpy()) / 1200)
        return hz.astype(np.float32), np.interp(points, heard, periodicity.numpy()).astype(np.float32)

    def _decode(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Cents above 10 Hz around the likeliest class, and how likely it is. Shape: [n, 360] -> [n], [n]."""
        cents = FIRST_CENTS + CENTS_PER_BIN * torch.arange(BINS, dtype=torch.float64)
        hz = 10 * 2 ** (cents / 1200)
        likely, best = classes.masked_fill((hz < self.fmin) | (hz > self.fmax), -1).max(dim=1)
        around = (best[:, None] + torch.arange(-NEIGHBOURS, NEIGHBOURS + 1)).clamp(0, BINS - 1)
        weights = classes.double().gather(1, around)
        return (weights * cents[around]).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-12), likely


@torch.inference_mode()
def _classes(samples: Tensor, centres: Tensor, model: str) -> Tensor:
    """What CREPE says of the sound around each centre. Shape: [samples], [n] -> [n, 360]."""
    import torchcrepe

    half = CREPE_WINDOW // 2
    padded = torch.nn.functional.pad(samples, (half, half + CREPE_WINDOW))
    found = []
    for some in centres.split(CREPE_BATCH):
        frames = padded[some[:, None] + torch.arange(CREPE_WINDOW)]
        frames = frames - frames.mean(dim=1, keepdim=True)
        found.append(torchcrepe.infer(frames / frames.std(dim=1, keepdim=True).clamp(min=1e-10), model))
    return torch.cat(found)


@dataclass(frozen=True)
class Pyin:
    """pYIN of the package `librosa`: autocorrelation, and the likeliest path through its candidates.

    Args:
        fmin: that is looked for.
        fmax: that is looked for.
        resolution: in semitones.
    """

    fmin: float
    fmax: float
    resolution: float

    def __post_init__(self) -> None:
        _check_range(self.fmin, self.fmax, (LOWEST_HZ, HIGHEST_HZ))
        if not 0 < self.resolution < 1:
            raise InputError(f"resolution must lie in (0, 1) semitones, found {self.resolution}")
        _need("librosa")

    def __call__(self, waveform: np.ndarray, sample_rate: int, hop_length: int) -> tuple[np.ndarray, np.ndarray]:
        import librosa

        window = 1 << int(np.ceil(np.log2(4 * sample_rate / self.fmin)))
        found: Any = librosa.pyin(
            waveform, fmin=self.fmin, fmax=self.fmax, sr=sample_rate, hop_length=hop_length, frame_length=window,
            resolution=self.resolution, fill_na=None,
        )  # fmt: skip
        hz, voiced, likely = found
        return hz.astype(np.float32), np.where(voiced, np.maximum(likely, 0.5), np.minimum(likely, 0.5)).astype(np.float32)


def _check_range(lowest: float, highest: float, known: tuple[float, float]) -> None:
    for name, value in {"fmin": lowest, "fmax": highest}.items():
        if not known[0] <= value <= known[1]:
            raise InputError(f"{name} must lie in [{known[0]:g}, {known[1]:g}] Hz, found {value}")
    if lowest >= highest:
        raise InputError(f"fmin must be below fmax={highest}, found {lowest}")


def _need(package: str) -> None:
    if find_spec(package) is None:
        raise InputError(f"_target_: needs the package {package}, which is not installed; pip install 'unbraid[pitch]'")
