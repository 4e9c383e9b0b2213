"""A fingerprint of a recording: 32 bits per 50 ms that survive level, encoding and resampling.

Haitsma & Kalker 2002, "A Highly Robust Audio Fingerprinting System": a bit says whether the difference in energy between
neighbouring bands is greater than it was earlier. 33 bands from 300 to 2000 Hz, spaced evenly in log frequency, in frames of
0.37 s as there. A hop of 50 ms where they have 11.6 ms is enough for whole tracks and a quarter of the size; to survive copies
that begin half a hop later, a frame is compared with the one 0.4 s before, where they take the one before: that alone halves
the wrong bits of an mp3. Frames and bands are counted in seconds and Hz, so copies at other sample rates have the same words.

It knows a recording, not a composition: another take or speed is another recording. Another singer over the same
accompaniment, or the accompaniment alone, differs in no more bits than a bad mp3, and counts as the same.
"""

import base64

import numpy as np

from unbraid.data.health.decimation import decimate

FRAME_SECONDS = 0.37
HOP_SECONDS = 0.05
BAND_EDGES_HZ = np.geomspace(300, 2000, 34)
LAG = 8  # hops between the frames that are compared
LOW_RATE = 5000  # the lowest rate that holds the bands and the slope of the filter
SILENCE_DB = -80.0  # RMS within the bands, relative to full scale: dither
FAINT_DB = -50.0  # relative to the loudest frame: fades and reverberation, where codecs put what they like
CONSTANT = 1e-3  # of the energy that is compared: differences below it are those of a standing tone
BATCH = 256


def fingerprint(samples: np.ndarray, rate: int) -> np.ndarray:
    """One word per frame but the first `LAG`; 0 stands for 'silent or constant' and says nothing.

    Args:
        samples: `[channels, samples]`.
        rate: in Hz.

    Shape:
        result: uint32 `[words]`, empty for a track too short for one.
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
    """Mean squares `[frames, 33]`."""
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
    """Share of each bin in each band `[bins, 33]`; bins are wide beside the lowest bands, so edges cut through them."""
    last = min(size // 2, int(np.ceil(BAND_EDGES_HZ[-1] * size / rate)) + 1)
    edges = BAND_EDGES_HZ * size / rate
    below = np.clip(edges[None, :] - (np.arange(last + 1)[:, None] - 0.5), 0, 1)
    return np.diff(below, axis=1).astype(np.float32)


def to_text(words: np.ndarray) -> str:
    """For JSON: base64 of the words as little-endian bytes, 6.4 kB per minute."""
    return base64.b64encode(words.astype("<u4").tobytes()).decode()


def from_text(text: str) -> np.ndarray:
    """The words of `to_text`."""
    return np.frombuffer(base64.b64decode(text), "<u4").astype(np.uint32)
