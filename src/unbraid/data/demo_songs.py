"""Renders the demo songs: a small synthesiser that plays and sings what `demo_score` composes.

The songs are the demo data set: made by this project, free of anyone's rights, the same for everyone. The voice is a
source-filter model (Fant, Acoustic Theory of Speech Production, 1960): the harmonics of a glottal pulse through a
cascade of moving formants, with noise for breath and consonants. Pads follow the PADsynth idea of Nasca Octavian Paul:
harmonics as narrow bands of random phase in one long inverse FFT. Everything else is sums of decaying harmonics and
filtered noise. It is not a substitute for recordings: a model trained on it knows these singers only.

Controls (pitch, loudness, formants) live on a grid of `HOP` samples and are interpolated linearly, so no control can
jump and nothing clicks.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from unbraid.data.demo_score import Note, Phrase, Score, compose

SAMPLE_RATE = 44100
STEMS = ("drums", "bass", "other", "vocals")
HOP = 256
PEAK_DBFS = -1.5
# Long enough for every part to enter, however slow the song.
SHORTEST_SECONDS = 1.0
# Nothing harmonic is made above this, far enough from Nyquist for vibrato and the fade below it.
HIGHEST_HARMONIC_HZ = 10500.0

VOWEL_FORMANTS_HZ = {
    "a": (740, 1180, 2550, 3500, 4500),
    "e": (500, 1850, 2550, 3500, 4500),
    "i": (300, 2250, 3000, 3650, 4600),
    "o": (470, 850, 2450, 3400, 4400),
    "u": (330, 780, 2300, 3350, 4400),
    "@": (540, 1400, 2450, 3450, 4500),
}
# The tract goes on above the formants that vowels move: one resonance each kilohertz.
UPPER_FORMANTS_HZ = (5300, 6250, 7250, 8250, 9250)
BANDWIDTHS_HZ = (80, 90, 130, 180, 240, 350, 400, 450, 500, 550)


@dataclass(frozen=True)
class Consonant:
    """A noise band (centre, width in octaves, level) that begins after `closure` of its time; voicing as a gain."""

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


def render_song(seed: int, seconds: float) -> dict[str, np.ndarray]:
    """Composes and renders one song.

    The same arguments give the same song, sample for sample, on the same numpy and processor. A shorter song is
    not the beginning of a longer one.

    Args:
        seed: any integer from 0; songs differ in key, tempo, groove, instruments and singer.
        seconds: length of the song, at least `SHORTEST_SECONDS`.

    Returns:
        "mixture" and each of `STEMS`, at `SAMPLE_RATE`. The mixture is the exact integer sum of the stems.

    Shape:
        each value: int16 `[2, samples]`, `samples = round(seconds * SAMPLE_RATE)`

    Raises:
        ValueError: if `seconds` is below `SHORTEST_SECONDS`.
    """
    if seconds < SHORTEST_SECONDS:
        raise ValueError(f"seconds is {seconds}; a song takes at least {SHORTEST_SECONDS}")
    samples = round(seconds * SAMPLE_RATE)
    # A stream for each part: a change in one instrument leaves the others as they were.
    streams = [np.random.Generator(np.random.PCG64(child)) for child in np.random.SeedSequence(seed).spawn(6)]
    score = compose(streams[0], seconds)
    parts = (render_drums, render_bass, render_other, render_vocals)
    stems = {name: part(score, samples, rng) for name, part, rng in zip(STEMS, parts, streams[1:5], strict=True)}
    return master(stems, streams[5])


def master(stems: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Balances the stems, puts the peak of the song at `PEAK_DBFS` and rounds to integers before summing."""
    levels_db = {"drums": rng.uniform(2.5, 4.5), "bass": rng.uniform(-1, 1), "other": rng.uniform(1, 2.5), "vocals": 0.0}
    stems = {name: at_level(tame(stem), levels_db[name]) for name, stem in stems.items()}
    accompaniment = stems["drums"] + stems["bass"] + stems["other"]
    # The voice is set against what it has to be taken out of, so that every song is about as hard.
    voice_db = rng.uniform(-7.0, -5.0) + 10 * np.log10(np.mean(accompaniment**2))
    stems["vocals"] = at_level(stems["vocals"], voice_db)
    t = (np.arange(accompaniment.shape[1]) / SAMPLE_RATE).astype(np.float32)
    # The first beat may fall on the first sample, and the last bar is cut wherever the song ends.
    fades = np.clip(np.minimum(t / 0.003, t[::-1] / 0.4), 0, 1)
    stems = {name: stem * fades for name, stem in stems.items()}
    peak = max(np.abs(track).max() for track in (sum(stems.values()), *stems.values()))
    gain = 32767 * 10 ** (PEAK_DBFS / 20) / peak
    tracks = {name: np.rint(stem * gain).astype(np.int16) for name, stem in stems.items()}
    mixture = np.sum([*tracks.values()], axis=0, dtype=np.int32)
    return {"mixture": mixture.astype(np.int16), **tracks}


