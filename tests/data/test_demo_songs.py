"""Properties of the demo songs: exact sums, determinism, and a separation task of moderate difficulty."""

from functools import cache

import numpy as np
import pytest

from unbraid.data.demo_songs.score import CONSONANTS, VOWELS, compose
from unbraid.data.demo_songs.song import STEMS, render_song
from unbraid.data.demo_songs.sounds import SAMPLE_RATE, harmonic_sum
from unbraid.data.demo_songs.voice import CONSONANT_SOUNDS, VOWEL_FORMANTS_HZ
from unbraid.runs.errors import InputError

SECONDS = 12.0
SEEDS = (0, 1, 2, 3)
FFT, FFT_HOP = 2048, 1024


@cache
def song(seed: int) -> dict[str, np.ndarray]:
    return render_song(seed, SECONDS)


def voice_and_rest(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mono voice and the mono sum of the other stems, [samples] each."""
    voice = song(seed)["vocals"].astype(float).mean(axis=0)
    return voice, song(seed)["mixture"].astype(float).mean(axis=0) - voice


def usdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    return 10 * np.log10(np.sum(np.abs(reference) ** 2) / np.sum(np.abs(reference - estimate) ** 2))


def spectra(track: np.ndarray) -> np.ndarray:
    """Return spectra with a Hann window. Shape: [frames, bins]."""
    frames = np.lib.stride_tricks.sliding_window_view(track, FFT)[::FFT_HOP]
    return np.fft.rfft(frames * np.hanning(FFT))


@pytest.mark.parametrize("seed", SEEDS)
def test_tracks_are_stereo_integers(seed: int) -> None:
    assert list(song(seed)) == ["mixture", *STEMS]
    for track in song(seed).values():
        assert track.dtype == np.int16
        assert track.shape == (2, round(SECONDS * SAMPLE_RATE))


def test_length_is_rounded_to_the_sample() -> None:
    assert render_song(0, 1.23456)["mixture"].shape == (2, 54444)


@pytest.mark.parametrize("seed", SEEDS)
def test_mixture_is_exact_sum_with_fixed_peak(seed: int) -> None:
    stems = sum(song(seed)[name].astype(np.int64) for name in STEMS)
    assert np.array_equal(song(seed)["mixture"], stems)
    peak = max(np.abs(track.astype(int)).max() for track in song(seed).values())
    assert 20 * np.log10(peak / 32768) == pytest.approx(-1.5, abs=0.01)


def test_a_seed_fixes_every_sample() -> None:
    again = render_song(1, SECONDS)
    assert all(np.array_equal(song(1)[name], track) for name, track in again.items())
    assert not any(np.array_equal(song(0)[name], song(1)[name]) for name in again)


def test_songs_differ_in_key_tempo_and_singer() -> None:
    styles = [compose(np.random.default_rng(seed), SECONDS).style for seed in range(40)]
    assert len({style.tonic % 12 for style in styles}) > 6
    assert len({style.mode for style in styles}) == 4
    assert min(style.tempo for style in styles) < 80 and max(style.tempo for style in styles) > 130
    assert {style.voice_pitch > 58 for style in styles} == {False, True}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_stem_sounds_without_offset(seed: int) -> None:
    for name in STEMS:
        track = song(seed)[name].astype(float)
        rms = np.sqrt(np.mean(track**2))
        assert rms > 300
        assert abs(track.mean()) < 0.005 * rms


@pytest.mark.parametrize("seed", SEEDS)
def test_voice_rests_between_phrases(seed: int) -> None:
    voice, _ = voice_and_rest(seed)
    level = 10 * np.log10(np.mean(voice.reshape(-1, 1800) ** 2, axis=1) + 1e-3)
    assert 0.15 < np.mean(level < np.percentile(level, 95) - 30) < 0.6


@pytest.mark.parametrize("seed", SEEDS)
def test_untouched_mixture_scores_the_intended_difficulty(seed: int) -> None:
    voice = song(seed)["vocals"].astype(float)
    assert -9 < usdr(voice, song(seed)["mixture"].astype(float)) < -4


@pytest.mark.parametrize("seed", SEEDS)
def test_mask_separates_better_than_fixed_filter(seed: int) -> None:
    """The best fixed filter is the Wiener filter of the long-term spectra of the song. A time-varying mask is much better."""
    voice, rest = (spectra(track) for track in voice_and_rest(seed))
    mixture = voice + rest
    power = np.mean(np.abs(voice) ** 2, axis=0), np.mean(np.abs(rest) ** 2, axis=0)
    fixed = usdr(voice, mixture * (power[0] / (power[0] + power[1])))
    moving = usdr(voice, mixture * (np.abs(voice) / (np.abs(voice) + np.abs(rest) + 1e-9)))
    assert fixed < 4.5
    assert moving > fixed + 3


def test_harmonics_do_not_alias() -> None:
    """A tone of 3 kHz has three harmonics below the limit. The fourth and all aliasing harmonics are omitted."""
    tone = harmonic_sum(np.full(200, 3000.0), np.ones((200, 40)))
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone))))
    hz = np.fft.rfftfreq(len(tone), 1 / SAMPLE_RATE)
    present = [np.any(spectrum[np.abs(hz - f) < 20] > 0.1 * spectrum.max()) for f in (3000, 6000, 9000)]
    assert all(present)
    assert spectrum[hz > 9100].max() < 1e-3 * spectrum.max()


def test_every_syllable_can_be_pronounced() -> None:
    assert set(CONSONANTS) == set(CONSONANT_SOUNDS)
    assert set("".join(VOWELS)) == set(VOWEL_FORMANTS_HZ)


def test_short_song_is_refused() -> None:
    with pytest.raises(InputError) as error:
        render_song(0, 0.5)
    assert (error.value.where, error.value.found) == ("seconds", 0.5)
