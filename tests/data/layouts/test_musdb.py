"""Test both editions of MUSDB18."""

import shutil

import pytest

from tests.conftest import write_song
from unbraid.data.excluded_tracks import NO_WAV_FILE
from unbraid.data.layouts.musdb import MUSDB18, VALIDATION_TRACKS
from unbraid.runs.errors import InputError

NAMED = "Actions - One Minute Smile"


def summary(listing):
    return [(track.name, track.split, list(track.sources)) for track in listing.tracks]


def test_hq(songs):
    sources = ["drums", "bass", "other", "vocals"]
    assert summary(MUSDB18().tracks(songs)) == [
        ("song 0", "train", sources), ("song 1", "train", sources), ("song 2", "valid", sources), ("song 3", "test", sources),
    ]  # fmt: skip


def test_stems(tmp_path, stem_file):
    for split, name in (("train", "A"), ("train", NAMED), ("test", "B")):
        (tmp_path / split).mkdir(exist_ok=True)
        shutil.copy(stem_file, tmp_path / split / f"{name}.stem.mp4")
    tracks = MUSDB18().tracks(tmp_path).tracks
    assert [(track.name, track.split) for track in tracks] == [("A", "train"), (NAMED, "valid"), ("B", "test")]
    streams = {name: stream.stream for name, (stream,) in tracks[0].sources.items()}
    assert tracks[0].mixture.stream == 0 and streams == {"drums": 1, "bass": 2, "other": 3, "vocals": 4}


def test_validation_tracks_are_taken_from_train(tmp_path):
    assert len(VALIDATION_TRACKS) == 14
    for split in ("train", "test"):
        write_song(tmp_path / split / NAMED, 0, seconds=0.1)
    assert [track.split for track in MUSDB18().tracks(tmp_path).tracks] == ["valid", "test"]


def test_validation_tracks_equal_those_of_musdb():
    import importlib.util
    from pathlib import Path

    import yaml

    package = Path(importlib.util.find_spec("musdb").submodule_search_locations[0])
    settings = yaml.safe_load((package / "configs/mus.yaml").read_text())
    assert set(settings["validation_tracks"]) == VALIDATION_TRACKS
    assert settings["stem_ids"] == {"mixture": 0, "drums": 1, "bass": 2, "other": 3, "vocals": 4}


def test_another_layout_is_named_with_its_files(tmp_path):
    (tmp_path / "Wavfile").mkdir()
    with pytest.raises(InputError) as caught:
        MUSDB18().tracks(tmp_path)
    assert (caught.value.where, caught.value.found) == (str(tmp_path), "Wavfile")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        MUSDB18().tracks(tmp_path)
    assert caught.value.found is None


@pytest.mark.parametrize("folder", ["musdb18hq", "musdb18"])
def test_the_root_may_be_the_folder_above(songs, tmp_path, folder):
    (tmp_path / folder).symlink_to(songs)
    (tmp_path / "other").mkdir()
    assert summary(MUSDB18().tracks(tmp_path)) == summary(MUSDB18().tracks(songs))


def test_two_data_sets_in_one_root_are_refused(songs, tmp_path):
    for folder in ("musdb18", "musdb18hq"):
        (tmp_path / folder).symlink_to(songs)
    with pytest.raises(InputError) as caught:
        MUSDB18().tracks(tmp_path)
    assert (caught.value.where, caught.value.found) == (str(tmp_path), "musdb18, musdb18hq")


def test_suffixes_may_be_upper_case(own_songs):
    for path in sorted(own_songs.rglob("*.wav")):
        path.rename(path.with_suffix(".WAV"))
    track = MUSDB18().tracks(own_songs).tracks[0]
    assert track.mixture.path == own_songs / "train/song 0/mixture.WAV"
    assert track.sources["bass"][0].path == own_songs / "train/song 0/bass.WAV"


def test_both_editions_in_one_root_are_refused(own_songs, stem_file):
    shutil.copy(stem_file, own_songs / "train" / "A.stem.mp4")
    with pytest.raises(InputError) as caught:
        MUSDB18().tracks(own_songs)
    assert caught.value.found == "A.stem.mp4 and song 0/"


def test_another_edition_than_required_is_refused(songs, tmp_path, stem_file):
    (tmp_path / "test").mkdir()
    shutil.copy(stem_file, tmp_path / "test" / "A.stem.mp4")
    assert len(MUSDB18("hq").tracks(songs).tracks) == 4 and len(MUSDB18("stems").tracks(tmp_path).tracks) == 1
    for edition, root, found in (("stems", songs, "hq (song 0/)"), ("hq", tmp_path, "stems (A.stem.mp4)")):
        with pytest.raises(InputError) as caught:
            MUSDB18(edition).tracks(root)
        assert (caught.value.found, caught.value.expected) == (found, f"data.layout.edition={edition}")


def test_a_missing_stem_is_named(own_songs):
    (own_songs / "train/song 1/bass.wav").unlink()
    with pytest.raises(InputError) as caught:
        MUSDB18().tracks(own_songs)
    assert caught.value.where == str(own_songs / "train/song 1/bass.wav")


def test_download_needs_ffmpeg_unless_files_exist(songs, tmp_path, monkeypatch):
    MUSDB18().fetch(songs)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError) as caught:
        MUSDB18().fetch(tmp_path / "new")
    assert caught.value.where == "data.download=true" and "ffprobe" in caught.value.problem
    assert not (tmp_path / "new").exists()


def test_download_refuses_a_root_of_other_files(tmp_path):
    (tmp_path / "Wavfile").mkdir()
    with pytest.raises(InputError) as caught:
        MUSDB18().fetch(tmp_path)
    assert caught.value.found == "Wavfile"


def test_hidden_files_and_empty_folders_are_skipped(own_songs, stem_file):
    (own_songs / "train/._A.stem.mp4").write_text("of macOS")
    (own_songs / "train/empty").mkdir()
    listing = MUSDB18().tracks(own_songs)
    assert len(listing.tracks) == 4 and listing.left_out == {"empty": NO_WAV_FILE}


def test_a_valid_folder_replaces_the_validation_tracks(own_songs):
    write_song(own_songs / "train" / NAMED, 0, seconds=0.1)
    assert [track.split for track in MUSDB18().tracks(own_songs).tracks if track.name == NAMED] == ["train"]
