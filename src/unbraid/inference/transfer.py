"""Timbre transfer: one voice heard, its pitch and loudness moved to where an instrument was trained, and played by it.

What is kept of a whole sound is its controls, a few numbers at each of 250 points a second; samples come and go in pieces.
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

PIECE, AROUND = 2400, 120  # control points that are heard at once, and beside these, which is more than any window reaches
LIVELIEST, DULLEST = 2.0, 0.5  # factors of the range of loudness
GATE_POINTS = 5  # in which a gate opens


@dataclass(frozen=True)
class TransferOptions:
    """How a voice is transferred.

    Args:
        shift: in semitones; `auto`: the octaves, or else semitones, that bring the median pitch into that of the training data.
        loudness: `match`: with mean and range of the training data's; `keep`: as it is.
        silence_db: what is fainter by so much than the loudest moment is silent.
        reverb: with the room that was learnt.
        seed: of the noise.
    """

    shift: float | Literal["auto"]
    loudness: Literal["match", "keep"]
    silence_db: float
    reverb: bool
    seed: int

    def __post_init__(self) -> None:
        if self.silence_db <= 0:
            raise InputError(f"silence_db must be above 0 dB below the loudest moment, found {self.silence_db}")
        check_seed(self.seed)


@dataclass
class VoiceControls:
    """A voice: its controls at every point, MFCCs for instruments with a latent, and how many samples it has.

    Shape: controls [F], coefficients [F, 30].
    """

    controls: Controls
    coefficients: Tensor | None
    samples: int


@dataclass
class Moved:
    """What the instrument is asked to play. Shape: f0, loudness, gate [F]."""

    f0: Tensor
    loudness: Tensor
    gate: Tensor
    shift: float


def listen(player: Player, blocks: Iterable[np.ndarray]) -> VoiceControls:
    """Pitch and loudness of a voice that comes in blocks [n] at the instrument's rate.

    Every point is heard with what is around it: where blocks and pieces end makes no difference.
    """
    features, instrument = player.features, player.instrument
    hop = features.hop_length
    parts: list[Controls] = []
    coefficients: list[Tensor] = []
    samples = 0
    for piece, count in _pieces(blocks, PIECE * hop, AROUND * hop):
        kept = slice(AROUND, AROUND + count // hop + (count < PIECE * hop))  # the end of the sound is a point, too
        parts.append(Controls(*(curve[kept] for curve in features(piece))))
        if instrument.timbre is not None:
            coefficients.append(instrument.coefficients(piece[None])[0][kept])
        samples += count
    controls = Controls(*(torch.cat(curves) for curves in zip(*parts, strict=True)))
    return VoiceControls(controls, torch.cat(coefficients) if coefficients else None, samples)


def _pieces(blocks: Iterable[np.ndarray], size: int, margin: int) -> Iterator[tuple[Tensor, int]]:
    """Pieces of `size` samples, the last one shorter, with a margin on both sides; and how many samples are a piece's own."""
    kept = np.zeros(margin, np.float32)
    for block in blocks:
        kept = np.concatenate([kept, block])
        while len(kept) >= size + 2 * margin:
            yield torch.from_numpy(kept[: size + 2 * margin]), size
            kept = kept[size:]
    while (left := len(kept) - margin) >= size:  # too little is left to be heard beyond the end of a whole piece
        yield torch.from_numpy(np.pad(kept, (0, margin))[: size + 2 * margin]), size
        kept = kept[size:]
    yield torch.from_numpy(np.pad(kept, (0, margin))), left


def voiced_share(controls: Controls, features: Extraction) -> float:
    """How much of what is more than silence has a pitch; 0 of silence."""
    there = sounding(controls.loudness)
    return float((features.voiced(controls) & there).sum() / there.sum().clamp(min=1))


def check_voice(controls: Controls, features: Extraction, least: float, name: str) -> None:
    """InputError where there is no single voice to follow: where less than a share of what sounds has a pitch."""
    if not sounding(controls.loudness).any():
        raise InputError(f"{name}: is silent, 0% of it is voiced; expected one voice")
    if not features.voiced(controls).any():
        raise InputError(f"{name}: nothing in it is voiced, expected one voice")
    if (share := voiced_share(controls, features)) < least:
        raise InputError(
            f"{name}: {share:.0%} of what sounds in it is voiced, expected one voice at a time, of which at least "
            f"{least:.0%} is; separate it first, or lower least_voiced"
        )


def moved(controls: Controls, features: Extraction, training: Training, options: TransferOptions) -> Moved:
    """Controls of a voice as the instrument shall play them.

    Raises:
        InputError: the pitch would lie outside 20 to 4000 Hz.
    """
    voiced = features.voiced(controls)
    f0 = features.settled(controls).f0
    shift = automatic_shift(float(semitones(f0[voiced]).median()), training) if options.shift == "auto" else options.shift
    f0 = f0 * 2 ** (shift / 12)
    check_pitch(f0, f"shift={shift:g}")
    level = controls.loudness
    there = level > level.max() - options.silence_db
    if options.loudness == "match":
        mean, deviation = float(level[there].mean()), max(float(level[there].std(correction=0)), 1.0)
        factor = min(max(training.loudness_deviation / deviation, DULLEST), LIVELIEST)
        level = ((level - mean) * factor + training.loudness_mean).clamp(min=FLOOR_DB)
    opened = torch.nn.functional.avg_pool1d(there.float()[None], GATE_POINTS, 1, GATE_POINTS // 2, count_include_pad=False)[0]
    return Moved(f0, level.where(there, FLOOR_DB), opened, shift)


def automatic_shift(median: float, training: Training) -> float:
    """The fewest octaves that bring a pitch into the training range, else the semitones to its nearest end."""
    octaves = sorted((12.0 * n for n in range(-5, 6)), key=abs)
    inside = [shift for shift in octaves if training.lowest <= median + shift <= training.highest]
    if inside:
        return inside[0]
    return round(min(max(median, training.lowest), training.highest) - median)


def played(
    instrument: Instrument, asked: Moved, heard: VoiceControls, options: TransferOptions
) -> Iterator[tuple[Tensor, Sounding]]:
    """The instrument's sound, as long as the voice, in pieces [n], with what was asked of the synthesiser [1, points, …]."""
    left = heard.samples
    pieces = instrument.perform(
        asked.f0, asked.loudness, heard.coefficients, asked.gate, seed=options.seed, dry=not options.reverb
    )
    for sound, sounding_ in pieces:
        yield sound[:left], sounding_
        left -= len(sound[:left])
