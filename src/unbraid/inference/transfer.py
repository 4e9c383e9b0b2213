"""Timbre transfer: a trained DDSP synthesizer plays the melody of a voice, for example of a singer.

The synthesizer has learned one instrument from recordings. The pitch and loudness of the voice are measured, and are moved into
the range of the recordings. The synthesizer then plays the moved pitch and loudness.

Audio is read and written in pieces. Only the control curves of the voice (pitch and loudness, usually 250 points per second)
are held in memory as a whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unbraid.data.controls import Controls, Extraction, sounding
from unbraid.dsp.synthesis import FLOOR_DB
from unbraid.models.instruments import Player, check_pitch
from unbraid.nets.ddsp import Instrument, Sounding, Training, semitones
from unbraid.runs.errors import InputError, check_seed

PIECE = 2400  # control points that are analysed at once
MARGIN = 120  # control points that are analysed before and after each piece; longer than any analysis window
MOST_RANGE, LEAST_RANGE = 2.0, 0.5  # limits of the factor that changes the range of loudness
GATE_POINTS = 5  # control points over which the sound fades in after silence, and fades out before silence


@dataclass(frozen=True)
class TransferOptions:
    """Store the options of timbre transfer, in which a trained instrument plays the melody of a voice.

    Args:
        shift: pitch shift in semitones. `auto`: the smallest shift by whole octaves with which the median pitch of the voice is
            in the pitch range of the training data. If no such shift exists, the shift to the nearest end of the range.
        loudness: `match`: the loudness of the voice gets the mean and the standard deviation of the loudness in the training
            data. The factor for the standard deviation is limited to [0.5, 2]. `keep`: the loudness is not changed.
        silence_db: level difference in dB. A part of the voice is played as silence if the part is more than `silence_db`
            quieter than the loudest part.
        reverb: whether to add the room reverberation that the instrument has learnt.
        seed: random seed of the noise generator.

    Raises:
        InputError: `silence_db` is not positive, or the seed is invalid.
    """

    shift: float | Literal["auto"]
    loudness: Literal["match", "keep"]
    silence_db: float
    reverb: bool
    seed: int

    def __post_init__(self) -> None:
        if self.silence_db <= 0:
            expected = "a number of dB above 0"
            raise InputError("silence_db", "invalid level difference", found=self.silence_db, expected=expected)
        check_seed(self.seed)


@dataclass
class VoiceControls:
    """Store the control curves of a voice, as measured by `listen`.

    Args:
        controls: pitch, loudness and periodicity at each control point.
        coefficients: mel-frequency cepstral coefficients (MFCCs) at each control point; None if the instrument does not use
            MFCCs.
        samples: length of the voice in samples.

    Shape:
        controls [F], coefficients [F, 30]; F is the number of control points (points in time).
    """

    controls: Controls
    coefficients: Tensor | None
    samples: int


@dataclass
class Moved:
    """Store the control curves that an instrument will play.

    Args:
        f0: pitch in Hz.
        loudness: loudness in dB.
        gate: gain of the sound: 1 at points with sound, 0 at silent points, and a short ramp in between.
        shift: pitch shift in semitones. `f0` already contains this shift.

    Shape:
        f0, loudness and gate [F]; F is the number of control points (points in time).
    """

    f0: Tensor
    loudness: Tensor
    gate: Tensor
    shift: float


def listen(player: Player, blocks: Iterable[np.ndarray]) -> VoiceControls:
    """Measure pitch, loudness and periodicity of a voice over time.

    The result does not depend on the length of the blocks.

    Args:
        player: instrument that will play the melody of the voice. The instrument defines how pitch and loudness are measured.
        blocks: consecutive blocks of the voice, at the sample rate of the instrument.

    Shape:
        blocks [n].

    Returns:
        The control curves of the voice.
    """
    features, instrument = player.features, player.instrument
    hop = features.hop_length
    parts: list[Controls] = []
    coefficients: list[Tensor] = []
    samples = 0
    for piece, count in _pieces(blocks, PIECE * hop, MARGIN * hop):
        kept = slice(MARGIN, MARGIN + count // hop + (count < PIECE * hop))  # the end of the voice is a control point, too
        parts.append(Controls(*(curve[kept] for curve in features(piece))))
        if instrument.timbre is not None:
            coefficients.append(instrument.coefficients(piece[None])[0][kept])
        samples += count
    controls = Controls(*(torch.cat(curves) for curves in zip(*parts, strict=True)))
    return VoiceControls(controls, torch.cat(coefficients) if coefficients else None, samples)


def _pieces(blocks: Iterable[np.ndarray], size: int, margin: int) -> Iterator[tuple[Tensor, int]]:
    """Cut a signal into pieces of `size` samples, and add a margin of `margin` samples on both sides of each piece.

    Yield pairs: a piece with its margins, and the number of samples of the piece without the margins. This number is `size`,
    or less (possibly 0) for the last piece. Samples before the start and after the end of the signal are zeros.
    """
    buffer = np.zeros(margin, np.float32)
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= size + 2 * margin:
            yield torch.from_numpy(buffer[: size + 2 * margin]), size
            buffer = buffer[size:]
    while (left := len(buffer) - margin) >= size:  # a whole piece, and the samples after it are shorter than the margin
        yield torch.from_numpy(np.pad(buffer, (0, margin))[: size + 2 * margin]), size
        buffer = buffer[size:]
    yield torch.from_numpy(np.pad(buffer, (0, margin))), left


def voiced_share(controls: Controls, features: Extraction) -> float:
    """Return how much of the sound in a recording has a pitch, as a share in [0, 1].

    Args:
        controls: pitch, loudness and periodicity of the recording over time.
        features: settings of the pitch detector. A control point has a pitch if its periodicity is at least `features.voicing`.

    Returns:
        Number of control points with sound and a pitch, divided by the number of control points with sound; 0 for a silent
        recording.
    """
    audible = sounding(controls.loudness)
    return float((features.voiced(controls) & audible).sum() / audible.sum().clamp(min=1))


def check_voice(controls: Controls, features: Extraction, least: float, name: str) -> None:
    """Check that a recording has one voice with a clear pitch.

    Args:
        controls: pitch, loudness and periodicity of the recording over time.
        features: settings of the pitch detector. A control point has a pitch if its periodicity is at least `features.voicing`.
        least: smallest accepted share of sound with a pitch, in [0, 1], see `voiced_share`.
        name: name of the recording in error messages, such as `input=song.wav`.

    Raises:
        InputError: the recording is silent, no part of the recording has a pitch, or the share of sound with a pitch is smaller
            than `least`.
    """
    expected = "one voice with a pitch"
    if not sounding(controls.loudness).any():
        raise InputError(name, "the recording is silent", expected=expected)
    if not features.voiced(controls).any():
        raise InputError(name, "no part of the recording has a pitch", expected=expected)
    if (share := voiced_share(controls, features)) < least:
        hint = "If the recording is a mixture, separate the voice first. Otherwise lower the value of 'least_voiced'."
        problem, expected = "too little of the sound has a pitch", f"at least {least:.0%} of the sound"
        raise InputError(name, problem, found=f"{share:.0%}", expected=expected, hint=hint)


def moved(controls: Controls, features: Extraction, training: Training, options: TransferOptions) -> Moved:
    """Move the pitch and loudness of a voice into the range of the training data of an instrument.

    An InputError is raised if the shifted pitch is outside 20 to 4000 Hz.

    Args:
        controls: pitch, loudness and periodicity of the voice over time.
        features: settings of the pitch detector. A control point has a pitch if its periodicity is at least `features.voicing`.
        training: range of pitch and loudness in the training data of the instrument.
        options: pitch shift, treatment of loudness, and threshold of silence.

    Returns:
        Pitch and loudness that the instrument will play, and a gate (a gain that is 0 in silent parts).
    """
    voiced = features.voiced(controls)
    f0 = features.settled(controls).f0
    shift = automatic_shift(float(semitones(f0[voiced]).median()), training) if options.shift == "auto" else options.shift
    f0 = f0 * 2 ** (shift / 12)
    check_pitch(f0, f"shift={shift:g}")
    level = controls.loudness
    audible = level > level.max() - options.silence_db
    if options.loudness == "match":
        mean, deviation = float(level[audible].mean()), max(float(level[audible].std(correction=0)), 1.0)
        factor = min(max(training.loudness_deviation / deviation, LEAST_RANGE), MOST_RANGE)
        level = ((level - mean) * factor + training.loudness_mean).clamp(min=FLOOR_DB)
    gate = torch.nn.functional.avg_pool1d(audible.float()[None], GATE_POINTS, 1, GATE_POINTS // 2, count_include_pad=False)[0]
    return Moved(f0, level.where(audible, FLOOR_DB), gate, shift)


def automatic_shift(median: float, training: Training) -> float:
    """Return the pitch shift that moves the median pitch of a voice into the pitch range of an instrument.

    Args:
        median: median pitch of the voice as a MIDI note number.
        training: pitch range in the training data of the instrument.

    Returns:
        The shift in semitones: the smallest shift by whole octaves (at most five) that moves the median into the pitch range.
        If no such shift exists, the shift to the nearest end of the pitch range, rounded to semitones.
    """
    octaves = sorted((12.0 * n for n in range(-5, 6)), key=abs)
    inside = [shift for shift in octaves if training.lowest <= median + shift <= training.highest]
    if inside:
        return inside[0]
    return round(min(max(median, training.lowest), training.highest) - median)


def played(
    instrument: Instrument, target: Moved, voice: VoiceControls, options: TransferOptions
) -> Iterator[tuple[Tensor, Sounding]]:
    """Synthesize the sound of an instrument from control curves. Yield the sound piece by piece.

    Args:
        instrument: trained instrument.
        target: pitch, loudness and gate to play, as returned by `moved`.
        voice: length and MFCCs of the voice, as returned by `listen`.
        options: reverberation and random seed.

    Shape:
        piece of the sound [n]. Each parameter of the synthesizer has the shape [1, points, …].

    Yields:
        Pairs: a piece of the sound, and the parameters of the synthesizer for this piece. All pieces together are as long as
        the voice.
    """
    left = voice.samples
    pieces = instrument.perform(
        target.f0, target.loudness, voice.coefficients, target.gate, seed=options.seed, dry=not options.reverb
    )
    for sound, parameters in pieces:
        yield sound[:left], parameters
        left -= len(sound[:left])
