"""Synthesise the singers of the demo songs with a source-filter model (Fant, Acoustic Theory of Speech Production, 1960).

The harmonics of a glottal pulse are filtered by a cascade of time-varying formants. Breath and consonants are noise.
"""

from dataclasses import dataclass

import numpy as np

from unbraid.data.demo_songs.notation import Phrase, Score
from unbraid.data.demo_songs.sounds import (
    HIGHEST_HARMONIC_HZ,
    HOP,
    SAMPLE_RATE,
    Line,
    frames_for,
    harmonic_sum,
    hertz,
    mix_in,
    pan,
    reverberate,
    shaped_noise,
    smooth,
    trace,
)

VOWEL_FORMANTS_HZ = {
    "a": (740, 1180, 2550, 3500, 4500),
    "e": (500, 1850, 2550, 3500, 4500),
    "i": (300, 2250, 3000, 3650, 4600),
    "o": (470, 850, 2450, 3400, 4400),
    "u": (330, 780, 2300, 3350, 4400),
    "@": (540, 1400, 2450, 3450, 4500),
}
# Fixed resonances of the vocal tract above the formants of the vowels: one per kilohertz.
UPPER_FORMANTS_HZ = (5300, 6250, 7250, 8250, 9250)
BANDWIDTHS_HZ = (80, 90, 130, 180, 240, 350, 400, 450, 500, 550)


@dataclass(frozen=True)
class Consonant:
    """Synthetic consonant: noise in a frequency band. The voice is quieter during the consonant.

    Args:
        seconds: duration in seconds.
        voicing: gain of the voice during the consonant, in [0, 1].
        hz: centre frequency of the noise, in Hz.
        octaves: width of the noise band, in octaves.
        level: gain of the noise.
        closure: time before the noise starts, as a share of the duration, in [0, 1].
    """

    seconds: float
    voicing: float
    hz: float = 1000.0
    octaves: float = 1.0
    level: float = 0.0
    closure: float = 0.0


CONSONANT_SOUNDS = {
    "s": Consonant(0.11, 0.0, hz=6500, octaves=0.6, level=0.55),
    "sh": Consonant(0.11, 0.0, hz=3300, octaves=0.7, level=0.55),
    "f": Consonant(0.09, 0.0, hz=5000, octaves=1.5, level=0.18),
    "t": Consonant(0.07, 0.0, hz=4500, octaves=0.9, level=0.9, closure=0.6),
    "k": Consonant(0.07, 0.0, hz=1900, octaves=0.6, level=0.8, closure=0.6),
    "p": Consonant(0.07, 0.0, hz=800, octaves=1.0, level=0.7, closure=0.7),
    "h": Consonant(0.08, 0.0, hz=1500, octaves=1.5, level=0.15),
    "m": Consonant(0.07, 0.35),
    "n": Consonant(0.06, 0.4),
    "l": Consonant(0.05, 0.6),
    "": Consonant(0.0, 1.0),
}


@dataclass(frozen=True)
class Singer:
    """Properties of a voice.

    Args:
        formant_ratios: ratios of the five formant frequencies to `VOWEL_FORMANTS_HZ`.
        tilt: exponent of the power law with which the amplitudes of the harmonics of the glottal pulse fall.
        breath: level of the breath noise.
        vibrato: depth of the vibrato in semitones.
        vibrato_hz: rate of the vibrato in Hz.
        vibrato_delay: time from the start of a note to the start of the vibrato, in seconds.
    """

    formant_ratios: np.ndarray
    tilt: float
    breath: float
    vibrato: float
    vibrato_hz: float
    vibrato_delay: float


def choose_singer(rng: np.random.Generator, pitch: float) -> Singer:
    """Draw a random singer whose vocal range has the MIDI pitch `pitch` in the middle."""
    # Higher voices have shorter vocal tracts, so higher formants.
    size = 1.0 + 0.011 * (pitch - 52) + rng.normal(0, 0.03)
    return Singer(
        formant_ratios=size * rng.uniform(0.94, 1.06, 5) * np.array([1, 1, 1, 0.98, 0.94]),
        tilt=rng.uniform(0.65, 1.1),
        breath=rng.uniform(0.03, 0.14),
        vibrato=rng.uniform(0.15, 0.6),
        vibrato_hz=rng.uniform(4.6, 6.4),
        vibrato_delay=rng.uniform(0.1, 0.4),
    )


