"""Building blocks of the demo songs: control curves, sums of harmonics, noise, reverberation, panning.

Control curves are values over time such as pitch, loudness and formants. The curves are computed once in each frame of `HOP`
samples, and interpolated linearly between the frames. So a value cannot jump, and the sound does not click.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unbraid.data.demo_songs.notation import Note

SAMPLE_RATE = 44100
HOP = 256
# Harmonics fade out below this frequency. It is far enough below Nyquist that vibrato causes no aliasing.
HIGHEST_HARMONIC_HZ = 10500.0


def at_level(track: np.ndarray, level_db: float) -> np.ndarray:
    """Scale a track to the RMS level `level_db`. The level is in dB, relative to an amplitude of 1."""
    rms = np.sqrt(np.mean(track**2, dtype=np.float64))
    return track * np.float32(10 ** (level_db / 20) / max(rms, 1e-9))


def interpolate(control: np.ndarray) -> np.ndarray:
    """Return a control curve interpolated linearly to samples. Shape: [frames] -> [(frames - 1) * HOP]."""
    ramp = (np.arange(HOP) / HOP).astype(np.float32)
    return (control[:-1, None] + np.diff(control)[:, None] * ramp).ravel()


def smooth(control: np.ndarray, seconds: float) -> np.ndarray:
    """Return a control curve convolved with a Hann window of the given duration. Shape: [frames] -> [frames]."""
    half = max(1, round(seconds * SAMPLE_RATE / HOP / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(control, half, mode="edge"), window / window.sum(), mode="valid")


def frames_for(samples: int) -> int:
    """Return the number of control frames for a sound of `samples` samples. There is one frame every `HOP` samples."""
    return -(-samples // HOP) + 1


def hertz(pitch: np.ndarray) -> np.ndarray:
    """Return the frequencies of MIDI pitches in Hz."""
    return 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)


def harmonic_sum(hz: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """Return the sum of the harmonics of a time-varying fundamental. Harmonics above `HIGHEST_HARMONIC_HZ` are omitted.

    Args:
        hz: fundamental frequency in Hz.
        amplitudes: amplitude of each harmonic; complex amplitudes also set the phases.

    Shape:
        hz: [frames]; amplitudes: [frames, harmonics]; the result: [(frames - 1) * HOP].

    Returns:
        The mono waveform, float32.
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
    """Return noise with a time-varying spectrum: overlapping frames of random spectra with sine windows.

    Args:
        envelope: gain of each bin from 0 Hz to Nyquist.
        rng: random generator of the noise.

    Shape:
        envelope: [frames, HOP + 1]; the result: [(frames - 1) * HOP].

    Returns:
        The mono waveform.
    """
    spectra = rng.standard_normal((*envelope.shape, 2), np.float32).view(np.complex64)[..., 0]
    window = np.sin(np.pi * (np.arange(2 * HOP) + 0.5) / (2 * HOP)) * np.sqrt(HOP)
    blocks = np.fft.irfft(spectra * envelope, axis=1) * window.astype(np.float32)
    return (blocks[:-1, HOP:] + blocks[1:, :HOP]).ravel()


def band_noise(samples: int, low_hz: float, high_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise between two frequencies. Outside this band, the noise falls by 24 dB per octave. Shape: [samples]."""
    size = fast_size(samples)
    spectrum = np.fft.rfft(rng.standard_normal(size, np.float32))
    f = np.fft.rfftfreq(size, 1 / SAMPLE_RATE).astype(np.float32) + 1.0
    return np.fft.irfft(spectrum / np.sqrt((1 + (low_hz / f) ** 8) * (1 + (f / high_hz) ** 8)), size)[:samples]


def decay(samples: int, seconds: float) -> np.ndarray:
    """Return an exponential envelope that falls by 60 dB in the given time. Shape: [samples]."""
    return np.exp(-6.91 * np.arange(samples) / (seconds * SAMPLE_RATE)).astype(np.float32)


def reverberate(track: np.ndarray, seconds: float, send: float, rng: np.random.Generator, echo: float = 0.0) -> np.ndarray:
    """Add reverberation to a stereo track. The impulse response is decaying noise. High frequencies decay faster.

    Args:
        track: dry waveform.
        seconds: reverberation time (decay by 60 dB) in seconds.
        send: RMS level of the reverberation relative to the dry waveform (the waveform without reverberation), as a factor.
        rng: random generator of the impulse response.
        echo: time between two echoes in seconds; 0 adds no echoes.

    Shape:
        track: [2, T]; the result: [2, T].

    Returns:
        The sum of the dry waveform and the reverberation.
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
    """Return a track convolved with an impulse response, cut to the length T of the track. Shape: [C, T], [C, R] -> [C, T]."""
    samples = track.shape[1]
    size = fast_size(samples + response.shape[1])
    return np.fft.irfft(np.fft.rfft(track, size) * np.fft.rfft(response, size), size)[:, :samples]


def fast_size(samples: int) -> int:
    """Return a length >= `samples` for which the FFT is fast: a power of two times an integer up to 16."""
    power = 2 ** max(0, samples.bit_length() - 4)
    return -(-samples // power) * power


def pan(mono: np.ndarray, position: float) -> np.ndarray:
    """Return a mono waveform panned to stereo with constant power; position is -1 (left) to 1 (right). Shape: [T] -> [2, T]."""
    angle = (position + 1) * np.pi / 4
    return np.stack([mono * np.float32(np.cos(angle)), mono * np.float32(np.sin(angle))])


def mix_in(track: np.ndarray, sound: np.ndarray, start: float) -> None:
    """Add a sound to a track in place, starting at `start` seconds; samples outside the track are dropped."""
    first = round(start * SAMPLE_RATE)
    skipped = max(0, -first)
    sound = sound[..., skipped : max(skipped, track.shape[-1] - first)]
    track[..., first + skipped : first + skipped + sound.shape[-1]] += sound


@dataclass(frozen=True)
class Line:
    """A melody as control curves, with one value every `HOP` samples.

    Args:
        index: number of the current note.
        pitch: MIDI pitch, with glides between notes.
        age: time since the start of the note, in seconds; negative before the first note.
        left: time until the end of the note, in seconds; negative after the end of the note.
        velocity: velocity of the note.

    Shape:
        each curve: [frames].
    """

    index: np.ndarray
    pitch: np.ndarray
    age: np.ndarray
    left: np.ndarray
    velocity: np.ndarray


def trace(notes: Sequence[Note], frames: int, begin: float = 0.0) -> Line:
    """Convert notes to the control curves of a melody, such as the pitch in each frame. There is a frame every `HOP` samples.

    Args:
        notes: notes in order of time.
        frames: number of control frames.
        begin: time of the first frame, in seconds.

    Returns:
        The control curves of the melody.
    """
    start, seconds, pitch, velocity, glide = np.array([(n.start, n.seconds, n.pitch, n.velocity, n.glide) for n in notes]).T
    time = begin + np.arange(frames) * HOP / SAMPLE_RATE
    index = np.clip(np.searchsorted(start, time, side="right") - 1, 0, None)
    age = time - start[index]
    before = pitch[np.clip(index - 1, 0, None)]
    gliding = np.exp(-np.clip(age, 0, None) / glide[index]) * (before - pitch[index])
    return Line(index, pitch[index] + gliding, age, (start + seconds)[index] - time, velocity[index])


def envelope(line: Line, attack: float, release: float) -> np.ndarray:
    """Return the loudness curve of a melody: each note has a linear attack and an exponential release. Shape: [frames]."""
    return np.clip(line.age / attack, 0, 1) * np.exp(np.clip(line.left, None, 0) / release) * line.velocity
