"""Test the search for separated files of other tools, and the errors of unsuitable files."""

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
def test_common_folder_layouts_are_found(tmp_path, place):
    path = tmp_path / place.format(track=TRACK)
    write(path, value=0.25)
    (path.parent / f"._{path.name}").write_bytes(b"macOS")
    (path.parent / "notes.txt").write_text("vocals")
    folder = EstimateFolder(tmp_path, ["vocals"])
    folder.check([TRACK])
    assert folder.read(TRACK, 8000, 1, 100) == pytest.approx(np.full((1, 1, 100), 0.25), abs=1e-3)


def test_folders_in_the_name_of_a_track_are_found(tmp_path):
    """With `data=stems`, the track in the folder `test/t0` has the name `test - t0`."""
    write(tmp_path / "test/t0/vocals.wav", value=0.25)
    folder = EstimateFolder(tmp_path, ["vocals"])
    assert folder.read("test - t0", 8000, 1, 100) == pytest.approx(np.full((1, 1, 100), 0.25), abs=1e-3)
    write(tmp_path / "test - t0/vocals.wav", value=0.5)
    assert folder.read("test - t0", 8000, 1, 100)[0, 0, 0] == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(InputError) as error:
        folder.check(["test - t1"])
    paths = ["test - t1/vocals.wav", "test/test - t1/vocals.wav", "test/t1/vocals.wav", "vocals/test - t1.wav"]
    assert error.value.expected.split(" or ") == paths
    write(tmp_path / "vocals.wav")
    with pytest.raises(InputError) as error:
        folder.check(["test - .."])
    assert "test/.." not in error.value.expected


def test_targets_keep_their_order(tmp_path):
    for value, target in enumerate(("vocals", "drums", "bass"), start=1):
        write(tmp_path / TRACK / f"{target}.wav", value=value / 10)
    read = EstimateFolder(tmp_path, ["bass", "vocals"]).read(TRACK, 8000, 1, 100)
    assert read[:, 0, 0] == pytest.approx([0.3, 0.1], abs=1e-3)


def test_fingerprint_depends_on_modification_time(tmp_path):
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
    path = tmp_path / TRACK / "vocals.wav"
    path.parent.mkdir()
    soundfile.write(path, np.full(100, np.nan), 8000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"vocals\.wav"):
        EstimateFolder(tmp_path, ["vocals"]).read(TRACK, 8000, 1, 100)


@pytest.mark.parametrize(("track", "found"), [(TRACK, "voice.wav"), ("another", "no audio files")])
def test_missing_target_is_refused(tmp_path, track, found):
    write(tmp_path / TRACK / "voice.wav")
    with pytest.raises(InputError) as error:
        EstimateFolder(tmp_path, ["vocals"]).check([track])
    assert (error.value.where, error.value.found) == (str(tmp_path), found)
    assert error.value.expected == f"{track}/vocals.wav or test/{track}/vocals.wav or vocals/{track}.wav"


def test_two_files_for_one_target_are_refused(tmp_path):
    write(tmp_path / TRACK / "vocals.wav")
    write(tmp_path / TRACK / "vocals.flac")
    with pytest.raises(InputError) as error:
        EstimateFolder(tmp_path, ["vocals"]).check([TRACK])
    assert (error.value.where, error.value.found) == (str(tmp_path / TRACK), "vocals.flac and vocals.wav")


@pytest.mark.parametrize("name", ["../song", "a/b", ".hidden"])
def test_track_outside_the_folder_is_refused(tmp_path, name):
    with pytest.raises(InputError) as error:
        EstimateFolder(tmp_path, ["vocals"]).check([name])
    assert error.value.where == name


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_missing_folder_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as error:
        EstimateFolder(tmp_path / name, ["vocals"])
    assert error.value.where == f"estimates={tmp_path / name}"
