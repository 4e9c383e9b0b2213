"""Make copies of training tracks with MP3 artefacts, reverb or limited peaks. The copies are rendered once, before training.

The effects are those of the package `pedalboard`, which has the licence GPL 3: the encoder LAME for MP3, the reverb of JUCE
(Freeverb), and a limiter with look-ahead. Use `unbraid.data.stretch` for other pitches and tempos.

An effect changes each source of a track separately, with a parameter of its own. So the mixture of a copy must be computed as
the sum of its sources. The parameter is drawn from a random generator that is seeded by the number `seed` and by the samples of
the source. So the copy of a track does not depend on other tracks, on the order of decoding or on the seed of the run.
"""

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from unbraid.audio import resample
from unbraid.runs.errors import InputError

MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
DIRECT = 0.5  # value of `dry_level` for which the direct sound keeps its level


@dataclass(frozen=True)
class Effect(ABC):
    """Change the sound of each source of a track. Length, tempo and pitch stay the same.

    Args:
        low: smallest value of the parameter that is drawn for each source, see the subclasses.
        high: largest value of the parameter. Values are drawn uniformly between `low` and `high`.
        seed: random seed of the parameters.

    Raises:
        InputError: the range of values is empty, or exceeds the limits of the effect.
    """

    low: float
    high: float
    seed: int

    limits = (0.0, 1.0)  # smallest `low` and largest `high`

    def __post_init__(self) -> None:
        least, most = self.limits
        if not least <= self.low <= self.high <= most:
            expected = f"{least:g} <= low <= high <= {most:g}"
            raise InputError("low", "the range of values is invalid", found=f"{self.low:g} to {self.high:g}", expected=expected)

    @property
    def name(self) -> str:
        """Return a short description that is appended to the names of copies, such as `codec 5 to 9, seed 0`."""
        return f"{type(self).__name__.lower()} {self.low:g} to {self.high:g}, seed {self.seed}"

    def __call__(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Return a copy of one source with the effect. The same source always gets the same copy.

        Args:
            samples: waveform of the source, all channels.
            sample_rate: sample rate of the waveform, in Hz.

        Shape:
            samples: float32 [C, T]; the result: float32 [C, T].

        Returns:
            The waveform of the copy, at the same sample rate.

        Raises:
            InputError: the package `pedalboard` is not installed.
        """
        try:
            import pedalboard
        except ModuleNotFoundError as error:
            hint = "Run pip install 'unbraid[effects]'"
            raise InputError("offline_augmentation", "the package pedalboard is not installed", hint=hint) from error
        if not samples.any():
            return samples
        random = np.random.default_rng([self.seed, zlib.crc32(samples.tobytes())])
        return self.apply(pedalboard, samples, sample_rate, random.uniform(self.low, self.high))

    @abstractmethod
    def apply(self, pedalboard: Any, samples: np.ndarray, sample_rate: int, value: float) -> np.ndarray:
        """Apply the effect, with the drawn value of its parameter, to a source that is not silent."""


@dataclass(frozen=True)
class Codec(Effect):
    """Encode each source as MP3 with a variable bit rate, and decode the result.

    Args:
        low: smallest value of the VBR quality of LAME, at least 0 (best quality).
        high: largest value of the VBR quality, at most 9.9 (worst quality).
        seed: random seed of the parameters.
    """

    limits = (0.0, 9.9)

    def apply(self, pedalboard: Any, samples: np.ndarray, sample_rate: int, value: float) -> np.ndarray:
        """Encode and decode a source. MP3 files have one of nine sample rates; the source is resampled if necessary."""
        rate = next((rate for rate in MP3_RATES if rate >= sample_rate), MP3_RATES[-1])
        coded = pedalboard.MP3Compressor(vbr_quality=value)(resample(samples, sample_rate, rate), rate)
        decoded = resample(coded, rate, sample_rate)[:, : samples.shape[1]]
        return np.pad(decoded, ((0, 0), (0, samples.shape[1] - decoded.shape[1])))


@dataclass(frozen=True)
class Reverb(Effect):
    """Add the reverb of a room to each source. The direct sound keeps its level, and the end of the reverb is cut off.

    Args:
        low: smallest size of the room, at least 0.
        high: largest size of the room, at most 1: the reverb of the largest room decays slowest.
        seed: random seed of the parameters.
        wet_level: level of the reverb, in (0, 1].

    Raises:
        InputError: `wet_level` is out of range.
    """

    wet_level: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.wet_level <= 1:
            raise InputError("wet_level", "out of range", found=self.wet_level, expected="a number in (0, 1]")

    @property
    def name(self) -> str:
        """Return a short description that is appended to the names of copies."""
        return f"{super().name}, wet {self.wet_level:g}"

    def apply(self, pedalboard: Any, samples: np.ndarray, sample_rate: int, value: float) -> np.ndarray:
        """Add reverb to a source."""
        return pedalboard.Reverb(room_size=value, wet_level=self.wet_level, dry_level=DIRECT)(samples, sample_rate)


@dataclass(frozen=True)
class Limiter(Effect):
    """Limit the peaks of each source, as in a loud master. The limiter looks 5 ms ahead, and the RMS level stays the same.

    Args:
        low: smallest level to which the peaks are limited, in dB relative to the peak of the source, at least -60.
        high: largest level in dB, at most 0.
        seed: random seed of the parameters.
    """

    limits = (-60.0, 0.0)

    def apply(self, pedalboard: Any, samples: np.ndarray, sample_rate: int, value: float) -> np.ndarray:
        """Limit the peaks of a source, and restore its RMS level, which the limiter has lowered."""
        limited = pedalboard.BrickwallLimiter(ceiling_db=value)(samples / np.abs(samples).max(), sample_rate)
        return (limited * (np.linalg.norm(samples) / np.linalg.norm(limited))).astype(np.float32)
