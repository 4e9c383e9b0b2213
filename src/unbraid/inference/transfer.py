"""Timbre transfer: analyse a voice, move its pitch and loudness into the range of an instrument, and play the instrument.

Only the control curves of the whole voice are held in memory, with 250 points per second. Audio is read and written in pieces.
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
MARGIN = 120  # control points before and after a piece; no analysis window is longer
MOST_RANGE, LEAST_RANGE = 2.0, 0.5  # limits of the factor that changes the range of loudness
GATE_POINTS = 5  # control points in which a gate opens


@dataclass(frozen=True)
class TransferOptions:
    """Set how a voice is transferred to an instrument.

    Args:
        shift: pitch shift in semitones; `auto`: the octaves that move the median pitch into the range of the training data, or
            semitones if octaves cannot do so.
        loudness: `match`: the loudness gets the mean and the range of the training data; `keep`: the loudness is not changed.
        silence_db: points that are at least this many dB below the loudest point are silent.
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
            raise InputError(
                "silence_db", "the distance in dB is not positive", found=self.silence_db, expected="a number of dB above 0"
            )
        check_seed(self.seed)


@dataclass
class VoiceControls:
    """Store the control curves of a voice.

    Args:
        controls: pitch, loudness and periodicity at each control point.
        coefficients: MFCCs at each control point; None if the instrument has no latent timbre.
        samples: length of the voice in samples.

    Shape:
        controls [F], coefficients [F, 30].
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
        gate: 1 at points with sound, 0 at silent points, and values between them when the gate opens or closes.
        shift: pitch shift that was applied, in semitones.

    Shape:
        f0, loudness and gate [F].
    """

    f0: Tensor
    loudness: Tensor
    gate: Tensor
    shift: float


def listen(player: Player, blocks: Iterable[np.ndarray]) -> VoiceControls:
    """Measure the pitch and loudness of a voice.

    The result does not depend on the length of the blocks.

    Args:
        player: instrument that will play the voice.
        blocks: consecutive stretches of the voice, at the sample rate of the instrument.

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
    """Yield pieces of `size` samples with a margin on both sides, and the number of samples without the margins.

    The last piece is shorter than `size`. It can have 0 samples without the margins.
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
    """Return the share of the points with sound that have a pitch.

    Args:
        controls: control curves of a voice.
        features: extraction of the control curves, which defines the threshold of voiced points.

    Returns:
        The share, in [0, 1]. It is 0 for a silent voice.
    """
    audible = sounding(controls.loudness)
    return float((features.voiced(controls) & audible).sum() / audible.sum().clamp(min=1))


def check_voice(controls: Controls, features: Extraction, least: float, name: str) -> None:
    """Check that a recording has one voice with a clear pitch.

    Args:
        controls: control curves of the recording.
        features: extraction of the control curves.
        least: smallest accepted share of the points with sound that have a pitch, in [0, 1].
        name: name of the recording in error messages, such as `input=song.wav`.

    Raises:
        InputError: the recording is silent, no point has a pitch, or the share is too small.
    """
    expected = "a recording of one voice"
    if not sounding(controls.loudness).any():
        raise InputError(name, "the recording is silent", expected=expected)
    if not features.voiced(controls).any():
        raise InputError(name, "no part of the recording has a pitch", expected=expected)
    if (share := voiced_share(controls, features)) < least:
        hint = "The recording must contain one voice. Separate the voice first, or set a lower least_voiced."
        problem, expected = "too little of the sound has a pitch", f"at least {least:.0%}"
        raise InputError(name, problem, found=f"{share:.0%}", expected=expected, hint=hint)


def moved(controls: Controls, features: Extraction, training: Training, options: TransferOptions) -> Moved:
    """Move the control curves of a voice into the range of the training data.

    An InputError is raised if the shifted pitch is outside 20 to 4000 Hz.

    Args:
        controls: control curves of the voice.
        features: extraction of the control curves.
        training: range of pitch and loudness in the training data of the instrument.
        options: pitch shift, loudness and silence.

    Returns:
        The control curves for the instrument.
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
    """Return the pitch shift that moves a voice into the range of the training data.

    Args:
        median: median pitch of the voice as a MIDI note number.
        training: range of pitch in the training data.

    Returns:
        The shift in semitones: the smallest shift by octaves that reaches the range. If octaves cannot reach it, the shift to
        the nearest end of the range, rounded to semitones.
    """
    octaves = sorted((12.0 * n for n in range(-5, 6)), key=abs)
    inside = [shift for shift in octaves if training.lowest <= median + shift <= training.highest]
    if inside:
        return inside[0]
    return round(min(max(median, training.lowest), training.highest) - median)


def played(
    instrument: Instrument, target: Moved, voice: VoiceControls, options: TransferOptions
) -> Iterator[tuple[Tensor, Sounding]]:
    """Play the instrument, piece by piece.

    Args:
        instrument: trained instrument.
        target: control curves to play, from `moved`.
        voice: control curves of the voice, from `listen`.
        options: reverberation and random seed.

    Shape:
        sound [n], parameters of the synthesiser [1, points, …].

    Yields:
        Pairs of a stretch of sound and the parameters of the synthesiser. Together the stretches are as long as the voice.
    """
    left = voice.samples
    pieces = instrument.perform(
        target.f0, target.loudness, voice.coefficients, target.gate, seed=options.seed, dry=not options.reverb
    )
    for sound, parameters in pieces:
        yield sound[:left], parameters
        left -= len(sound[:left])