def at_level(track: np.ndarray, level_db: float) -> np.ndarray:
    rms = np.sqrt(np.mean(track**2, dtype=np.float64))
    return track * np.float32(10 ** (level_db / 20) / max(rms, 1e-9))


def tame(track: np.ndarray) -> np.ndarray:
    """Rounds off what stands more than about 12 dB above the RMS, then subtracts the moving average.

    Lopsided waveforms such as the voice's come out of the limiter with an offset.
    """
    limited = np.tanh(at_level(track, -12.0))
    samples = track.shape[1]
    blocks = np.pad(limited, ((0, 0), (HOP // 2, 2 * HOP))).cumsum(axis=1, dtype=np.float64)[:, ::HOP]
    averages = [interpolate(smooth(means, 0.2).astype(np.float32))[:samples] for means in np.diff(blocks) / HOP]
    return limited - np.stack(averages)


# ---- control grid, harmonics, noise, room ----


def interpolate(control: np.ndarray) -> np.ndarray:
    """Controls `[frames]` to samples `[(frames - 1) * HOP]`, linearly."""
    ramp = (np.arange(HOP) / HOP).astype(np.float32)
    return (control[:-1, None] + np.diff(control)[:, None] * ramp).ravel()


def smooth(control: np.ndarray, seconds: float) -> np.ndarray:
    """Convolves controls `[frames]` with a Hann window of the given length."""
    half = max(1, round(seconds * SAMPLE_RATE / HOP / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(control, half, mode="edge"), window / window.sum(), mode="valid")


def frames_for(samples: int) -> int:
    return -(-samples // HOP) + 1


def hertz(pitch: np.ndarray) -> np.ndarray:
    return 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)


def harmonic_sum(hz: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """Sums harmonics of a moving fundamental, without those above `HIGHEST_HARMONIC_HZ`.

    Shape:
        hz: `[frames]`; amplitudes: `[frames, harmonics]`, complex where phases matter; returns `[(frames - 1) * HOP]`
    """
    order = np.arange(1, amplitudes.shape[1] + 1)
    audible = np.clip((HIGHEST_HARMONIC_HZ - hz[:, None] * order) / 1000, 0, 1)
    amplitudes = (amplitudes * audible).astype(np.complex64)
    turns = np.cumsum(interpolate(hz / SAMPLE_RATE)) % 1.0
    step = np.exp(2j * np.pi * turns).astype(np.complex64)
    phasor, total = np.ones_like(step), np.zeros(len(step), np.float32)
    for k in range(amplitudes.shape[1]):
        phasor *= step
        if amplitudes[:, k].any():
            total += (phasor * interpolate(amplitudes[:, k])).imag
    return total


def shaped_noise(envelope: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise with a spectrum that moves: random spectra under the envelope, overlapped with sine windows.

    Shape:
        envelope: `[frames, HOP + 1]`, gains of the bins from 0 to Nyquist; returns `[(frames - 1) * HOP]`
    """
    spectra = rng.standard_normal((*envelope.shape, 2), np.float32).view(np.complex64)[..., 0]
    window = np.sin(np.pi * (np.arange(2 * HOP) + 0.5) / (2 * HOP)) * np.sqrt(HOP)
    blocks = np.fft.irfft(spectra * envelope, axis=1) * window.astype(np.float32)
    return (blocks[:-1, HOP:] + blocks[1:, :HOP]).ravel()


def band_noise(samples: int, low_hz: float, high_hz: float, rng: np.random.Generator) -> np.ndarray:
    """White noise `[samples]` between two frequencies, with edges that fall 24 dB an octave."""
    size = fast_size(samples)
    spectrum = np.fft.rfft(rng.standard_normal(size, np.float32))
    f = np.fft.rfftfreq(size, 1 / SAMPLE_RATE).astype(np.float32) + 1.0
    return np.fft.irfft(spectrum / np.sqrt((1 + (low_hz / f) ** 8) * (1 + (f / high_hz) ** 8)), size)[:samples]


def decay(samples: int, seconds: float) -> np.ndarray:
    """A fall by 60 dB in the given time, `[samples]`."""
    return np.exp(-6.91 * np.arange(samples) / (seconds * SAMPLE_RATE)).astype(np.float32)


def reverberate(track: np.ndarray, seconds: float, send: float, rng: np.random.Generator, echo: float = 0.0) -> np.ndarray:
    """Adds a room to a stereo track `[2, samples]`: noise that falls by 60 dB in `seconds`, the treble faster.

    `send` is the RMS gain of the room relative to the dry signal, `echo` the seconds between echoes, 0 for none.
    """
    length = round(1.1 * seconds * SAMPLE_RATE) + round(2 * echo * SAMPLE_RATE)
    response = np.zeros((2, length), np.float32)
    for side in response:
        for (low, high), faster in zip(((150, 1500), (1500, 5000), (5000, 12000)), (1.0, 0.75, 0.4), strict=True):
            side += band_noise(length, low, high, rng) * decay(length, seconds * faster)
    before = round(rng.uniform(0.008, 0.025) * SAMPLE_RATE)
    response = np.pad(response, ((0, 0), (before, 0)))
    response *= send / np.sqrt(np.sum(response**2, axis=1, keepdims=True))
    if echo:
        for i, gain in enumerate((0.12, 0.04)):
            response[i, round((i + 1) * echo * SAMPLE_RATE)] += gain
    return track + convolve(track, response)


def convolve(track: np.ndarray, response: np.ndarray) -> np.ndarray:
    samples = track.shape[1]
    size = fast_size(samples + response.shape[1])
    return np.fft.irfft(np.fft.rfft(track, size) * np.fft.rfft(response, size), size)[:, :samples]


def fast_size(samples: int) -> int:
    """The next size that is a small multiple of a power of two, for which the FFT is fast."""
    power = 2 ** max(0, samples.bit_length() - 4)
    return -(-samples // power) * power


def pan(mono: np.ndarray, place: float) -> np.ndarray:
    """Mono `[samples]` to stereo, at constant power; place runs from -1 (left) to 1 (right)."""
    angle = (place + 1) * np.pi / 4
    return np.stack([mono * np.float32(np.cos(angle)), mono * np.float32(np.sin(angle))])


def mix_in(track: np.ndarray, sound: np.ndarray, start: float) -> None:
    """Adds a sound to a track in place, from `start` seconds on; what lies outside the track is lost."""
    first = round(start * SAMPLE_RATE)
    skipped = max(0, -first)
    sound = sound[..., skipped : max(skipped, track.shape[-1] - first)]
    track[..., first + skipped : first + skipped + sound.shape[-1]] += sound


# ---- drums ----


def render_drums(score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Plays the hits on a kit drawn for the song; each piece has three takes, so that no two strokes are the same."""
    kit = build_kit(rng)
    track = np.zeros((2, samples), np.float32)
    for hit in score.drums:
        takes = kit[hit.piece]
        mix_in(track, takes[rng.integers(len(takes))] * np.float32(hit.velocity**1.3), hit.start)
    return reverberate(track, rng.uniform(0.3, 0.9), rng.uniform(0.12, 0.35), rng)


def build_kit(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    kick = partial(drum, hz=rng.uniform(42, 58), sweep=rng.uniform(2, 4), seconds=rng.uniform(0.25, 0.5))
    snare = partial(drum, hz=rng.uniform(160, 230), sweep=0.4, seconds=0.18, rattle=rng.uniform(0.7, 1.2))
    rattling = rng.uniform(0.15, 0.3)
    tom = partial(drum, sweep=0.6, seconds=0.45, band_hz=(300, 3000), rattle_seconds=0.06, rattle=0.3)
    tom_hz = rng.uniform(85, 110)
    metal = rng.uniform(0.8, 1.25)
    makers: dict[str, tuple[float, float, Callable[[np.random.Generator], np.ndarray]]] = {
        "kick": (0.65, 0.0, partial(kick, band_hz=(2000, 6000), rattle_seconds=0.015, rattle=0.2)),
        "snare": (1.0, 0.05, partial(snare, band_hz=(900, 9000), rattle_seconds=rattling)),
        "high tom": (0.7, -0.4, partial(tom, hz=tom_hz * 1.5)),
        "low tom": (0.8, 0.4, partial(tom, hz=tom_hz)),
        "hat": (0.22, 0.35, partial(cymbal, metal=metal, seconds=rng.uniform(0.05, 0.12))),
        "open": (0.2, 0.35, partial(cymbal, metal=metal, seconds=rng.uniform(0.4, 0.7))),
        "ride": (0.13, -0.5, partial(cymbal, metal=metal * 0.8, seconds=1.2)),
        "crash": (0.3, -0.3, partial(cymbal, metal=metal * 0.7, seconds=2.5)),
    }
    return {
        piece: [pan(np.float32(gain) * make(rng), place) for _ in range(3)] for piece, (gain, place, make) in makers.items()
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
    """A skin whose pitch falls to `hz` from `1 + sweep` times that, and the noise of stick, snares or air."""
    samples = round(1.2 * max(seconds, rattle_seconds) * SAMPLE_RATE)
    falling = hz * (1 + sweep * decay(samples, 0.15)) * rng.uniform(0.99, 1.01)
    skin = np.sin(2 * np.pi * np.cumsum(falling, dtype=np.float64) / SAMPLE_RATE).astype(np.float32)
    noise = band_noise(samples, *band_hz, rng) * decay(samples, rattle_seconds)
    return skin * decay(samples, seconds) + np.float32(rattle) * noise / np.abs(noise).max()


def cymbal(rng: np.random.Generator, *, metal: float, seconds: float) -> np.ndarray:
    """Bands of noise, the highest dying first, and a cluster of inharmonic partials."""
    samples = round(seconds * SAMPLE_RATE)
    t = np.arange(samples) / SAMPLE_RATE
    wash = band_noise(samples, 3000 * metal, 6000, rng) * decay(samples, seconds)
    wash += 1.5 * band_noise(samples, 6500, 15000, rng) * decay(samples, 0.7 * seconds)
    for ratio in (3.1, 4.27, 5.43, 6.79, 8.21):
        wash += np.sin(2 * np.pi * 1000 * metal * ratio * t + rng.uniform(0, 6)) * decay(samples, seconds) * 0.12
    return wash.astype(np.float32)


# ---- monophonic lines: bass and lead ----


@dataclass(frozen=True)
class Line:
    """A melody on the control grid: note that sounds, its pitch, seconds since it began and until it ends."""

    index: np.ndarray
    pitch: np.ndarray
    age: np.ndarray
    left: np.ndarray
    velocity: np.ndarray


def trace(notes: Sequence[Note], frames: int, begin: float = 0.0) -> Line:
    """Reads notes, in order of time, at `frames` control points from `begin` seconds on."""
    start, seconds, pitch, velocity, glide = np.array([(n.start, n.seconds, n.pitch, n.velocity, n.glide) for n in notes]).T
    time = begin + np.arange(frames) * HOP / SAMPLE_RATE
    index = np.clip(np.searchsorted(start, time, side="right") - 1, 0, None)
    age = time - start[index]
    before = pitch[np.clip(index - 1, 0, None)]
    gliding = np.exp(-np.clip(age, 0, None) / glide[index]) * (before - pitch[index])
    return Line(index, pitch[index] + gliding, age, (start + seconds)[index] - time, velocity[index])


def envelope(line: Line, attack: float, release: float) -> np.ndarray:
    """Gain `[frames]` that rises linearly in `attack` seconds and falls exponentially after the note's end."""
    return np.clip(line.age / attack, 0, 1) * np.exp(np.clip(line.left, None, 0) / release) * line.velocity


def render_bass(score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Decaying harmonics that darken faster the higher they are; a drawn amount of drive."""
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
    """The instrument that doubles or answers the voice, with vibrato in some songs."""
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


# ---- chords ----

Instrument = Callable[[float, np.random.Generator], np.ndarray]


def play(
    notes: Iterable[Note], instrument: Instrument, attack: float, release: float, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Plays notes like a sampler: one stereo recording for each pitch, cut to the length of each note."""
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
    """A string or tine: decaying harmonics, detuned between left and right, and the noise of the attack."""
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
    """An ensemble in one inverse FFT: each harmonic a band `cents` wide with random phases, left and right apart."""
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
    """Rhythm instrument, pad and lead in one room."""
    comping = play(score.comping, comping_instrument(rng), 0.004, 0.12, samples, rng)
    levels = np.arange(1.0, 61.0) ** -rng.uniform(0.5, 1.1)
    strings = partial(sustained, levels=levels, cents=rng.uniform(10, 35), bright_hz=rng.uniform(2500, 7000))
    pads = play(score.pads, strings, rng.uniform(0.08, 0.5), 0.5, samples, rng)
    lead = render_lead(score, samples, rng)
    band = at_level(comping, 0) + at_level(pads, rng.uniform(-5, -1)) + at_level(lead, rng.uniform(-6, -2))
    return reverberate(band, rng.uniform(0.8, 2.0), rng.uniform(0.15, 0.4), rng)


def comping_instrument(rng: np.random.Generator) -> Instrument:
    """One of guitar, electric piano and organ."""
    where, damping, tine = rng.uniform(0.1, 0.3), rng.uniform(0.15, 0.5), rng.uniform(0.05, 0.2)
    guitar = partial(struck, tilt=0.7, pluck=where, ring=0.6, damping=damping, tine=0.0, pick=0.5)
    piano = partial(struck, tilt=1.8, pluck=0.37, ring=1.2, damping=0.4, tine=tine, pick=0.05)
    drawbars = rng.choice([0.05, 0.3, 0.6, 1.0], 10) / np.sqrt(np.arange(1, 11))
    organ = partial(sustained, levels=drawbars, cents=2.0, bright_hz=4000)
    return (guitar, piano, organ)[rng.integers(3)]


# ---- voice ----


@dataclass(frozen=True)
class Singer:
    """What makes a voice: formants as ratios to the standard ones, source tilt, breath, vibrato (semitones, hertz)."""

    formant_ratios: np.ndarray
    tilt: float
    breath: float
    vibrato: float
    vibrato_hz: float
    vibrato_delay: float


def choose_singer(rng: np.random.Generator, pitch: float) -> Singer:
    # Higher voices come from shorter tracts.
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
    """Complex response of the formant cascade; hz `[frames or 1, bins]`, formants `[frames, 10]` to `[frames, bins]`."""
    hz = hz.astype(np.float32)
    response = np.ones((len(formants), hz.shape[1]), np.complex64)
    for centre, bandwidth in zip(formants.T.astype(np.float32), BANDWIDTHS_HZ, strict=True):
        ratio = hz / centre[:, None]
        response /= 1 - ratio**2 + 1j * ratio * (np.float32(bandwidth) / centre[:, None])
    return response


def formant_tracks(phrase: Phrase, singer: Singer, line: Line, hz: np.ndarray) -> np.ndarray:
    """Formants in hertz, `[frames, 10]`: vowel to vowel, diphthongs turning in the second half of their note."""
    seconds = np.array([note.seconds for note in phrase.notes])
    turned = line.age > 0.5 * seconds[line.index]
    ends = [(VOWEL_FORMANTS_HZ[vowels[0]], VOWEL_FORMANTS_HZ[vowels[-1]]) for _, vowels in phrase.syllables]
    targets = np.array(ends)[line.index, turned.astype(int)] * singer.formant_ratios
    moving = np.stack([smooth(track, 0.11) for track in targets.T], axis=1)
    # Singers open the mouth where the first formant would fall below the fundamental.
    moving[:, 0] = np.maximum(moving[:, 0], 1.05 * hz)
    upper = np.array(UPPER_FORMANTS_HZ) * singer.formant_ratios.mean() * np.ones((len(hz), 1))
    return np.concatenate([moving, upper], axis=1)


def sing(phrase: Phrase, singer: Singer, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """One phrase, mono `[samples]`, and the second at which it begins: half a second early, for the breath."""
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
    # Air that streams is weak in the bass; weakest where it streams inwards.
    air = aspirating[:, None] * np.minimum(1, bins_hz / 800) + inhaling[:, None] * np.minimum(1, (bins_hz / 3000) ** 2)
    return voice + shaped_noise(air * np.abs(tract(bins_hz, formants)) + hiss, rng), begin


def sung_pitch(line: Line, singer: Singer, rng: np.random.Generator) -> np.ndarray:
    """Portamento, delayed vibrato, a slow drift and the jitter of the vocal folds, in semitones `[frames]`."""
    depth = singer.vibrato * np.clip((line.age - singer.vibrato_delay) / 0.25, 0, 1)
    wobble = 1 + 0.05 * smooth(rng.standard_normal(len(line.age)), 0.5)
    phase = 2 * np.pi * np.cumsum(singer.vibrato_hz * wobble) * HOP / SAMPLE_RATE
    drift = 0.5 * smooth(rng.standard_normal(len(line.age)), 0.3)
    jitter = 0.04 * rng.standard_normal(len(line.age))
    scoop = -0.7 * np.exp(-np.clip(line.age, 0, None) / 0.05)
    return smooth(line.pitch + scoop, 0.04) + smooth(depth, 0.1) * np.sin(phase) + drift + jitter


def swell(phrase: Phrase, line: Line) -> np.ndarray:
    """Long notes open and close; without it every note would sit at one level like an organ's."""
    seconds = np.array([note.seconds for note in phrase.notes])[line.index]
    return 0.7 + 0.3 * np.sin(np.pi * np.clip(line.age / seconds, 0, 1) ** 0.7)


def glottal_spectrum(effort: float, singer: Singer, hz: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Complex harmonic amplitudes at the lips, `[frames, harmonics]`, with most of the level changes evened out."""
    order = np.arange(1, int(HIGHEST_HARMONIC_HZ / hz.min()) + 1)
    tilt = singer.tilt + 0.4 * (1 - effort)
    amplitudes = order.astype(np.float32) ** -tilt * tract(hz[:, None] * order, formants)
    power = np.sum(np.abs(amplitudes) ** 2, axis=1, keepdims=True)
    return amplitudes * power**-0.4


def pronounce(phrase: Phrase, line: Line, begin: float) -> tuple[np.ndarray, np.ndarray]:
    """Voicing gain `[frames]` and the spectrum of consonant noise `[frames, HOP + 1]`."""
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
    """The lead voice in the middle, the second voice aside, both into a reverb and a delay in time with the song."""
    singer = choose_singer(rng, score.style.voice_pitch)
    track = np.zeros((2, samples), np.float32)
    side = rng.choice([-1, 1]) * rng.uniform(0.4, 0.8)
    for phrases, gain, place in ((score.phrases, 1.0, 0.0), (score.backing, rng.uniform(0.3, 0.6), side)):
        for phrase in phrases:
            mono, begin = sing(phrase, singer, rng)
            mix_in(track, pan(np.float32(gain) * mono.astype(np.float32), place), begin)
    return reverberate(track, rng.uniform(0.5, 1.2), rng.uniform(0.1, 0.2), rng, echo=score.style.time(0, 3))
