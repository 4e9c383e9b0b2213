"""What every part of a demo song is made of: controls on a grid, sums of harmonics, noise, rooms, panning.

Controls (pitch, loudness, formants) live on a grid of `HOP` samples and are interpolated linearly, so no control can
jump and nothing clicks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unbraid.data.demo_songs.notation import Note

SAMPLE_RATE = 44100
HOP = 256
# Nothing harmonic is made above this, far enough from Nyquist for vibrato and the fade below it.
HIGHEST_HARMONIC_HZ = 10500.0


def at_level(track: np.ndarray, level_db: float) -> np.ndarray:
    rms = np.sqrt(np.mean(track**2, dtype=np.float64))
    return track * np.float32(10 ** (level_db / 20) / max(rms, 1e-9))


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
