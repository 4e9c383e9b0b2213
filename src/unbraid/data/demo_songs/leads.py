"""Render songs of three synthetic monophonic melodies: a voice and two instruments (reed and string).

The reed has a cylindrical bore, so odd harmonics are strongest. The string has a wooden body, which has fixed resonances. Both
instruments are brighter when they are louder. The timbre of an instrument is the same in every track. The notes are legato or
detached, with or without vibrato.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from unbraid.data.demo_songs.notation import Bar, Phrase, Style
from unbraid.data.demo_songs.score import PROGRESSIONS, SECTIONS, choose_style, pick, write_melody
from unbraid.data.demo_songs.sounds import (
    HOP,
    SAMPLE_RATE,
    Line,
    at_level,
    envelope,
    frames_for,
    harmonic_sum,
    hertz,
    mix_in,
    shaped_noise,
    smooth,
    trace,
)
from unbraid.data.demo_songs.voice import choose_singer, sing

LEADS = ("reed", "string", "vocals")
LEVEL_DBFS = -24.0  # RMS level of each lead; the sum of three stays below full scale
HARMONICS = 60


@dataclass(frozen=True)
class Maker:
    """Properties of a synthetic melody instrument: the reed or the string.

    Args:
        pitch: two MIDI pitches. The middle pitch of each melody is drawn at random between these two pitches.
        colour: function that returns the amplitudes of the harmonics [frames, harmonics]. Its arguments are the numbers of the
            harmonics [harmonics], their frequencies in Hz [frames, harmonics], and the loudness in [0, 1] [frames, 1].
        attack: duration of the attack of a note, in seconds.
        vibrato: largest depth of the vibrato, in semitones.
        air: two numbers: the level of the breath or bow noise, and the lower cut-off frequency of this noise in Hz.
    """

    pitch: tuple[float, float]
    colour: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    attack: float
    vibrato: float
    air: tuple[float, float]


def reed_colour(order: np.ndarray, hz: np.ndarray, loud: np.ndarray) -> np.ndarray:
    """Compute the spectrum of the synthetic reed instrument: the amplitude of each harmonic in each frame.

    The amplitude depends on the number and the frequency (Hz) of the harmonic, and on the loudness in [0, 1].
    """
    even = 0.06 + 0.25 * loud + 0.3 * np.clip((hz / order - 350) / 400, 0, 1)
    brightness = 700 + 2600 * loud
    return np.where(order % 2, 1.0, even) * order**-0.7 * np.exp(-hz / brightness)


def string_colour(order: np.ndarray, hz: np.ndarray, loud: np.ndarray) -> np.ndarray:
    """Compute the spectrum of the synthetic string instrument: the amplitude of each harmonic in each frame.

    The amplitude depends on the number and the frequency (Hz) of the harmonic, and on the loudness in [0, 1].
    """
    octaves = np.log2(hz / np.array([290, 470, 900, 2600, 4200])[:, None, None])
    body = 0.35 + (np.array([1.0, 1.2, 0.7, 1.5, 0.8])[:, None, None] * np.exp(-((octaves / 0.22) ** 2))).sum(axis=0)
    return body * order**-0.9 * np.exp(-hz / (1800 + 4500 * loud))


MAKERS = {
    "reed": Maker((58, 69), reed_colour, 0.04, 0.12, (0.012, 1200)),
    "string": Maker((57, 72), string_colour, 0.07, 0.4, (0.02, 2500)),
}


def render_leads(seed: int, seconds: float) -> dict[str, np.ndarray]:
    """Render one track with three monophonic melodies. The same arguments give the same samples.

    Args:
        seed: random seed, at least 0.
        seconds: duration in seconds.

    Shape:
        each value: int16 [1, T] with T = round(seconds * SAMPLE_RATE).

    Returns:
        The samples of "reed", "string", "vocals" and "mixture". The mixture is the exact integer sum of the three melodies.
    """
    samples = round(seconds * SAMPLE_RATE)
    streams = [np.random.Generator(np.random.PCG64(child)) for child in np.random.SeedSequence([seed, 1]).spawn(len(LEADS))]
    leads = {name: _render(name, samples, rng) for name, rng in zip(LEADS, streams, strict=True)}
    tracks = {name: np.rint(32767 * at_level(lead, LEVEL_DBFS)).clip(-10900, 10900) for name, lead in leads.items()}
    tracks |= {"mixture": np.sum([*tracks.values()], axis=0)}
    return {name: track.astype(np.int16) for name, track in tracks.items()}


def _render(name: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render a random melody of one instrument: "reed", "string" or "vocals". Shape: [1, samples]."""
    track = np.zeros((1, samples), np.float32)
    style = choose_style(rng)
    if name in MAKERS:
        style = replace(style, voice_pitch=rng.uniform(*MAKERS[name].pitch))
    phrases = _melody(rng, style, samples / SAMPLE_RATE)
    singer = choose_singer(rng, style.voice_pitch)
    for phrase in phrases:
        sound, begin = sing(phrase, singer, rng) if name == "vocals" else play_phrase(phrase, MAKERS[name], rng)
        mix_in(track, sound.astype(np.float32)[None], begin)
    return track


