"""Files of any tool: where they are found, and what is said of those that do not fit."""

import os

import numpy as np
import pytest
import soundfile

from unbraid.evaluation.estimates import EstimateFolder
from unbraid.runs.errors import InputError

TRACK = "A song. Live"


def write(path, samples=100, rate=8000, channels=1, value=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full((samples, channels), value), rate)


@pytest.mark.parametrize(
    "place", ["{track}/vocals.wav", "test/{track}/vocals.flac", "vocals/{track}.wav", "{track}/Vocals.WAV"]
)
def test_files_are_found_where_tools_leave_them(tmp_path, place):
    path = tmp_path / place.format(track=TRACK)
    write(path, value=0.25)
    (path.parent / f"._{path.name}").write_bytes(b"macOS")
    (path.parent / "notes.txt").write_text("vocals")
    folder = EstimateFolder(tmp_path, ["vocals"])
    folder.check([TRACK])
    assert folder.read(TRACK, 8000, 1, 100) == pytest.approx(np.full((1, 1, 100), 0.25), abs=1e-3)


def test_targets_come_in_their_order(tmp_path):
    for value, target in enumerate(("vocals", "drums", "bass"), start=1):
        write(tmp_path / TRACK / f"{target}.wav", value=value / 10)
    read = EstimateFolder(tmp_path, ["bass", "vocals"]).read(TRACK, 8000, 1, 100)
    assert read[:, 0, 0] == pytest.approx([0.3, 0.1], abs=1e-3)


def test_the_fingerprint_tells_files_apart(tmp_path):
    path = tmp_path / TRACK / "vocals.wav"
    write(path)
    folder = EstimateFolder(tmp_path, ["vocals"])
    before = folder.fingerprint(TRACK)
    assert folder.fingerprint(TRACK) == before
    os.utime(path, (0, 0))
    assert folder.fingerprint(TRACK) != before


@pytest.mark.parametrize(
    ("made", "found"),
    [
        ({"samples": 88}, "88 samples"),
        ({"samples": 103}, "103 samples"),
        ({"rate": 16000}, "16000 Hz"),
        ({"channels": 2}, "2 channels"),
        ({"channels": 6}, "6 channels"),
    ],
)
def test_estimate_unlike_its_reference_is_refused(tmp_path, made, found):
    path = tmp_path / TRACK / "vocals.wav"
    write(path, **made)
    with pytest.raises(InputError) as caught:
        EstimateFolder(tmp_path, ["vocals"]).read(TRACK, 8000, 1, 100)
    assert (caught.value.where, caught.value.found) == (str(path), found)


def test_estimate_with_nan_is_refused(tmp_path):
    (tmp_path / TRACK).mkdir()
    soundfile.write(tmp_path / TRACK / "vocals.wav", np.full(100, np.nan), 8000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"vocals.wav: contains NaN"):
        EstimateFolder(tmp_path, ["vocals"]).read(TRACK, 8000, 1, 100)


def test_a_target_that_is_not_there_is_said_with_what_is(tmp_path):
    write(tmp_path / TRACK / "voice.wav")
    with pytest.raises(InputError, match=rf"{TRACK}: has no estimate of vocals in .*; expected .*vocals.wav .*found voice.wav"):
        EstimateFolder(tmp_path, ["vocals"]).check([TRACK])
    with pytest.raises(InputError, match="found nothing"):
        EstimateFolder(tmp_path, ["vocals"]).check(["another"])


def test_two_files_for_one_target_are_refused(tmp_path):
    write(tmp_path / TRACK / "vocals.wav")
    write(tmp_path / TRACK / "vocals.flac")
    with pytest.raises(InputError, match=r"vocals.flac and vocals.wav are both estimates of vocals, expected one"):
        EstimateFolder(tmp_path, ["vocals"]).check([TRACK])


@pytest.mark.parametrize("name", ["../song", "a/b", ".hidden"])
def test_a_track_outside_the_folder_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="may neither hold / nor begin with a dot"):
        EstimateFolder(tmp_path, ["vocals"]).check([name])


def test_a_folder_that_is_none_is_said(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        EstimateFolder(tmp_path / "nowhere", ["vocals"])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, expected a folder"):
        EstimateFolder(tmp_path / "file", ["vocals"])
