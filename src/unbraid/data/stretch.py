"""Copies of a track at another pitch and tempo, rendered before training.

The stretching is Signalsmith Stretch (Luff), a phase vocoder that follows spectral peaks, through the package `python-stretch`.
The pitch is not its own: here it is shifted by stretching and then resampling. On steady tones of 220 and 1234 Hz, shifted by
one or two semitones, that is right within 0.1 cents and all else lies 58 dB below them; the library's own transposition is 2 to
9 cents off at the lower one and makes both waver. The price: formants move with the pitch, so that by more than a few semitones
a voice becomes another kind of voice, and a lower copy has nothing just below half the sample rate.

A stretched sum is not the sum of what was stretched: the mixture of a copy must be made of its stretched sources. Its peaks may
be higher than the track's.
"""

from dataclasses import dataclass

import numpy as np

from unbraid.audio import resample
from unbraid.runs.errors import InputError


@dataclass(frozen=True)
class Stretch:
    """One copy of a track: so many semitones higher, so many times as fast.

    What the library has to stretch by is `tempo / 2 ** (semitones / 12)`. Near 1, a few semitones and tenths, attacks move by
    less than a millisecond; outside of [0.5, 2] they blur by up to 20 ms, and tones waver.

    Args:
        semitones: from -12 to 12; 0 keeps the pitch.
        tempo: from 0.5, half as fast, to 2; 1 keeps the tempo.
    """

    semitones: float
    tempo: float

    def __post_init__(self) -> None:
        for name, least, most in (("semitones", -12, 12), ("tempo", 0.5, 2)):
            if not least <= getattr(self, name) <= most:
                raise InputError(f"{name} must lie in [{least}, {most}], found {getattr(self, name)}")
        if self.semitones == 0 and self.tempo == 1:
            raise InputError("semitones must not be 0 where tempo is 1: the copy would be the track itself")

    @property
    def name(self) -> str:
        """Such as `+1 st, x1.06`."""
        return f"{self.semitones:+g} st, x{self.tempo:g}"

    def __call__(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """The copy of one source; all sources of a track stay aligned. The same samples give the same copy in any process.

        Args:
            samples: all channels of the source, which stay in phase.
            sample_rate: of them, in Hz.

        Shape:
            [C, T] float32 -> [C, round(T / tempo)] float32

        Raises:
            InputError: the library that stretches is not installed.
        """
        played_at = round(sample_rate * 2 ** (self.semitones / 12))
        # Silence behind the end keeps the last window from fading what is in it, and is cut off again with its copy.
        padded = np.pad(samples, ((0, 0), (0, sample_rate))).astype(np.float32, copy=False)
        stretched = _stretched(padded, sample_rate, self.tempo * sample_rate / played_at)
        return np.ascontiguousarray(resample(stretched, played_at, sample_rate)[:, : round(samples.shape[1] / self.tempo)])


def _stretched(samples: np.ndarray, sample_rate: int, speed: float) -> np.ndarray:
    try:
        from python_stretch.Signalsmith import Stretch as Stretcher
    except ModuleNotFoundError as error:
        raise InputError("copies at another pitch or tempo need a library: pip install 'unbraid[stretch]'") from error
    if speed == 1:
        return samples
    stretcher = Stretcher(0)  # the seed: where it slows down a lot it draws phases
    stretcher.preset(len(samples), sample_rate)
    stretcher.timeFactor = speed
    return np.asarray(stretcher.process(samples))
