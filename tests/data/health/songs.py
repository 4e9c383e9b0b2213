"""Demo songs for the tests of `health`, rendered once per session, and copies after lossy encoding."""

import io
from functools import cache

import numpy as np
import soundfile

from unbraid.data.demo_songs.song import render_song

RATE = 44100
LONG_SECONDS, SHORT_SECONDS = 20.0, 5.0


@cache
def _rendered(seed: int, seconds: float) -> dict[str, np.ndarray]:
    return {name: samples.astype(np.float32) / 32768 for name, samples in render_song(seed, seconds).items()}


def stems(seed: int, seconds: float) -> dict[str, np.ndarray]:
    """Return mixture and stems of a demo song, float32 [2, samples]. Songs 0 and 1 have up to 20 s, the others 5 s."""
    whole = _rendered(seed, LONG_SECONDS if seed < 2 else SHORT_SECONDS)
    assert seconds * RATE <= whole["mixture"].shape[1]
    return {name: samples[:, : round(seconds * RATE)] for name, samples in whole.items()}


def song(seed: int, seconds: float) -> np.ndarray:
    return stems(seed, seconds)["mixture"]


def accompaniment(seed: int, seconds: float) -> np.ndarray:
    return song(seed, seconds) - stems(seed, seconds)["vocals"]


def through(samples: np.ndarray, container: str, subtype: str, quality: float) -> np.ndarray:
    """Encode samples with a lossy codec and decode them again; quality 1 is the worst."""
    file = io.BytesIO()
    soundfile.write(file, samples.T, RATE, format=container, subtype=subtype, compression_level=quality)
    file.seek(0)
    return np.ascontiguousarray(soundfile.read(file, dtype="float32", always_2d=True)[0].T)


def through_mp3(samples: np.ndarray) -> np.ndarray:
    return through(samples, "MP3", "MPEG_LAYER_III", 0.7)


def through_ogg(samples: np.ndarray) -> np.ndarray:
    return through(samples, "OGG", "VORBIS", 0.9)
