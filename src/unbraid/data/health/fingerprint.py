"""Compute the audio fingerprint of a recording: a word of 32 bits for each 50 ms.

Fingerprints change little if the level changes, or if the recording is encoded with loss or resampled.

Method: Haitsma & Kalker 2002, "A Highly Robust Audio Fingerprinting System". A bit is set if the energy difference of two
neighbouring bands is larger than in an earlier frame. There are 33 bands from 300 to 2000 Hz, spaced evenly in log frequency,
and frames of 0.37 s, as in the paper. Two parameters differ from the paper:

- The hop is 50 ms instead of 11.6 ms. This is enough for whole tracks, and the fingerprint needs a quarter of the space.
- A frame is compared with the frame 0.4 s earlier instead of the previous frame. This makes fingerprints robust to a shift by
  half a hop, and halves the number of wrong bits after mp3 coding.

Frames and bands are defined in seconds and Hz, so copies at other sample rates have the same words.

The fingerprint identifies a recording, not a composition: another take or another tempo is a different recording. The same
accompaniment with another singer, or without a singer, counts as the same recording. The fingerprints of the two versions
differ in few bits, about as many as after mp3 coding of low quality.
"""

import base64

import numpy as np

from unbraid.data.health.decimation import decimate

FRAME_SECONDS = 0.37
HOP_SECONDS = 0.05
BAND_EDGES_HZ = np.geomspace(300, 2000, 34)
LAG = 8  # hops between two frames that are compared
LOW_RATE = 5000  # lowest sample rate in Hz for the bands and the slope of the filter
SILENCE_DB = -80.0  # RMS level within the bands relative to full scale; frames below it are dither noise
FAINT_DB = -50.0  # level relative to the loudest frame; lossy encoders change fainter frames (fades, reverberation) arbitrarily
CONSTANT = 1e-3  # share of the compared energy; smaller differences are caused by constant tones
BATCH = 256  # frames per FFT call


def fingerprint(samples: np.ndarray, rate: int) -> np.ndarray:
    """Compute the audio fingerprint of a recording.

    Args:
        samples: waveform.
        rate: sample rate in Hz.

    Shape:
        samples: [C, T]; the result: uint32 [words].

    Returns:
        One word (32 bits) for each frame after the first `LAG` frames; empty for a shorter recording. The word 0 means that the
        frame is silent or constant. Comparisons of fingerprints ignore words that are 0.
    """
    factor = max(1, rate // LOW_RATE)
    energy = _band_energies(decimate(samples, factor), rate / factor)
    if len(energy) <= LAG:
        return np.zeros(0, np.uint32)
    slope, level = energy[:, :-1] - energy[:, 1:], energy[:, :-1] + energy[:, 1:]
    bits = slope[LAG:] - slope[:-LAG] > CONSTANT * (level[LAG:] + level[:-LAG])
    total = energy.sum(axis=1)
    sounds = total > max(10 ** (SILENCE_DB / 10), total.max() * 10 ** (FAINT_DB / 10))
    bits &= (sounds[LAG:] & sounds[:-LAG])[:, None]
    return np.packbits(bits, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)


def _band_energies(low: np.ndarray, rate: float) -> np.ndarray:
    """Return the energy of each frame in each band. Shape: [frames, 33]."""
    length = round(FRAME_SECONDS * rate)
    if len(low) < length:
        return np.zeros((0, len(BAND_EDGES_HZ) - 1), np.float32)
    size = 1 << (length - 1).bit_length()
    window = np.hanning(length)
    window *= np.sqrt(2 / (size * np.sum(window**2)))
    bands = _bands(size, rate)
    count = 1 + int((len(low) - length) / (HOP_SECONDS * rate))
    starts = np.rint(np.arange(count) * HOP_SECONDS * rate).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(low, length)
    window = window.astype(np.float32)
    energies = []
    for first in range(0, count, BATCH):
        spectra = np.fft.rfft(frames[starts[first : first + BATCH]] * window, size)[:, : len(bands)]
        energies.append((spectra.real**2 + spectra.imag**2) @ bands)
    return np.concatenate(energies)


def _bands(size: int, rate: float) -> np.ndarray:
    """Return the weight in [0, 1] of each FFT bin in each band: the share of the bin that is in the band. Shape: [bins, 33]."""
    last = min(size // 2, int(np.ceil(BAND_EDGES_HZ[-1] * size / rate)) + 1)
    edges = BAND_EDGES_HZ * size / rate
    below = np.clip(edges[None, :] - (np.arange(last + 1)[:, None] - 0.5), 0, 1)
    return np.diff(below, axis=1).astype(np.float32)


def to_text(words: np.ndarray) -> str:
    """Encode a fingerprint as base64 text for JSON: 32-bit words in little-endian order, 6.4 kB per minute of audio."""
    return base64.b64encode(words.astype("<u4").tobytes()).decode()


def from_text(text: str) -> np.ndarray:
    """Decode a fingerprint (32-bit words) from the base64 text that `to_text` returns."""
    return np.frombuffer(base64.b64decode(text), "<u4").astype(np.uint32)
