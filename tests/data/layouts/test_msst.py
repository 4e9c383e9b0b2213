"""Test MSST: its types of training data, validation songs, and the stems that are used."""

import shutil

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.excluded_tracks import NO_CHOSEN_STEM
from unbraid.data.layouts.msst import MSST
from unbraid.runs.errors import InputError


def layout(**changes):
    options = {
        "type": 1,
        "train": ["train"],
        "valid": ["valid"],
        "test": 0.5,
        "instruments": None,
        "missing": "error",
    } | changes
    return MSST(**({"remix": 0.0 if options["type"] == 4 else 1.0} | options))


@pytest.fixture
def root(tmp_path):
    return twins.msst(tmp_path / "root")


@pytest.mark.parametrize("type_", [1, 4])
def test_mixtures_of_training_songs_are_sums(root, type_):
    twins.write(root / "train/Song 1/mixture.wav", twins.sound("a master"))
    listing = layout(type=type_).tracks(root)
    decoded = twins.decoded(listing, "train - Song 1")
    assert list(decoded.sources) == ["other", "vocals"]
    assert np.array_equal(decoded.sources["vocals"], twins.heard("train Song 1 vocals"))
    assert np.allclose(decoded.mixture, twins.heard("train Song 1 vocals", "train Song 1 other"), atol=1e-7)
    assert sum(track.split == "train" for track in listing.tracks) == 2


def test_validation_songs_have_their_mixture(root):
    listing = layout().tracks(root)
    splits = twins.splits(listing)
    assert {splits["valid - Song 1"], splits["valid - Song 2"]} == {"valid", "test"}
    assert np.array_equal(twins.decoded(listing, "valid - Song 1").mixture, twins.heard("valid Song 1 mixture"))


def test_test_songs_may_have_folders_of_their_own(root):
    twins.msst_songs(root / "mine/held out", mixture=True)
    splits = twins.splits(layout(test=["mine/held out"]).tracks(root))
    assert [split for name, split in splits.items() if name.startswith("valid")] == ["valid", "valid"]
    assert splits["mine - held out - Song 1"] == splits["mine - held out - Song 2"] == "test"


def test_type_2_has_tracks_of_one_source(root):
    listing = layout(type=2, train=["train2"]).tracks(root)
    singles = [track for track in listing.tracks if track.split == "train"]
    assert {len(track.sources) for track in singles} == {1} and len(singles) == 6
    decoded = twins.decoded(listing, "train2 - vocals - vocals_2")
    assert np.array_equal(decoded.sources["vocals"], twins.heard("vocals 2", samples=twins.SAMPLES + 20))


def test_a_table_has_tracks_of_one_source(root):
    listing = layout(type=3, train=["tables/train3.csv"]).tracks(root)
    names = sorted(name for name, split in twins.splits(listing).items() if split == "train")
    assert len(names) == 6 and all(name.startswith("tables - train3 - ") for name in names)
    name = next(name for name in names if name.endswith("vocals_3"))
    decoded = twins.decoded(listing, name)
    assert np.array_equal(decoded.sources["vocals"], twins.heard("vocals 3", samples=twins.SAMPLES + 30))


def test_several_training_folders_are_one_data_set(root):
    twins.msst_songs(root / "more")
    splits = twins.splits(layout(train=["train", "more"]).tracks(root))
    assert [name for name, split in splits.items() if split == "train"] == [
        "train - Song 1", "train - Song 2", "more - Song 1", "more - Song 2",
    ]  # fmt: skip


def test_names_omit_absolute_folders(root, tmp_path):
    elsewhere = twins.msst_songs(tmp_path / "elsewhere")
    splits = twins.splits(layout(train=[str(elsewhere)]).tracks(root))
    assert [name for name, split in splits.items() if split == "train"] == ["elsewhere - Song 1", "elsewhere - Song 2"]
    names = twins.splits(layout(train=["."], valid=["../valid"]).tracks(root / "train"))
    assert "Song 1" in names and ".. - valid - Song 1" in names


