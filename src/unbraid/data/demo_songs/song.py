"""Renders the demo songs: a small synthesiser that plays and sings what `score` composes.

The songs are the demo data set: made by this project, free of anyone's rights, the same for everyone. It is not a substitute
for recordings: a model trained on it knows these singers only.
"""

import numpy as np

from unbraid.data.demo_songs.band import render_bass, render_drums, render_other
from unbraid.data.demo_songs.score import compose
from unbraid.data.demo_songs.sounds import HOP, SAMPLE_RATE, at_level, interpolate, smooth
from unbraid.data.demo_songs.voice import render_vocals

STEMS = ("drums", "bass", "other", "vocals")
PEAK_DBFS = -1.5
# Long enough for every part to enter, however slow the song.
SHORTEST_SECONDS = 1.0


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


def tame(track: np.ndarray) -> np.ndarray:
    """Rounds off what stands more than about 12 dB above the RMS, then subtracts the moving average.

    Lopsided waveforms such as the voice's come out of the limiter with an offset.
    """
    limited = np.tanh(at_level(track, -12.0))
    samples = track.shape[1]
    blocks = np.pad(limited, ((0, 0), (HOP // 2, 2 * HOP))).cumsum(axis=1, dtype=np.float64)[:, ::HOP]
    averages = [interpolate(smooth(means, 0.2).astype(np.float32))[:samples] for means in np.diff(blocks) / HOP]
    return limited - np.stack(averages)
