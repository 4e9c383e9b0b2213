"""Measurements of a track, thresholds of warnings, and the report."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.health.songs import RATE, accompaniment, song, stems
from unbraid.data import health
from unbraid.data.decoding import Decoded, decode
from unbraid.data.health import examination, screen
from unbraid.data.health.channels import bass_share, look_swapped, pause_share
from unbraid.data.health.fingerprint import to_text
from unbraid.data.tracks import AudioStream, Track

FULL = np.float32(32767 / 32768)
SECONDS = 10.0
GOOD = health.Health(
    duration_seconds=60.0,
    cut_seconds=0.0,
    padded_seconds=0.0,
    rate=RATE,
    file_rates=[RATE],
    messages=[],
    channels=2,
    residual_db=-90.0,
    remainder_db=None,
    clipped_runs=0,
    silent_share={"vocals": 0.2, "drums": 0.0},
    ceiling_hz=RATE / 2,
    offset_ms=None,
    drift_ms=None,
    correlation=None,
    pause_share={},
    bass_share={},
    fingerprint="",
)
WORDS = np.random.default_rng(0).integers(1, 2**32, 500, dtype=np.uint32)


def stream(name: str) -> AudioStream:
    return AudioStream(Path(f"{name}.wav"))


def examined(sources: dict[str, np.ndarray], mixture: np.ndarray | None = None, **track: object) -> health.Health:
    """Return the health of a track with these sources, and with a mixture file if a mixture is given."""
    streams = {name: (stream(name),) for name in sources if name != track.get("residual")}
    listed = Track("song", "train", streams, None if mixture is None else stream("mixture"), **track)
    total = sum(sources.values()) if mixture is None else mixture
    return health.examine(listed, Decoded(RATE, total, sources))


def examine_mixture(samples: np.ndarray) -> health.Health:
    return examined({"vocals": samples})


def kinds(**changes: object) -> list[str]:
    return [finding.kind for finding in health.findings([("song", "train", replace(GOOD, **changes))])]


def test_clean_song_has_no_findings():
    parts = {name: samples for name, samples in stems(0, SECONDS).items() if name != "mixture"}
    measured = examined(parts, song(0, SECONDS))
    assert (measured.duration_seconds, measured.rate, measured.channels) == (SECONDS, RATE, 2)
    assert measured.residual_db == -150
    assert measured.clipped_runs == 0
    assert measured.ceiling_hz == RATE / 2
    assert measured.silent_sources == []
    assert health.findings([("song", "train", measured)]) == []
    assert measured == examined(parts, song(0, SECONDS))


def test_json_round_trip():
    measured = examined({"vocals": song(0, SECONDS)}, song(0, SECONDS))
    assert health.Health(**json.loads(json.dumps(asdict(measured), allow_nan=False))) == measured


def test_level_of_added_noise_is_the_residual():
    noise = np.random.default_rng(0).standard_normal((2, RATE * 3)).astype(np.float32) / 10
    for level_db in (-60, -20, 0):
        mixture = noise + np.float32(10 ** (level_db / 20)) * noise[:, ::-1]
        expected = level_db - 10 * np.log10(1 + 10 ** (level_db / 10))
        assert examined({"vocals": noise}, mixture).residual_db == pytest.approx(expected, abs=0.1)
    assert examined({"vocals": noise}, np.zeros_like(noise)).residual_db == 150
    assert examined({"vocals": 0 * noise}, 0 * noise).residual_db == -150
    assert examined({"vocals": noise}).residual_db is None
    assert examined({"drums": noise, "vocals": noise[:1]}, noise + noise[:1]).residual_db == -150


@pytest.mark.parametrize("place", [0, 1, 5000, examination.CHUNK - 2, examination.CHUNK - 1, examination.CHUNK, 2 * RATE - 3])
def test_flat_runs_at_full_scale_are_clipping(place):
    samples = np.zeros((2, 2 * RATE), np.float32)
    samples[1, place : place + 3] = FULL
    assert examine_mixture(samples).clipped_runs == 1
    assert examine_mixture(-samples).clipped_runs == 1
    assert examine_mixture(np.roll(samples, 0) * 0.999).clipped_runs == 0
    samples[1, place + 1] = -FULL
    assert examine_mixture(samples).clipped_runs == 0


def test_only_flat_runs_count_as_clipping():
    samples = np.zeros((1, 3 * RATE), np.float32)
    samples[0, 100:140_000] = 1.0
    assert examine_mixture(samples).clipped_runs == 1
    samples[0, 200] = -1.0
    assert examine_mixture(samples).clipped_runs == 2
    wave = 1.3 * np.sin(np.arange(3 * RATE) / 20, dtype=np.float32)[None]
    assert examine_mixture(wave).clipped_runs == 0
    assert examine_mixture(np.clip(wave, -1, 1)).clipped_runs == pytest.approx(3 * RATE / 20 / np.pi, abs=2)


def test_silent_shares():
    half = np.ones((2, 4 * RATE), np.float32) * 0.01
    half[:, 2 * RATE :] = 0
    faint = np.full((2, 4 * RATE), 0.00099, np.float32)
    measured = examined({"drums": half, "bass": 0 * half, "other": faint, "vocals": faint * 1.02})
    assert measured.silent_share == {"drums": 0.5, "bass": 1, "other": 1, "vocals": 0}
    assert measured.silent_sources == ["bass", "other"]


@pytest.mark.parametrize("length", [0, 1, 2, 1000, 4411])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_very_short_tracks_can_be_examined(length, channels, level):
    samples = np.full((channels, length), level, np.float32)
    measured = examined({"vocals": 0 * samples, "accompaniment": samples}, samples, residual="vocals")
    assert measured.channels == channels
    assert measured.duration_seconds == length / RATE
    json.dumps(asdict(measured), allow_nan=False)
    health.table([("song", "train", measured)], health.findings([("song", "train", measured)]))


def pair(rest: np.ndarray) -> health.Health:
    mixture = song(0, SECONDS)
    return examined({"vocals": mixture - rest, "accompaniment": rest}, mixture, residual="vocals")


def test_aligned_pair_has_no_findings():
    measured = pair(accompaniment(0, SECONDS))
    assert measured.residual_db is None
    assert measured.aligned is True
    assert measured.remainder_db < -3
    assert health.findings([("song", "train", measured)]) == []


def test_misaligned_and_unrelated_pairs_are_found():
    late = np.pad(accompaniment(0, SECONDS), ((0, 0), (2205, 0)))[:, :-2205]
    assert pair(late).offset_ms == pytest.approx(50, abs=0.1)
    assert [f.kind for f in health.findings([("a", "train", pair(late))])] == ["misaligned pair", "remainder"]
    (other, _) = health.findings([("a", "train", pair(song(1, SECONDS)))])
    assert other.kind == "misaligned pair" and f"{pair(song(1, SECONDS)).correlation:.2f}" in other.sentence


def examine_channels(left: np.ndarray, right: np.ndarray) -> health.Health:
    streams = {name: (AudioStream(Path("a.wav"), 0, channel),) for channel, name in enumerate(("accompaniment", "vocals"))}
    return health.examine(
        Track("song", "train", streams), Decoded(RATE, left + right, {"accompaniment": left, "vocals": right})
    )


def test_swapped_channels_of_one_file_are_found():
    voice, rest = stems(0, SECONDS)["vocals"][:1].copy(), accompaniment(0, SECONDS)[:1]
    voice[:, : 2 * RATE] = 0
    assert [f.kind for f in health.findings([("song", "train", examine_channels(voice, rest))])] == ["swapped channels"]
    assert not examine_channels(rest, voice).swapped
    assert not examined({"accompaniment": voice, "vocals": rest}).swapped


def test_swap_needs_both_measurements():
    def cue(rest: float, voice: float) -> dict[str, float]:
        return {"accompaniment": rest, "vocals": voice}

    assert look_swapped(cue(0.16, 0.1), cue(0.1, 0.2))
    assert not look_swapped(cue(0.14, 0.1), cue(0.1, 0.2))
    assert not look_swapped(cue(0.5, 0.1), cue(0.2, 0.2))
    assert not look_swapped({}, {})


def test_pause_and_bass_share():
    time = np.arange(4 * RATE) / RATE
    tones = [np.sin(2 * np.pi * f * time)[None].astype(np.float32) for f in (60, 200)]
    assert bass_share(tones[0], RATE) > 0.99
    assert bass_share(tones[1], RATE) < 0.01
    assert bass_share(0 * tones[0], RATE) == bass_share(tones[0][:, :0], RATE) == 0
    assert pause_share(np.array([1, 1, 1, 0.0009])) == 0.25
    assert pause_share(np.array([1, 1, 1, 0.0015])) == 0
    assert pause_share(np.zeros(4)) == pause_share(np.zeros(0)) == 1


@pytest.mark.parametrize(
    ("kind", "allowed", "excessive"),
    [
        ("residual", {"residual_db": -20.0}, {"residual_db": -19.9}),
        ("residual", {"residual_db": None}, {"residual_db": 150.0}),
        ("clipping", {"clipped_runs": 10}, {"clipped_runs": 11}),
        ("mostly silent", {"silent_share": {"vocals": 0.9}}, {"silent_share": {"vocals": 0.91}}),
        ("silent source", {"silent_share": {"vocals": 0.8}}, {"silent_share": {"vocals": 1.0}}),
        ("bandwidth", {"ceiling_hz": 0.375 * RATE}, {"ceiling_hz": 0.374 * RATE}),
        ("bandwidth", {"ceiling_hz": None}, {"ceiling_hz": 100.0}),
        ("unequal lengths", {"remainder_db": -9.0, "cut_seconds": 0.5}, {"remainder_db": -9.0, "cut_seconds": 0.6}),
        ("unequal lengths", {"padded_seconds": 0.0}, {"padded_seconds": 0.1}),
        ("resampled files", {"file_rates": [RATE]}, {"file_rates": [22050, RATE]}),
        ("remarks on files", {"messages": []}, {"messages": ["vocals.flac: has 6 channels"]}),
        ("remainder", {"remainder_db": 0.0}, {"remainder_db": 0.1}),
        (
            "misaligned pair",
            {"offset_ms": 10.0, "drift_ms": -10.0, "correlation": 0.1},
            {"offset_ms": 10.1, "drift_ms": 0.0, "correlation": 0.5},
        ),
    ],
)
def test_both_sides_of_every_threshold(kind, allowed, excessive):
    assert kinds(**allowed) == []
    assert kinds(**excessive) == [kind]


def test_different_sample_rate_is_found():
    entries = [(name, "train", replace(GOOD, rate=rate)) for name, rate in (("a", RATE), ("b", 22050), ("c", RATE))]
    assert [(f.track, f.kind) for f in health.findings(entries)] == [("b", "mixed sample rates")]


def test_duplicates_across_and_within_splits():
    same = replace(GOOD, fingerprint=to_text(WORDS))
    later = replace(GOOD, fingerprint=to_text(WORDS[10:]))
    entries = [("a", "train", same), ("b", "test", later), ("c", "train", replace(GOOD, fingerprint=to_text(WORDS[::-1])))]
    (duplicate,) = health.findings(entries)
    assert (duplicate.track, duplicate.kind) == ("a", "duplicate across splits")
    assert "b in test" in duplicate.sentence and "0.50 s later" in duplicate.sentence
    assert health.findings(entries[::-1]) == [duplicate]
    (within,) = health.findings([("a", "train", same), ("b", "train", later)])
    assert within.kind == "duplicate in a split"


def test_the_table_fits_a_terminal(stem_file):
    streams = {name: (AudioStream(stem_file, i),) for i, name in enumerate(("drums", "bass", "other", "vocals"), 1)}
    track = Track("The Easton Ellises, the whole of the night and more", "train", streams, AudioStream(stem_file, 0))
    entries = [(track.name, "train", health.examine(track, decode(track))), ("short", "test", replace(GOOD, ceiling_hz=None))]
    cues = {"accompaniment": 0.9, "vocals": 0.1}, {"accompaniment": 0.1, "vocals": 0.9}
    silent = {"accompaniment": 1.0, "vocals": 0.95, "drums": 0.5}
    entries.append(("x" * 50, "valid", replace(GOOD, pause_share=cues[0], bass_share=cues[1], silent_share=silent)))
    text = health.table(entries, health.findings(entries))
    assert [line for line in text.splitlines() if len(line) > 110] == []
    assert "The Easton Ell…" in text
    assert "0:06" in text and "15.3 kHz" in text and "1:00" in text
    assert "valid     1 tracks     0.02 h" in text
    assert "warning: bandwidth (1)" in text and "warning: residual (1)" in text
    (short,) = [line for line in text.splitlines() if line.startswith("short")]
    assert short.endswith("vocals 20 %")
    assert " - " in short


def test_a_long_table_is_cut():
    entries = [(f"{i:03}", "train", replace(GOOD, clipped_runs=99)) for i in range(screen.MOST_LINES + 3)]
    text = health.table(entries, health.findings(entries))
    assert "and 3 more tracks" in text
    assert f"warning: clipping ({screen.MOST_LINES + 3})" in text
    assert len(text.splitlines()) < screen.MOST_LINES + screen.MOST_PER_KIND + 10
    assert health.table(entries[::-1], health.findings(entries[::-1])) == text
    assert "no warnings" in health.table([], health.findings([]))


def test_the_report_is_json_without_fingerprints():
    entries = [("a", "train", replace(GOOD, fingerprint=to_text(WORDS))), ("b", "test", replace(GOOD, clipped_runs=99))]
    report = health.report(entries, health.findings(entries))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["splits"]["train"] == {"tracks": 1, "hours": 60 / 3600}
    assert report["findings"][0]["track"] == "b"
    assert "fingerprint" not in report["tracks"]["a"]
    assert report["tracks"]["a"]["aligned"] is None


def test_workers_start_without_torch():
    code = "import sys, unbraid.data.health; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
