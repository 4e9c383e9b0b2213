"""Estimate the pitch of monophonic audio at control points, which are evenly spaced points in time.

CREPE (Kim et al., ICASSP 2018) is a convolutional network. pYIN (Mauch & Dixon, ICASSP 2014) is based on autocorrelation and
does not need trained weights. Both are installed with `pip install 'unbraid[pitch]'`. Both estimate one pitch at a time and
cannot be used for polyphonic music.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from unbraid import audio
from unbraid.runs.errors import InputError, check_counts

LOWEST_HZ, HIGHEST_HZ = 20.0, 4000.0  # range of pitches in all features
CREPE_RATE, CREPE_WINDOW, CREPE_BATCH = 16000, 1024, 256
CREPE_RANGE_HZ = (32.0, 1975.0)
# The 360 classes of the network are 20 cents apart. The first one is 10 Hz · 2^(1997.38 / 1200).
CENTS_PER_BIN, FIRST_CENTS, BINS = 20.0, 1997.3794084376191, 360
NEIGHBOURS = 4  # classes on each side of the most likely class over which the pitch is averaged


class Pitch(Protocol):
    """Interface of pitch estimators for monophonic audio."""

    def __call__(self, waveform: np.ndarray, sample_rate: int, hop_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Estimate pitch and periodicity at each control point, one every `hop_length` samples.

        Args:
            waveform: mono waveform.
            sample_rate: sample rate in Hz.
            hop_length: step between control points in samples.

        Shape:
            [samples] -> [samples // hop_length + 1] each.

        Returns:
            Pitch in Hz, and periodicity in [0, 1]. A periodicity below 0.5 indicates audio without pitch.
        """


@dataclass(frozen=True)
class Crepe:
    """Estimate pitch with the CREPE network and the weights of the package `torchcrepe`.

    Args:
        model: `full` (22 M parameters) or `tiny` (0.5 M parameters, twenty times as fast).
        every: step in control points. With `every=4`, the network estimates the pitch at every fourth control point, and the
            pitch at all other control points is interpolated.
        fmin: lowest pitch that can be estimated, in Hz.
        fmax: highest pitch that can be estimated, in Hz.

    Raises:
        InputError: an argument is out of range, or the package `torchcrepe` is not installed.
    """

    model: Literal["full", "tiny"]
    every: int
    fmin: float
    fmax: float

    def __post_init__(self) -> None:
        _check_range(self.fmin, self.fmax, CREPE_RANGE_HZ)
        check_counts(every=self.every)
        _check_installed("torchcrepe")

    def __call__(self, waveform: np.ndarray, sample_rate: int, hop_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return pitch and periodicity at each control point, see `Pitch`."""
        count = len(waveform) // hop_length + 1
        evaluated = np.unique([*range(0, count, self.every), count - 1])
        samples = torch.from_numpy(audio.resample(waveform[None], sample_rate, CREPE_RATE)[0])
        centres = torch.from_numpy(np.rint(evaluated * (hop_length * CREPE_RATE / sample_rate)).astype(np.int64))
        cents, periodicity = self._decode(_class_probabilities(samples, centres, self.model))
        points = np.arange(count)
        hz = 10 * 2 ** (np.interp(points, evaluated, cents.numpy()) / 1200)
        return hz.astype(np.float32), np.interp(points, evaluated, periodicity.numpy()).astype(np.float32)

    def _decode(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Compute pitch and periodicity from the output of CREPE: a probability for each of 360 pitches.

        The pitch is in cents above 10 Hz. The periodicity is the largest probability of a pitch between `fmin` and `fmax`.
        Shape: [n, 360] -> [n], [n].
        """
        cents = FIRST_CENTS + CENTS_PER_BIN * torch.arange(BINS, dtype=torch.float64)
        hz = 10 * 2 ** (cents / 1200)
        highest, best = probabilities.masked_fill((hz < self.fmin) | (hz > self.fmax), -1).max(dim=1)
        nearby = (best[:, None] + torch.arange(-NEIGHBOURS, NEIGHBOURS + 1)).clamp(0, BINS - 1)
        weights = probabilities.double().gather(1, nearby)
        return (weights * cents[nearby]).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-12), highest


@torch.inference_mode()
def _class_probabilities(samples: Tensor, centres: Tensor, model: str) -> Tensor:
    """Return the output of CREPE at n positions: a probability for each of 360 pitches. Shape: [samples], [n] -> [n, 360]."""
    import torchcrepe

    half = CREPE_WINDOW // 2
    padded = torch.nn.functional.pad(samples, (half, half + CREPE_WINDOW))
    probabilities = []
    for batch in centres.split(CREPE_BATCH):
        frames = padded[batch[:, None] + torch.arange(CREPE_WINDOW)]
        frames = frames - frames.mean(dim=1, keepdim=True)
        probabilities.append(torchcrepe.infer(frames / frames.std(dim=1, keepdim=True).clamp(min=1e-10), model))
    return torch.cat(probabilities)


@dataclass(frozen=True)
class Pyin:
    """Estimate pitch with pYIN of the package `librosa`.

    The autocorrelation of the waveform gives several candidate pitches at each control point. pYIN chooses the most likely
    sequence of pitches.

    Args:
        fmin: lowest pitch that can be estimated, in Hz.
        fmax: highest pitch that can be estimated, in Hz.
        resolution: step between candidate pitches in semitones, above 0 and below 1.

    Raises:
        InputError: an argument is out of range, or the package `librosa` is not installed.
    """

    fmin: float
    fmax: float
    resolution: float

    def __post_init__(self) -> None:
        _check_range(self.fmin, self.fmax, (LOWEST_HZ, HIGHEST_HZ))
        if not 0 < self.resolution < 1:
            raise InputError("resolution", found=self.resolution, expected="a number of semitones above 0 and below 1")
        _check_installed("librosa")

    def __call__(self, waveform: np.ndarray, sample_rate: int, hop_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return pitch and periodicity at each control point, see `Pitch`."""
        import librosa

        window = 1 << int(np.ceil(np.log2(4 * sample_rate / self.fmin)))
        result: Any = librosa.pyin(
            waveform, fmin=self.fmin, fmax=self.fmax, sr=sample_rate, hop_length=hop_length, frame_length=window,
            resolution=self.resolution, fill_na=None,
        )  # fmt: skip
        hz, is_voiced, probability = result
        periodicity = np.where(is_voiced, np.maximum(probability, 0.5), np.minimum(probability, 0.5))
        return hz.astype(np.float32), periodicity.astype(np.float32)


def _check_range(fmin: float, fmax: float, allowed: tuple[float, float]) -> None:
    for name, value in {"fmin": fmin, "fmax": fmax}.items():
        if not allowed[0] <= value <= allowed[1]:
            raise InputError(name, found=f"{value} Hz", expected=f"{allowed[0]:g} to {allowed[1]:g} Hz")
    if fmin >= fmax:
        problem = "the lowest pitch (fmin) must be below the highest pitch (fmax)"
        raise InputError("fmin", problem, found=f"{fmin} Hz", expected=f"less than {fmax} Hz")


def _check_installed(package: str) -> None:
    if find_spec(package) is None:
        hint = "Install it with pip install 'unbraid[pitch]'."
        raise InputError("_target_", f"this pitch estimator needs the package {package}, which is not installed", hint=hint)