def _melody(rng: np.random.Generator, style: Style, seconds: float) -> list[Phrase]:
    """Compose a random melody of the given duration, and return its phrases."""
    chords = pick(rng, PROGRESSIONS[style.mode])
    count = int(np.ceil(seconds / style.time(1, 0)))
    bars = [Bar(n, SECTIONS["verse"], chords[n % 4], n == 0, False) for n in range(count)]
    return write_melody(rng, style, bars, seconds)


def play_phrase(phrase: Phrase, maker: Maker, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Synthesise a phrase. The loudness and the articulation (legato or detached) of the phrase are random.

    Args:
        phrase: phrase to play.
        maker: properties of the instrument.
        rng: random generator of the phrase.

    Returns:
        The mono waveform [samples], and the time in the track at which the phrase starts, in seconds.
    """
    legato, loud = rng.random() < 0.5, rng.uniform(0.25, 1.0)
    length = 1.0 if legato else rng.uniform(0.45, 0.7)
    notes = [replace(n, seconds=n.seconds * length, glide=0.03 if legato else 0.003) for n in phrase.notes]
    begin = notes[0].start
    frames = frames_for(round((phrase.end + 0.5 - begin) * SAMPLE_RATE))
    line = trace(notes, frames, begin)
    gain = smooth(_gain(line, maker.attack, legato), 0.03) * loud
    hz = hertz(_pitch(line, maker.vibrato * rng.uniform(0, 1), rng.uniform(4.8, 6.2), rng))
    order = np.arange(1, HARMONICS + 1)
    amplitudes = maker.colour(order, hz[:, None] * order, gain[:, None])
    amplitudes = amplitudes / np.sqrt(np.sum(amplitudes**2, axis=1, keepdims=True))
    level, edge = maker.air
    bins_hz = np.arange(HOP + 1) * SAMPLE_RATE / (2 * HOP)
    air = level * gain[:, None] * np.minimum(1, (bins_hz / edge) ** 2) * np.exp(-bins_hz / 6000)
    return harmonic_sum(hz, gain[:, None] * amplitudes) + shaped_noise(air.astype(np.float32), rng), begin


def _gain(line: Line, attack: float, legato: bool) -> np.ndarray:
    """Return the loudness curve of a phrase. Shape: [frames].

    If `legato` is True, the notes are joined, with a short dip in the loudness between notes. If `legato` is False, each note
    fades in and out.
    """
    if not legato:
        return envelope(line, attack, 0.05) * (0.75 + 0.25 * np.exp(-np.clip(line.age, 0, None) / 0.3))
    started = np.clip((line.age + line.index) / attack, 0, 1)  # fades in the first note (index 0) only
    dent = 1 - 0.35 * np.exp(-((line.age / 0.025) ** 2)) * (line.index > 0)
    return started * dent * np.exp(np.clip(line.left + 0.05, None, 0) / 0.08) * line.velocity


def _pitch(line: Line, vibrato: float, vibrato_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Return the MIDI pitch of a melody over time, with delayed vibrato and slow random drift. Shape: [frames]."""
    depth = vibrato * np.clip((line.age - 0.15) / 0.2, 0, 1)
    drift = 0.2 * smooth(rng.standard_normal(len(line.age)), 0.3)
    return smooth(line.pitch, 0.02) + smooth(depth, 0.1) * np.sin(2 * np.pi * vibrato_hz * line.age) + drift