def tract(hz: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Return the complex frequency response of the vocal tract: a cascade of resonances, the formants.

    Args:
        hz: frequencies at which the response is computed, in Hz.
        formants: frequencies of the formants, in Hz.

    Shape:
        hz: [frames or 1, bins]; formants: [frames, 10]; the result: complex64 [frames, bins].

    Returns:
        The response at each frequency, in each frame.
    """
    hz = hz.astype(np.float32)
    response = np.ones((len(formants), hz.shape[1]), np.complex64)
    for centre, bandwidth in zip(formants.T.astype(np.float32), BANDWIDTHS_HZ, strict=True):
        ratio = hz / centre[:, None]
        response /= 1 - ratio**2 + 1j * ratio * (np.float32(bandwidth) / centre[:, None])
    return response


def formant_tracks(phrase: Phrase, singer: Singer, line: Line, hz: np.ndarray) -> np.ndarray:
    """Return the formant frequencies of a phrase over time; a diphthong changes its vowel in the second half of the note.

    Args:
        phrase: phrase to sing.
        singer: properties of the voice.
        line: control curves of the phrase.
        hz: fundamental frequency in Hz.

    Shape:
        hz: [frames]; the result: [frames, 10].

    Returns:
        The formant frequencies in Hz.
    """
    seconds = np.array([note.seconds for note in phrase.notes])
    turned = line.age > 0.5 * seconds[line.index]
    ends = [(VOWEL_FORMANTS_HZ[vowels[0]], VOWEL_FORMANTS_HZ[vowels[-1]]) for _, vowels in phrase.syllables]
    targets = np.array(ends)[line.index, turned.astype(int)] * singer.formant_ratios
    moving = np.stack([smooth(track, 0.11) for track in targets.T], axis=1)
    # Singers open the mouth to keep the first formant above the fundamental.
    moving[:, 0] = np.maximum(moving[:, 0], 1.05 * hz)
    upper = np.array(UPPER_FORMANTS_HZ) * singer.formant_ratios.mean() * np.ones((len(hz), 1))
    return np.concatenate([moving, upper], axis=1)


def sing(phrase: Phrase, singer: Singer, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Synthesise a sung phrase and the breath that the singer takes before the phrase.

    Args:
        phrase: phrase to sing.
        singer: properties of the voice.
        rng: random generator of jitter and noise.

    Returns:
        The mono waveform [samples], and the time in seconds at which the waveform starts: half a second before the first note.
    """
    begin = phrase.notes[0].start - 0.5
    frames = frames_for(round((phrase.end + 0.2 - begin) * SAMPLE_RATE))
    line = trace(phrase.notes, frames, begin)
    hz = hertz(sung_pitch(line, singer, rng))
    formants = formant_tracks(phrase, singer, line, hz)
    voicing, hiss = pronounce(phrase, line, begin)
    shimmer = 1 + 0.05 * rng.standard_normal(frames)
    loudness = smooth(voicing * line.velocity * swell(phrase, line), 0.03) * shimmer
    voice = harmonic_sum(hz, loudness[:, None] * glottal_spectrum(phrase.effort, singer, hz, formants))
    bins_hz = (np.arange(HOP + 1) * SAMPLE_RATE / (2 * HOP)).astype(np.float32)[None]
    aspirating = 0.4 * singer.breath * smooth(voicing, 0.04)
    inhaling = 0.12 * np.exp(-(((line.age + 0.25) / 0.09) ** 2))
    # Breath noise has little energy at low frequencies, inhaled breath the least.
    air = aspirating[:, None] * np.minimum(1, bins_hz / 800) + inhaling[:, None] * np.minimum(1, (bins_hz / 3000) ** 2)
    return voice + shaped_noise(air * np.abs(tract(bins_hz, formants)) + hiss, rng), begin


def sung_pitch(line: Line, singer: Singer, rng: np.random.Generator) -> np.ndarray:
    """Return the MIDI pitch of a melody with glides, delayed vibrato, slow drift and jitter. Shape: [frames]."""
    depth = singer.vibrato * np.clip((line.age - singer.vibrato_delay) / 0.25, 0, 1)
    wobble = 1 + 0.05 * smooth(rng.standard_normal(len(line.age)), 0.5)
    phase = 2 * np.pi * np.cumsum(singer.vibrato_hz * wobble) * HOP / SAMPLE_RATE
    drift = 0.5 * smooth(rng.standard_normal(len(line.age)), 0.3)
    jitter = 0.04 * rng.standard_normal(len(line.age))
    scoop = -0.7 * np.exp(-np.clip(line.age, 0, None) / 0.05)
    return smooth(line.pitch + scoop, 0.04) + smooth(depth, 0.1) * np.sin(phase) + drift + jitter


def swell(phrase: Phrase, line: Line) -> np.ndarray:
    """Return a gain curve that rises and falls within each note. Shape: [frames].

    Without this curve, each note would have constant loudness, as on an organ.
    """
    seconds = np.array([note.seconds for note in phrase.notes])[line.index]
    return 0.7 + 0.3 * np.sin(np.pi * np.clip(line.age / seconds, 0, 1) ** 0.7)


def glottal_spectrum(effort: float, singer: Singer, hz: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Return the complex amplitudes of the harmonics of the voice: a glottal pulse, filtered by the formants.

    The differences in level between frames are reduced, so that all vowels have a similar loudness.

    Args:
        effort: vocal effort in [0, 1]; higher is brighter.
        singer: properties of the voice.
        hz: fundamental frequency in Hz.
        formants: formant frequencies in Hz.

    Shape:
        hz: [frames]; formants: [frames, 10]; the result: complex [frames, harmonics].

    Returns:
        The amplitude of each harmonic, in each frame.
    """
    order = np.arange(1, int(HIGHEST_HARMONIC_HZ / hz.min()) + 1)
    tilt = singer.tilt + 0.4 * (1 - effort)
    amplitudes = order.astype(np.float32) ** -tilt * tract(hz[:, None] * order, formants)
    power = np.sum(np.abs(amplitudes) ** 2, axis=1, keepdims=True)
    return amplitudes * power**-0.4


def pronounce(phrase: Phrase, line: Line, begin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain of the voice and the magnitude spectrum of the consonant noise for each frame.

    Args:
        phrase: phrase to sing.
        line: control curves of the phrase.
        begin: time of the first frame, in seconds.

    Returns:
        The gain of the voice [frames], and the magnitude spectrum of the noise [frames, HOP + 1].
    """
    frames_per_second = SAMPLE_RATE / HOP
    voicing = ((line.age >= 0) & (line.left > 0)).astype(float)
    hiss = np.zeros((len(voicing), HOP + 1), np.float32)
    octave = np.log2(np.maximum(np.arange(HOP + 1), 0.5) * SAMPLE_RATE / (2 * HOP))
    for note, (name, _) in zip(phrase.notes, phrase.syllables, strict=True):
        sound = CONSONANT_SOUNDS[name]
        first, release, last = (
            round((note.start - begin - back * sound.seconds) * frames_per_second) for back in (1, 1 - sound.closure, 0)
        )
        voicing[first:last] = sound.voicing
        band = sound.level * np.exp(-(((octave - np.log2(sound.hz)) / sound.octaves) ** 2))
        hiss[release:last] += band * np.linspace(1, 0.4, last - release)[:, None]
    return voicing, hiss


def render_vocals(score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render the vocals: the lead voice in the centre, the second voice at one side, with reverberation and echoes in tempo.

    Args:
        score: notes of the song.
        samples: length of the track, in samples.
        rng: random generator of the vocals.

    Shape:
        the result: [2, samples].

    Returns:
        The stereo waveform.
    """
    singer = choose_singer(rng, score.style.voice_pitch)
    track = np.zeros((2, samples), np.float32)
    side = rng.choice([-1, 1]) * rng.uniform(0.4, 0.8)
    for phrases, gain, position in ((score.phrases, 1.0, 0.0), (score.backing, rng.uniform(0.3, 0.6), side)):
        for phrase in phrases:
            mono, begin = sing(phrase, singer, rng)
            mix_in(track, pan(np.float32(gain) * mono.astype(np.float32), position), begin)
    return reverberate(track, rng.uniform(0.5, 1.2), rng.uniform(0.1, 0.2), rng, echo=score.style.time(0, 3))
