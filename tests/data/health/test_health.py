"""Truths about the examination of a track, about what is worth a warning, and about the report."""

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


def own(name: str) -> AudioStream:
    return AudioStream(Path(f"{name}.wav"))


def examined(sources: dict[str, np.ndarray], mixture: np.ndarray | None = None, **track: object) -> health.Health:
    """The health of a track of these sources, with a mixture of its own if one is given."""
    streams = {name: (own(name),) for name in sources if name != track.get("residual")}
    listed = Track("song", "train", streams, None if mixture is None else own("mixture"), **track)
    total = sum(sources.values()) if mixture is None else mixture
    return health.examine(listed, Decoded(RATE, total, sources))


def of_mixture(samples: np.ndarray) -> health.Health:
    return examined({"vocals": samples})


def kinds(**changes: object) -> list[str]:
    return [finding.kind for finding in health.findings([("song", "train", replace(GOOD, **changes))])]


def test_a_clean_song():
    parts = {name: samples for name, samples in stems(0, SECONDS).items() if name != "mixture"}
    found = examined(parts, song(0, SECONDS))
    assert (found.duration_seconds, found.rate, found.channels) == (SECONDS, RATE, 2)
    assert found.residual_db == -150
    assert found.clipped_runs == 0
    assert found.ceiling_hz == RATE / 2
    assert found.silent_sources == []
    assert health.findings([("song", "train", found)]) == []
    assert found == examined(parts, song(0, SECONDS))


def test_json_and_back():
    found = examined({"vocals": song(0, SECONDS)}, song(0, SECONDS))
    assert health.Health(**json.loads(json.dumps(asdict(found), allow_nan=False))) == found


def test_the_residual_is_what_was_added():
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
    assert of_mixture(samples).clipped_runs == 1
    assert of_mixture(-samples).clipped_runs == 1
    assert of_mixture(np.roll(samples, 0) * 0.999).clipped_runs == 0
    samples[1, place + 1] = -FULL
    assert of_mixture(samples).clipped_runs == 0


def test_long_runs_count_once_and_waves_above_full_scale_never():
    samples = np.zeros((1, 3 * RATE), np.float32)
    samples[0, 100:140_000] = 1.0
    assert of_mixture(samples).clipped_runs == 1
    samples[0, 200] = -1.0
    assert of_mixture(samples).clipped_runs == 2
    wave = 1.3 * np.sin(np.arange(3 * RATE) / 20, dtype=np.float32)[None]
    assert of_mixture(wave).clipped_runs == 0
    assert of_mixture(np.clip(wave, -1, 1)).clipped_runs == pytest.approx(3 * RATE / 20 / np.pi, abs=2)


def test_silent_shares():
    half = np.ones((2, 4 * RATE), np.float32) * 0.01
    half[:, 2 * RATE :] = 0
    faint = np.full((2, 4 * RATE), 0.00099, np.float32)
    found = examined({"drums": half, "bass": 0 * half, "other": faint, "vocals": faint * 1.02})
    assert found.silent_share == {"drums": 0.5, "bass": 1, "other": 1, "vocals": 0}
    assert found.silent_sources == ["bass", "other"]


@pytest.mark.parametrize("length", [0, 1, 2, 1000, 4411])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_tracks_of_almost_nothing_can_be_examined(length, channels, level):
    samples = np.full((channels, length), level, np.float32)
    found = examined({"vocals": 0 * samples, "accompaniment": samples}, samples, residual="vocals")
    assert found.channels == channels
    assert found.duration_seconds == length / RATE
    json.dumps(asdict(found), allow_nan=False)
    health.table([("song", "train", found)], health.findings([("song", "train", found)]))


def pair(rest: np.ndarray) -> health.Health:
    mixture = song(0, SECONDS)
    return examined({"vocals": mixture - rest, "accompaniment": rest}, mixture, residual="vocals")


def test_a_pair_that_belongs_together():
    found = pair(accompaniment(0, SECONDS))
    assert found.residual_db is None
    assert found.aligned is True
    assert found.remainder_db < -3
    assert health.findings([("song", "train", found)]) == []


