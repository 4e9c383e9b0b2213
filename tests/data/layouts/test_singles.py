"""Test single sources: training tracks of one source, and fixed songs for validation and test."""

import shutil

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.excluded_tracks import OUTSIDE_SPLITS
from unbraid.data.layouts.singles import Singles
from unbraid.runs.errors import InputError


@pytest.fixture
def root(tmp_path):
    return twins.singles(tmp_path / "root")


def files_of(listing, split):
    return {tuple(stream.path for (stream,) in track.sources.values()) for track in listing.tracks if track.split == split}


def test_a_training_file_has_one_source(root):
    listing = Singles(0.0, 0.0).tracks(root)
    names = [f"piano - {name}" for name in ("room - take 1", "room - take 2", "take 0")] + [
        f"voice - take {i}" for i in range(5)
    ]
    assert sorted(twins.splits(listing)) == names and set(twins.splits(listing).values()) == {"train"}
    song = twins.decoded(listing, "piano - room - take 1")
    assert list(song.sources) == ["piano"] and np.array_equal(song.mixture, twins.heard("piano 1", samples=twins.SAMPLES + 5))


def test_shares_are_taken_from_each_source(root):
    listing = Singles(0.2, 0.2).tracks(root)
    assert [len(files_of(listing, split)) for split in ("train", "valid", "test")] == [4, 1, 1]
    used = [stream.path for track in listing.tracks for (stream,) in track.sources.values()]
    assert len(used) == len(set(used)) == 8


def test_songs_combine_one_file_of_each_source(root):
    listing = Singles(["take 0"], ["take 3", "room - take 1"]).tracks(root)
    assert files_of(listing, "test") == {(root / "piano/room/take 1.wav", root / "voice/take 3.wav")}
    song = twins.decoded(listing, "valid 0001")
    assert list(song.sources) == ["piano", "voice"] and song.mixture.shape == (1, twins.SAMPLES)
    assert np.allclose(song.mixture, twins.heard("piano 0", "voice 0"), atol=1e-7)
    longer = twins.decoded(listing, "test 0001")
    assert np.array_equal(longer.sources["voice"], twins.heard("voice 3", samples=twins.SAMPLES + 30)[:, : twins.SAMPLES + 5])


@pytest.fixture
def split_root(root, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(root, tmp_path / "split" / split)
    return tmp_path / "split"


def test_smaller_sources_repeat_files(split_root):
    listing = Singles(0.9, 0.5).tracks(split_root)
    assert list(twins.splits(listing).values()) == 8 * ["train"] + 5 * ["test"]
    songs = [track for track in listing.tracks if track.split == "test"]
    voices = [track.sources["voice"][0].path.name for track in songs]
    pianos = [track.sources["piano"][0].path.name for track in songs]
    assert sorted(voices) == [f"take {i}.wav" for i in range(5)] and len(set(pianos[:3])) == 3 and pianos[3:] == pianos[:2]
    assert voices != sorted(voices)


def test_songs_stay_the_same(split_root, tmp_path):
    shutil.copytree(split_root, tmp_path / "copy")
    one, two = (
        [
            [stream.path.relative_to(root) for (stream,) in track.sources.values()]
            for track in Singles(0.1, 0.1).tracks(root).tracks
        ]
        for root in (split_root, tmp_path / "copy")
    )
    assert one == two


def test_folders_outside_the_splits_are_excluded(split_root):
    twins.empty(split_root / "voice/take 9.wav")
    assert Singles(0.1, 0.1).tracks(split_root).left_out == {"voice": OUTSIDE_SPLITS}


def test_a_split_without_a_source_is_named(split_root):
    shutil.rmtree(split_root / "test/piano")
    with pytest.raises(InputError) as caught:
        Singles(0.1, 0.1).tracks(split_root)
    assert caught.value.where == str(split_root) and "test split lacks a file of the source 'piano'" in caught.value.problem


def test_an_unknown_name_is_refused(root):
    with pytest.raises(InputError) as caught:
        Singles(["take 7"], 0.0).tracks(root)
    assert caught.value.where == "valid" and "'take 7'" in caught.value.problem and "'take " in caught.value.hint


def test_another_layout_is_named_with_its_files(tmp_path):
    twins.empty(tmp_path / "voice.wav")
    with pytest.raises(InputError) as caught:
        Singles(0.1, 0.1).tracks(tmp_path)
    assert (caught.value.where, caught.value.found) == (str(tmp_path), "voice.wav") and caught.value.expected


def test_names_for_splits_are_refused_with_split_folders(tmp_path):
    for split in ("train", "valid", "test"):
        twins.singles(tmp_path / split)
    with pytest.raises(InputError) as caught:
        Singles(["take 1"], 0.1).tracks(tmp_path)
    assert (caught.value.where, caught.value.found) == ("valid", ["take 1"])