@pytest.mark.parametrize("options", [{}, {"type": 2, "train": ["train2"]}, {"type": 3, "train": ["tables/train3.csv"]}])
def test_only_chosen_instruments_are_used(root, options):
    listing = layout(instruments=["vocals"], **options).tracks(root)
    assert {track.source_names for track in listing.tracks} == {("vocals",)}


def test_songs_without_a_chosen_stem_are_excluded(root):
    twins.msst_songs(root / "train", stems=("drums",), songs=("Song 3",))
    assert layout(instruments=["vocals", "other"]).tracks(root).left_out == {"train - Song 3": NO_CHOSEN_STEM}


def test_a_missing_stem_is_an_error_or_silence(root):
    (root / "train/Song 2/other.wav").unlink()
    with pytest.raises(InputError) as caught:
        layout().tracks(root)
    assert caught.value.where == "train - Song 2" and "'other'" in caught.value.problem
    decoded = twins.decoded(layout(missing="silence").tracks(root), "train - Song 2")
    assert not decoded.sources["other"].any()


def test_stems_may_differ_in_length(root):
    twins.write(root / "train/Song 2/other.wav", twins.sound("short", 300))
    assert twins.decoded(layout().tracks(root), "train - Song 2").mixture.shape == (1, 300)


def test_an_instrument_without_training_data_is_named(root):
    shutil.rmtree(root / "train2/other")
    with pytest.raises(InputError) as caught:
        layout(type=2, train=["train2"]).tracks(root)
    assert caught.value.where == "instruments" and "'other'" in caught.value.problem and "[vocals]" in caught.value.hint


def test_an_unknown_instrument_is_named(root):
    with pytest.raises(InputError) as caught:
        layout(instruments=["vocal"]).tracks(root)
    assert (caught.value.where, caught.value.found) == ("instruments", "vocal") and "vocals" in caught.value.hint


@pytest.mark.parametrize(("type_", "remix"), [(1, 0.0), (4, 1.0), (4, 0.1)])
def test_mixing_must_agree_with_the_type(type_, remix):
    with pytest.raises(InputError) as caught:
        layout(type=type_, remix=remix)
    assert caught.value.where == "type"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"train": ["gone"]}, "train"),
        ({"train": ["tables/train3.csv"]}, "train"),
        ({"type": 3, "train": ["train"]}, "train"),
        ({"valid": ["gone"]}, "valid"),
        ({"train": ["train", "train"]}, "train"),
        ({"valid": ["train"]}, "valid"),
        ({"test": ["../root/valid"]}, "test"),
    ],
)
def test_folders_must_exist_and_be_listed_once(root, changes, where):
    with pytest.raises(InputError) as caught:
        layout(**changes).tracks(root)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("instrument,path\nvocals,x.wav\n", "line 1"),
        ("instrum,file\nvocals,x.wav\n", "line 1"),
        ("instrum,path\nvocals,gone.wav\n", "line 2"),
        ("instrum,path\n,../train2/vocals/vocals_1.wav\n", "line 2"),
        ("instrum,path\nvocals,\n", "line 2"),
        ("instrum,path\nvocals\n", "line 2"),
        ("instrum,path\n", ""),
        ("", ""),
    ],
)
def test_a_bad_table_is_named_with_its_line(root, text, line):
    path = root / "tables/train3.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        layout(type=3, train=["tables/train3.csv"]).tracks(root)
    assert str(path) in caught.value.where and line in caught.value.where


def test_a_recording_listed_twice_is_refused(root):
    with (root / "tables/train3.csv").open("a") as file:
        file.write("vocals,../train2/vocals/vocals_2.wav\n")
    with pytest.raises(InputError) as caught:
        layout(type=3, train=["tables/train3.csv"]).tracks(root)
    assert "vocals_2.wav" in caught.value.where