def test_a_pair_that_does_not():
    late = np.pad(accompaniment(0, SECONDS), ((0, 0), (2205, 0)))[:, :-2205]
    assert pair(late).offset_ms == pytest.approx(50, abs=0.1)
    assert [f.kind for f in health.findings([("a", "train", pair(late))])] == ["misaligned pair", "remainder"]
    (other, _) = health.findings([("a", "train", pair(song(1, SECONDS)))])
    assert "does not look like one recording" in other.sentence


def of_channels(left: np.ndarray, right: np.ndarray) -> health.Health:
    streams = {name: (AudioStream(Path("a.wav"), 0, channel),) for channel, name in enumerate(("accompaniment", "vocals"))}
    return health.examine(
        Track("song", "train", streams), Decoded(RATE, left + right, {"accompaniment": left, "vocals": right})
    )


def test_swapped_channels_are_noticed_and_only_where_both_are_of_one_file():
    voice, rest = stems(0, SECONDS)["vocals"][:1].copy(), accompaniment(0, SECONDS)[:1]
    voice[:, : 2 * RATE] = 0
    assert [f.kind for f in health.findings([("song", "train", of_channels(voice, rest))])] == ["swapped channels"]
    assert not of_channels(rest, voice).swapped
    assert not examined({"accompaniment": voice, "vocals": rest}).swapped


def test_both_cues_must_speak_for_a_swap():
    def cue(rest: float, voice: float) -> dict[str, float]:
        return {"accompaniment": rest, "vocals": voice}

    assert look_swapped(cue(0.16, 0.1), cue(0.1, 0.2))
    assert not look_swapped(cue(0.14, 0.1), cue(0.1, 0.2))
    assert not look_swapped(cue(0.5, 0.1), cue(0.2, 0.2))
    assert not look_swapped({}, {})


def test_cues():
    time = np.arange(4 * RATE) / RATE
    tones = [np.sin(2 * np.pi * f * time)[None].astype(np.float32) for f in (60, 200)]
    assert bass_share(tones[0], RATE) > 0.99
    assert bass_share(tones[1], RATE) < 0.01
    assert bass_share(0 * tones[0], RATE) == bass_share(tones[0][:, :0], RATE) == 0
    assert pause_share(np.array([1, 1, 1, 0.0009])) == 0.25
    assert pause_share(np.array([1, 1, 1, 0.0015])) == 0
    assert pause_share(np.zeros(4)) == pause_share(np.zeros(0)) == 1


@pytest.mark.parametrize(
    ("kind", "just_right", "too_much"),
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
def test_both_sides_of_every_threshold(kind, just_right, too_much):
    assert kinds(**just_right) == []
    assert kinds(**too_much) == [kind]


def test_rates_that_differ_from_the_most():
    entries = [(name, "train", replace(GOOD, rate=rate)) for name, rate in (("a", RATE), ("b", 22050), ("c", RATE))]
    assert [(f.track, f.kind) for f in health.findings(entries)] == [("b", "mixed sample rates")]


def test_duplicates_across_and_within_splits_in_any_order():
    same = replace(GOOD, fingerprint=to_text(WORDS))
    later = replace(GOOD, fingerprint=to_text(WORDS[10:]))
    entries = [("a", "train", same), ("b", "test", later), ("c", "train", replace(GOOD, fingerprint=to_text(WORDS[::-1])))]
    (found,) = health.findings(entries)
    assert (found.track, found.kind) == ("a", "duplicate across splits")
    assert "as b in test, which begins 0.50 s later" in found.sentence
    assert health.findings(entries[::-1]) == [found]
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
    assert "nothing to warn of" in health.table([], health.findings([]))


def test_the_report_is_json_without_fingerprints():
    entries = [("a", "train", replace(GOOD, fingerprint=to_text(WORDS))), ("b", "test", replace(GOOD, clipped_runs=99))]
    found = health.report(entries, health.findings(entries))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["splits"]["train"] == {"tracks": 1, "hours": 60 / 3600}
    assert found["findings"][0]["track"] == "b"
    assert "fingerprint" not in found["tracks"]["a"]
    assert found["tracks"]["a"]["aligned"] is None


def test_workers_start_without_torch():
    code = "import sys, unbraid.data.health; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
