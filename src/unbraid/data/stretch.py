"""Make copies of training tracks at another pitch or tempo. The copies are rendered once, before training.

Time stretching uses Signalsmith Stretch (Luff), a phase vocoder that tracks spectral peaks, from the package `python-stretch`.
The pitch is shifted by time stretching followed by resampling, not by the transposition of the library. In a test,
steady tones of 220 and 1234 Hz were shifted by one or two semitones. With resampling, the error of the pitch was at most 0.1
cents, and artefacts were 58 dB below the tone. With the transposition of the library, the error was 2 to 9 cents at 220 Hz, and
the pitch of both tones fluctuated.

Limits: formants move with the pitch, so after a shift of more than a few semitones a voice sounds like another kind of voice.
In a copy at a lower pitch, the highest frequencies (just below half the sample rate) are missing.

The stretched mixture is not the sum of the stretched sources. So the mixture of a copy must be computed as the sum of the
stretched sources. The peaks of this mixture can be higher than the peaks of the original mixture.
"""

from dataclasses import dataclass

import numpy as np

from unbraid.audio import resample
from unbraid.runs.errors import InputError


@dataclass(frozen=True)
class Stretch:
    """Change the pitch and the tempo of a track.

    The quality depends on the factor `tempo / 2 ** (semitones / 12)`, by which the package `python-stretch` changes the speed.
    If this factor is near 1, attacks of notes move by less than 1 ms. If the factor is outside [0.5, 2], attacks are blurred by
    up to 20 ms, and the pitch of steady tones fluctuates.

    Args:
        semitones: pitch shift in semitones, in [-12, 12]; positive values raise the pitch.
        tempo: factor of the tempo, in [0.5, 2]; 2 halves the duration.
    """

    semitones: float
    tempo: float

    def __post_init__(self) -> None:
        for name, least, most in (("semitones", -12, 12), ("tempo", 0.5, 2)):
            if not least <= getattr(self, name) <= most:
                raise InputError(name, "out of range", found=getattr(self, name), expected=f"a number in [{least}, {most}]")
        if self.semitones == 0 and self.tempo == 1:
            raise InputError(
                "semitones", "semitones=0 and tempo=1 do not change the track", hint="Set another value of semitones or tempo"
            )

    @property
    def name(self) -> str:
        """Return a short description that is appended to the names of copies, such as `+1 st, x1.06`."""
        return f"{self.semitones:+g} st, x{self.tempo:g}"

    def __call__(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Return a copy of one source at the new pitch and tempo.

        The result is deterministic. The channels stay in phase, and the sources of a track stay aligned. An InputError is
        raised if the package `python-stretch` is not installed.

        Args:
            samples: waveform of the source, all channels.
            sample_rate: sample rate of the waveform, in Hz.

        Shape:
            samples: float32 [C, T]; the result: float32 [C, round(T / tempo)].

        Returns:
            The waveform of the copy, at the same sample rate.
        """
        played_at = round(sample_rate * 2 ** (self.semitones / 12))
        # One second of silence is appended, so that the last window does not fade out the end; it is cut off after stretching.
        padded = np.pad(samples, ((0, 0), (0, sample_rate))).astype(np.float32, copy=False)
        stretched = _stretched(padded, sample_rate, self.tempo * sample_rate / played_at)
        return np.ascontiguousarray(resample(stretched, played_at, sample_rate)[:, : round(samples.shape[1] / self.tempo)])


def _stretched(samples: np.ndarray, sample_rate: int, speed: float) -> np.ndarray:
    """Return the waveform [C, T] played `speed` times as fast, at the same pitch."""
    try:
        from python_stretch.Signalsmith import Stretch as Stretcher
    except ModuleNotFoundError as error:
        hint = "Run pip install 'unbraid[stretch]'"
        raise InputError("offline_augmentation", "the package python-stretch is not installed", hint=hint) from error
    if speed == 1:
        return samples
    stretcher = Stretcher(0)  # random seed: at low speeds the library draws random phases
    stretcher.preset(len(samples), sample_rate)
    stretcher.timeFactor = speed
    return np.asarray(stretcher.process(samples))
