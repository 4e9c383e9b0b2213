"""Synthesise the instruments of the demo songs: drums, bass, a lead instrument, and plucked, struck or sustained chords.

Sustained chords (pads) use the PADsynth algorithm of Nasca Octavian Paul: each harmonic is a narrow band of random phases in a
long inverse FFT. All other sounds are sums of decaying harmonics and filtered noise.
"""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from unbraid.data.demo_songs.notation import Note, Score
from unbraid.data.demo_songs.sounds import (
    HIGHEST_HARMONIC_HZ,
    HOP,
    SAMPLE_RATE,
    at_level,
    band_noise,
    decay,
    envelope,
    frames_for,
    harmonic_sum,
    hertz,
    mix_in,
    pan,
    reverberate,
    trace,
)


def render_drums(score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render the drums with a random synthetic drum kit (see `build_kit`), and add reverberation.

    Args:
        score: notes of the song.
        samples: length of the track, in samples.
        rng: random generator of the drums.

    Shape:
        the result: [2, samples].

    Returns:
        The stereo waveform.
    """
    kit = build_kit(rng)
    track = np.zeros((2, samples), np.float32)
    for hit in score.drums:
        takes = kit[hit.piece]
        mix_in(track, takes[rng.integers(len(takes))] * np.float32(hit.velocity**1.3), hit.start)
    return reverberate(track, rng.uniform(0.3, 0.9), rng.uniform(0.12, 0.35), rng)


def build_kit(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Synthesise a random drum kit.

    The result is a dictionary from the name of each piece (drum or cymbal) to three slightly different sounds of the piece.
    Shape of a sound: [2, samples].
    """
    kick = partial(drum, hz=rng.uniform(42, 58), sweep=rng.uniform(2, 4), seconds=rng.uniform(0.25, 0.5))
    snare = partial(drum, hz=rng.uniform(160, 230), sweep=0.4, seconds=0.18, rattle=rng.uniform(0.7, 1.2))
    snare_seconds = rng.uniform(0.15, 0.3)
    tom = partial(drum, sweep=0.6, seconds=0.45, band_hz=(300, 3000), rattle_seconds=0.06, rattle=0.3)
    tom_hz = rng.uniform(85, 110)
    metal = rng.uniform(0.8, 1.25)
    makers: dict[str, tuple[float, float, Callable[[np.random.Generator], np.ndarray]]] = {
        "kick": (0.65, 0.0, partial(kick, band_hz=(2000, 6000), rattle_seconds=0.015, rattle=0.2)),
        "snare": (1.0, 0.05, partial(snare, band_hz=(900, 9000), rattle_seconds=snare_seconds)),
        "high tom": (0.7, -0.4, partial(tom, hz=tom_hz * 1.5)),
        "low tom": (0.8, 0.4, partial(tom, hz=tom_hz)),
        "hat": (0.22, 0.35, partial(cymbal, metal=metal, seconds=rng.uniform(0.05, 0.12))),
        "open": (0.2, 0.35, partial(cymbal, metal=metal, seconds=rng.uniform(0.4, 0.7))),
        "ride": (0.13, -0.5, partial(cymbal, metal=metal * 0.8, seconds=1.2)),
        "crash": (0.3, -0.3, partial(cymbal, metal=metal * 0.7, seconds=2.5)),
    }
    return {
        piece: [pan(np.float32(gain) * make(rng), position) for _ in range(3)]
        for piece, (gain, position, make) in makers.items()
    }


def drum(
    rng: np.random.Generator,
    *,
    hz: float,
    sweep: float,
    seconds: float,
    band_hz: tuple[float, float],
    rattle_seconds: float,
    rattle: float,
) -> np.ndarray:
    """Return the sound of a drum: decaying noise, and a sine whose frequency falls from `(1 + sweep) * hz` to `hz`.

    Args:
        rng: random generator of the noise and of a small detuning.
        hz: final frequency of the drum skin, in Hz.
        sweep: difference between the start frequency and `hz`, divided by `hz`.
        seconds: decay time of the skin, in seconds.
        band_hz: lower and upper frequency of the noise, in Hz.
        rattle_seconds: decay time of the noise, in seconds.
        rattle: level of the noise.

    Returns:
        The mono waveform [samples].
    """
    samples = round(1.2 * max(seconds, rattle_seconds) * SAMPLE_RATE)
    falling = hz * (1 + sweep * decay(samples, 0.15)) * rng.uniform(0.99, 1.01)
    skin = np.sin(2 * np.pi * np.cumsum(falling, dtype=np.float64) / SAMPLE_RATE).astype(np.float32)
    noise = band_noise(samples, *band_hz, rng) * decay(samples, rattle_seconds)
    return skin * decay(samples, seconds) + np.float32(rattle) * noise / np.abs(noise).max()


def cymbal(rng: np.random.Generator, *, metal: float, seconds: float) -> np.ndarray:
    """Return the sound of a cymbal: two bands of decaying noise and a group of inharmonic partials.

    Args:
        rng: random generator of the noise and of the phases.
        metal: factor of the frequencies; a larger factor gives a brighter sound.
        seconds: decay time in seconds.

    Returns:
        The mono waveform [samples].
    """
    samples = round(seconds * SAMPLE_RATE)
    t = np.arange(samples) / SAMPLE_RATE
    wash = band_noise(samples, 3000 * metal, 6000, rng) * decay(samples, seconds)
    wash += 1.5 * band_noise(samples, 6500, 15000, rng) * decay(samples, 0.7 * seconds)
    for ratio in (3.1, 4.27, 5.43, 6.79, 8.21):
        wash += np.sin(2 * np.pi * 1000 * metal * ratio * t + rng.uniform(0, 6)) * decay(samples, seconds) * 0.12
    return wash.astype(np.float32)


def render_bass(score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render the bass: a sum of harmonics with distortion. Higher harmonics decay faster.

    Args:
        score: notes of the song.
        samples: length of the track, in samples.
        rng: random generator of the timbre.

    Shape:
        the result: [2, samples].

    Returns:
        The stereo waveform.
    """
    line = trace(score.bass, frames_for(samples))
    order = np.arange(1, 25)
    sustain, damping = rng.uniform(0.8, 2.5), rng.uniform(0.3, 1.2)
    tilt = rng.uniform(0.9, 1.6) + 0.6 * (1 - line.velocity[:, None])
    odd = np.where(order % 2, 1.0, rng.uniform(0.3, 1.0))
    fading = np.exp(-np.clip(line.age, 0, None)[:, None] * (1 / sustain + damping * (order - 1)))
    amplitudes = envelope(line, 0.006, 0.03)[:, None] * order**-tilt * odd * fading
    mono = harmonic_sum(hertz(line.pitch), amplitudes)[:samples]
    drive = np.float32(rng.uniform(0.5, 2.5))
    return pan(np.tanh(drive * mono), 0.0)


def render_lead(score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render the lead instrument, with vibrato in some songs. The result is silent if the score lacks lead notes.

    Args:
        score: notes of the song.
        samples: length of the track, in samples.
        rng: random generator of the timbre.

    Shape:
        the result: [2, samples].

    Returns:
        The stereo waveform.
    """
    if not score.lead:
        return np.zeros((2, samples), np.float32)
    line = trace(sorted(score.lead, key=lambda note: note.start), frames_for(samples))
    order = np.arange(1, 41)
    tilt, even = rng.uniform(0.9, 1.7), rng.uniform(0.1, 1.0)
    bright_hz = rng.uniform(1500, 5000) * (0.4 + 0.6 * np.clip(line.age / 0.12, 0, 1))
    vibrato = rng.choice([0.0, 0.25]) * np.clip((line.age - 0.2) / 0.3, 0, 1)
    pitch = line.pitch + vibrato * np.sin(2 * np.pi * rng.uniform(4.5, 6) * line.age)
    hz = hertz(pitch)
    colour = order**-tilt * np.where(order % 2, 1.0, even) * np.exp(-hz[:, None] * order / bright_hz[:, None])
    loudness = envelope(line, rng.uniform(0.015, 0.06), 0.08)
    mono = harmonic_sum(hz, loudness[:, None] * colour)[:samples]
    return pan(mono, rng.uniform(-0.5, 0.5))


Instrument = Callable[[float, np.random.Generator], np.ndarray]  # MIDI pitch -> stereo recording [2, samples]


def play(
    notes: Iterable[Note], instrument: Instrument, attack: float, release: float, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Play notes like a sampler: synthesise one sound for each pitch, and play this sound for each note that has this pitch.

    Args:
        notes: notes to play.
        instrument: function that synthesises the sound of a pitch.
        attack: duration of the linear fade-in, in seconds.
        release: duration of the linear fade-out after the end of a note, in seconds.
        samples: length of the track, in samples.
        rng: random generator that is passed to the instrument.

    Returns:
        The stereo waveform [2, samples].
    """
    track = np.zeros((2, samples), np.float32)
    recordings: dict[float, np.ndarray] = {}
    for note in notes:
        if note.pitch not in recordings:
            recordings[note.pitch] = instrument(note.pitch, rng)
        length = round((note.seconds + release) * SAMPLE_RATE)
        sound = recordings[note.pitch][:, :length]
        t = (np.arange(sound.shape[1]) / SAMPLE_RATE).astype(np.float32)
        gate = np.minimum(np.minimum(1, t / attack), np.minimum(1, t[::-1] / release))
        mix_in(track, sound * (gate * np.float32(note.velocity)), note.start)
    return track


def struck(
    pitch: float, rng: np.random.Generator, *, tilt: float, pluck: float, ring: float, damping: float, tine: float, pick: float
) -> np.ndarray:
    """Synthesise a plucked or struck string from decaying harmonics and attack noise.

    The pitch of the left channel is slightly lower than the pitch of the right channel.

    Args:
        pitch: MIDI pitch.
        rng: random generator of the noise.
        tilt: exponent of the power law with which the amplitudes of the harmonics fall.
        pluck: position of the pluck, as a share of the length of the string.
        ring: decay time of the fundamental, in seconds.
        damping: additional decay rate of each higher harmonic, in 1/s.
        tine: level of the quickly decaying harmonics around the ninth harmonic, as in an electric piano.
        pick: level of the attack noise.

    Returns:
        The stereo waveform [2, samples].
    """
    frames = frames_for(round(1.8 * SAMPLE_RATE))
    order = np.arange(1, 25)
    age = np.arange(frames)[:, None] * HOP / SAMPLE_RATE
    colour = order**-tilt * np.abs(np.sin(np.pi * order * pluck))
    body = colour * np.exp(-age * (1 / ring + damping * (order - 1)))
    bell = tine * np.exp(-(((order - 9) / 3) ** 2)) * np.exp(-age * 12)
    hz = hertz(np.full(frames, pitch))
    sound = np.stack([harmonic_sum(hz * (1 + detune), body + bell) for detune in (-0.0009, 0.0009)])
    sound[:, :2048] += np.float32(pick) * band_noise(2048, 1500, 6000, rng) * decay(2048, 0.03)
    return sound


def sustained(pitch: float, rng: np.random.Generator, *, levels: np.ndarray, cents: float, bright_hz: float) -> np.ndarray:
    """Synthesise a sustained sound of an ensemble by one inverse FFT; left and right have independent random phases.

    Args:
        pitch: MIDI pitch.
        rng: random generator of the phases.
        levels: amplitudes of the harmonics.
        cents: width of the band of each harmonic, in cents.
        bright_hz: brightness in Hz. The amplitudes fall to 37 % (1/e) whenever the frequency increases by `bright_hz`.

    Shape:
        levels: [harmonics]; the result: [2, samples].

    Returns:
        The stereo waveform.
    """
    size = 2**18
    spectrum = np.zeros((2, size // 2 + 1), np.complex64)
    hz = np.arange(1, len(levels) + 1) * hertz(np.array(pitch))
    for centre_hz, level in zip(hz[hz < HIGHEST_HARMONIC_HZ], levels, strict=False):
        centre = centre_hz * size / SAMPLE_RATE
        width = centre * (2 ** (cents / 1200) - 1) + 0.5
        bins = np.arange(int(centre - 3 * width), int(centre + 3 * width) + 1)
        band = level * np.exp(-centre_hz / bright_hz - ((bins - centre) / width) ** 2) / np.sqrt(width)
        spectrum[:, bins] += band * np.exp(2j * np.pi * rng.random((2, len(bins))))
    return np.fft.irfft(spectrum, size) * np.float32(size / 8)


def render_other(score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render the source `other`: the sum of rhythm instrument, pad (sustained chords) and lead instrument, with reverberation.

    Args:
        score: notes of the song.
        samples: length of the track, in samples.
        rng: random generator of the instruments.

    Shape:
        the result: [2, samples].

    Returns:
        The stereo waveform.
    """
    comping = play(score.comping, comping_instrument(rng), 0.004, 0.12, samples, rng)
    levels = np.arange(1.0, 61.0) ** -rng.uniform(0.5, 1.1)
    strings = partial(sustained, levels=levels, cents=rng.uniform(10, 35), bright_hz=rng.uniform(2500, 7000))
    pads = play(score.pads, strings, rng.uniform(0.08, 0.5), 0.5, samples, rng)
    lead = render_lead(score, samples, rng)
    band = at_level(comping, 0) + at_level(pads, rng.uniform(-5, -1)) + at_level(lead, rng.uniform(-6, -2))
    return reverberate(band, rng.uniform(0.8, 2.0), rng.uniform(0.15, 0.4), rng)


def comping_instrument(rng: np.random.Generator) -> Instrument:
    """Return a function that synthesises a note of a random chord instrument (guitar, electric piano or organ)."""
    pluck, damping, tine = rng.uniform(0.1, 0.3), rng.uniform(0.15, 0.5), rng.uniform(0.05, 0.2)
    guitar = partial(struck, tilt=0.7, pluck=pluck, ring=0.6, damping=damping, tine=0.0, pick=0.5)
    piano = partial(struck, tilt=1.8, pluck=0.37, ring=1.2, damping=0.4, tine=tine, pick=0.05)
    drawbars = rng.choice([0.05, 0.3, 0.6, 1.0], 10) / np.sqrt(np.arange(1, 11))
    organ = partial(sustained, levels=drawbars, cents=2.0, bright_hz=4000)
    return (guitar, piano, organ)[rng.integers(3)]
