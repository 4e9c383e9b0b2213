"""Test that files are decoded to the sources and the mixture of a track."""

from dataclasses import replace

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.decoding import check_headers, decode
from unbraid.data.tracks import AudioStream, Track
from unbraid.runs.errors import InputError


def track(tmp_path, *files, **options):
    """Write files and return a track with one source for each (name, samples, rate)."""
    streams = {name: (AudioStream(twins.write(tmp_path / f"{name}.wav", samples, rate)),) for name, samples, rate in files}
    return Track("song", "train", streams, **options)


def tone(rate, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


def test_files_are_resampled_to_the_highest_rate(tmp_path):
    decoded = decode(track(tmp_path, ("slow", tone(16000), 16000), ("fast", tone(44100), 44100)))
    assert decoded.rate == 44100 and decoded.file_rates == (16000, 44100)
    assert decoded.mixture.shape == (1, 44100) and decoded.padded_seconds == decoded.cut_seconds == 0
    middle = slice(8000, 36000)  # without the ringing of resampling at the ends
    assert np.abs(decoded.sources["slow"] - decoded.sources["fast"])[:, middle].max() < 1e-3


def test_lengths_that_differ_by_rounding_are_equal(tmp_path):
    decoded = decode(track(tmp_path, ("slow", tone(16000)[:15999], 16000), ("fast", tone(44100), 44100)))
    assert decoded.mixture.shape[1] == round(15999 * 44100 / 16000)


def unequal(tmp_path, lengths, seconds):
    files = ("long", tone(16000, 3.0), 16000), ("short", tone(16000, 3.0 - seconds), 16000)
    return decode(track(tmp_path, *files, lengths=lengths))


@pytest.mark.parametrize(("lengths", "seconds"), [("auto", 1.0), ("pad", 2.5)])
def test_short_files_are_padded_with_silence(tmp_path, lengths, seconds):
    decoded = unequal(tmp_path, lengths, seconds)
    assert decoded.padded_seconds == seconds and decoded.cut_seconds == 0
    assert decoded.mixture.shape == (1, 48000) and decoded.sources["long"].any()
    end = 48000 - round(16000 * seconds)
    assert not decoded.sources["short"][:, end:].any() and decoded.sources["short"][:, end - 100 : end].any()


def test_long_files_are_trimmed_to_the_shortest(tmp_path):
    decoded = unequal(tmp_path, "trim", 2.5)
    assert decoded.mixture.shape == (1, 8000)
    assert decoded.cut_seconds == 2.5 and decoded.padded_seconds == 0


@pytest.mark.parametrize(("lengths", "seconds", "hint"), [("auto", 1.01, "data.layout.lengths=pad"), ("error", 0.1, "")])
def test_other_lengths_are_refused(tmp_path, lengths, seconds, hint):
    with pytest.raises(InputError) as caught:
        unequal(tmp_path, lengths, seconds)
    error = caught.value
    assert error.where == str(tmp_path / "short.wav") and error.found.startswith(f"{round(16000 * (3 - seconds))} samples")
    assert error.expected.startswith("48000 samples") and "long.wav" in error.problem and "'song'" in error.problem
    assert hint in error.hint and bool(error.hint) == bool(hint)


def bad_files(song):
    errors, _ = check_headers([song], progress=False)
    return [error.where for error in errors]


def test_headers_show_truncated_and_unequal_files(tmp_path):
    files = ("long", tone(16000, 3.0), 16000), ("short", tone(8000, 1.5), 8000), ("cut", tone(16000, 3.0), 16000)
    song = track(tmp_path, *files, lengths="auto")
    (error,), seconds = check_headers([song, replace(song, name="copy")], progress=False)
    assert seconds == [3.0, 3.0]  # of the first file, for each track
    assert (error.where, error.found, error.expected) == (str(tmp_path / "short.wav"), "1.50 s", "3.00 s")
    cut = tmp_path / "cut.wav"
    cut.write_bytes(cut.read_bytes()[:9000])
    assert bad_files(song) == [str(cut), str(tmp_path / "short.wav")]
    (tmp_path / "short.wav").write_bytes(b"text")
    assert {*bad_files(song)} == {str(cut), str(tmp_path / "short.wav")}
    padded = track(tmp_path, *files, lengths="pad")
    assert bad_files(padded) == []


def test_surround_next_to_stereo_becomes_stereo(tmp_path):
    wide = np.stack([tone(8000) / k for k in range(1, 7)], axis=1)
    song = track(tmp_path, ("wide", wide, 8000), ("stereo", wide[:, :2], 8000))
    decoded = decode(song)
    assert decoded.sources["wide"].shape == decoded.sources["stereo"].shape
    assert len(decoded.messages) == 1 and decoded.messages[0].startswith("wide.wav: has 6 channels")
    front = decode(song, surround="front")
    assert np.array_equal(front.sources["wide"], front.sources["stereo"])


def test_a_mono_source_is_on_both_channels(tmp_path):
    both = np.stack([tone(8000), -tone(8000)], axis=1)
    decoded = decode(track(tmp_path, ("mono", tone(8000), 8000), ("stereo", both, 8000)))
    assert np.abs(decoded.mixture[1]).max() < 1e-4 < np.abs(decoded.mixture[0]).max()


def test_a_track_without_files_is_refused():
    with pytest.raises(InputError) as caught:
        decode(Track("song", "train", {"vocals": ()}))
    assert caught.value.where == "song"


def test_a_missing_channel_is_refused(tmp_path):
    path = twins.write(tmp_path / "mono.wav", tone(8000), 8000)
    with pytest.raises(InputError) as caught:
        decode(Track("song", "train", {"vocals": (AudioStream(path, channel=1),)}))
    assert (caught.value.where, caught.value.found) == (str(path), 1)
