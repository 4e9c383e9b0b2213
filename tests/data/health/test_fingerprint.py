"""Fingerprints and duplicates: encoded and cut copies are found, and different songs are not copies."""

import json

import numpy as np
import pytest

from tests.data.health.songs import RATE, song, through_mp3, through_ogg
from unbraid import audio
from unbraid.data.health import duplicates
from unbraid.data.health.duplicates import matches
from unbraid.data.health.fingerprint import HOP_SECONDS, LAG, fingerprint, from_text, to_text

SECONDS = 10.0
RNG = np.random.default_rng(0)


def differ(a: np.ndarray, b: np.ndarray) -> float:
    length = min(len(a), len(b))
    return float(np.bitwise_count(a[:length] ^ b[:length]).sum()) / (32 * length)


def test_level_and_sample_rate_hardly_matter():
    words = fingerprint(song(0, SECONDS), RATE)
    assert differ(words, fingerprint(0.05 * song(0, SECONDS), RATE)) < 0.001
    for rate in (48000, 8192):
        resampled = audio.resample(song(0, SECONDS), RATE, rate)
        assert differ(words, fingerprint(resampled, rate)) < 0.02


def test_another_song_differs_in_half_of_the_bits():
    assert 0.4 < differ(fingerprint(song(0, SECONDS), RATE), fingerprint(song(1, SECONDS), RATE)) < 0.6


@pytest.mark.parametrize("encode", [through_mp3, through_ogg, lambda x: x], ids=["mp3", "ogg", "wav"])
@pytest.mark.parametrize("cut_seconds", [0.5, 0.525])  # a whole number of hops, and the worst case between two hops
def test_encoded_cut_and_quieter_copy_is_found(encode, cut_seconds):
    copy = encode(0.3 * song(0, SECONDS))[:, round(cut_seconds * RATE) :]
    (match,) = matches([fingerprint(song(1, SECONDS), RATE), fingerprint(song(0, SECONDS), RATE), fingerprint(copy, RATE)])
    assert (match.first, match.second) == (1, 2)
    assert match.offset_words == pytest.approx(cut_seconds / HOP_SECONDS, abs=2)  # mp3 encoders add a delay


def test_excerpt_is_found_in_either_order():
    whole, part = fingerprint(song(0, SECONDS), RATE), fingerprint(song(0, SECONDS)[:, 2 * RATE : 7 * RATE], RATE)
    assert [m.offset_words for m in matches([whole, part])] == [40]
    assert [m.offset_words for m in matches([part, whole])] == [-40]


@pytest.mark.slow
def test_different_songs_are_not_duplicates():
    assert matches([fingerprint(song(seed, 5.0), RATE) for seed in range(6)]) == []
    words = [RNG.integers(1, 2**32, 500, dtype=np.uint32) for _ in range(20)]
    assert matches(words) == []


def test_silence_and_standing_tones_match_nothing():
    time = np.arange(10 * RATE) / RATE
    dither = 2e-5 * RNG.standard_normal((2, 10 * RATE)).astype(np.float32)
    assert not fingerprint(np.zeros((2, 10 * RATE), np.float32), RATE).any()
    assert not fingerprint(dither, RATE).any()
    tones = [(0.3 * np.sin(2 * np.pi * f * time + f)).astype(np.float32)[None] for f in (440, 441, 700)]
    assert matches([fingerprint(samples, RATE) for samples in [*tones, dither, dither]]) == []


def test_equal_pauses_are_not_a_match():
    first, second = (np.pad(song(seed, 5.0), ((0, 0), (0, 5 * RATE))) for seed in (0, 1))
    assert matches([fingerprint(first, RATE), fingerprint(second, RATE)]) == []


def test_many_equal_copies_are_all_found():
    words = RNG.integers(1, 2**32, 100, dtype=np.uint32)
    copies = matches([words] * (duplicates.MOST_TRACKS + 5))
    assert [(m.first, m.second) for m in copies] == [(0, i) for i in range(1, duplicates.MOST_TRACKS + 5)]


@pytest.mark.parametrize(("length", "count"), [(duplicates.LEAST_WORDS, 1), (duplicates.LEAST_WORDS - 1, 0)])
def test_short_matches_do_not_count(length, count):
    words = RNG.integers(1, 2**32, 200, dtype=np.uint32)
    assert len(matches([words, words[:length]])) == count


@pytest.mark.parametrize(("wrong_bits", "count"), [(9, 1), (10, 0)])
def test_limit_of_wrong_bits(wrong_bits, count):
    """Nine of 32 wrong bits are a share of 0.28, ten are 0.31. Ten equal words provide the votes."""
    words = RNG.integers(1, 2**32, 2000, dtype=np.uint32)
    copy = words ^ np.uint32(2**wrong_bits - 1)
    copy[:10] = words[:10]
    assert len(matches([words, copy])) == count


def test_frequent_words_do_not_vote():
    common = RNG.integers(1, 2**32, 100, dtype=np.uint32)
    different = [RNG.integers(1, 2**32, 5, dtype=np.uint32) for _ in range(duplicates.MOST_TRACKS + 1)]
    assert len(matches([np.append(common, part) for part in different[:-1]])) > 0
    assert matches([np.append(common, part) for part in different]) == []


def test_pair_is_found_among_many_long_tracks():
    tracks = [RNG.integers(1, 2**32, 4800, dtype=np.uint32) for _ in range(300)]
    tracks[250] = tracks[3][77:].copy()
    assert [(m.first, m.second, m.offset_words, m.bit_error_rate) for m in matches(tracks)] == [(3, 250, 77, 0.0)]


def test_short_recordings_have_empty_fingerprints():
    for length in (0, 1, round((0.37 + LAG * HOP_SECONDS) * RATE) - 50):
        assert len(fingerprint(np.ones((1, length), np.float32), RATE)) == 0
    assert matches([]) == matches([np.zeros(0, np.uint32)] * 3) == []


def test_text_round_trip():
    words = fingerprint(song(0, SECONDS), RATE)
    assert np.array_equal(from_text(json.loads(json.dumps(to_text(words)))), words)
    assert len(to_text(words)) < 1100
