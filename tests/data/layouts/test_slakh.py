"""Test Slakh2100: stems summed by instrument class, splits of the editions, and damaged metadata."""

import shutil

import numpy as np
import pytest
import yaml

from tests.data import twins
from unbraid.data.excluded_tracks import IN_OMITTED, MIDI_IS_HELD_OUT, missing
from unbraid.data.layouts.slakh import Slakh2100
from unbraid.runs.errors import InputError

FOUR = ["drums", "bass", "guitar", "piano"]


def layout(**changes):
    return Slakh2100(**({"sources": FOUR, "omitted": "leave_out", "valid": 0.25, "test": 0.25} | changes))


@pytest.fixture
def root(tmp_path):
    return twins.slakh(tmp_path / "root")


@pytest.fixture
def song(root):
    return root / "slakh2100_flac_redux/train/Track00009"


def test_stems_of_a_class_are_summed(root):
    decoded = twins.decoded(layout().tracks(root), "Track00001")
    assert list(decoded.sources) == ["bass", "drums", "guitar", "other", "piano"]
    for name, stems in {"bass": ["S03"], "drums": ["S01"], "guitar": ["S00", "S05"], "other": ["S06", "S04"]}.items():
        assert np.allclose(decoded.sources[name], twins.heard(*(f"Track00001 {stem}" for stem in stems)), atol=1e-7)
    assert np.array_equal(decoded.mixture, twins.heard("Track00001 mix"))


def test_a_class_that_a_track_lacks_is_silent(root):
    decoded = twins.decoded(layout().tracks(root), "Track00002")
    assert not decoded.sources["piano"].any() and not decoded.sources["guitar"].any()
    assert np.allclose(decoded.sources["other"], twins.heard("Track00002 S02", "Track00002 S03"), atol=1e-7)


def test_every_class_may_be_a_source(root):
    names = {track.source_names for track in layout(sources=None).tracks(root).tracks}
    assert names == {("bass", "drums", "guitar", "organ", "piano", "pipe", "reed", "strings_continued")}


def test_split_folders_are_the_splits(root):
    listing = layout(valid=0.9).tracks(root)
    assert twins.splits(listing) == {"Track00001": "train", "Track00002": "train", "Track01501": "valid", "Track01876": "test"}
    assert listing.left_out == {"Track00049": IN_OMITTED, "Track00050": IN_OMITTED}


def test_omitted_tracks_with_other_midi_files_train(root):
    listing = layout(omitted="train").tracks(root)
    assert twins.splits(listing)["Track00049"] == "train"
    assert listing.left_out == {"Track00050": MIDI_IS_HELD_OUT}


def test_tracks_are_split_by_midi_file(tmp_path):
    root = twins.baby_slakh(tmp_path)
    splits = twins.splits(layout().tracks(root))
    assert set(splits.values()) == {"train", "valid", "test"} and splits["Track00002"] == splits["Track00003"]
    named = twins.splits(layout(valid=["3ca3"], test=["2b92"]).tracks(root))
    assert list(named.values()) == ["train", "test", "test", "valid", "train"]
    assert np.array_equal(twins.decoded(layout().tracks(root), "Track00001").sources["bass"], twins.heard("Track00001 S02"))


@pytest.mark.parametrize("root_is", [".", "slakh2100_flac_redux"])
def test_the_root_is_either_folder(root, root_is):
    assert len(layout().tracks(root / root_is).tracks) == 4


def test_the_order_of_stems_is_irrelevant(root, song):
    metadata = twins.slakh_track(song, ["Guitar", "Bass", "Guitar", "Guitar"], "9f9f")
    before = layout().tracks(root).tracks
    reverse = metadata | {"stems": dict(reversed(metadata["stems"].items()))}
    (song / "metadata.yaml").write_text(yaml.safe_dump(reverse, sort_keys=False))
    assert layout().tracks(root).tracks == before


@pytest.mark.parametrize("stem", ["S77", "../stems/S00", "/etc/hostname"])
def test_a_track_without_a_rendered_stem_is_excluded(root, song, stem):
    metadata = twins.slakh_track(song, ["Guitar", "Bass"], "9f9f")
    metadata["stems"][stem] = metadata["stems"]["S00"] | {"inst_class": "Piano"}
    (song / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    listing = layout().tracks(root)
    assert "Track00009" not in twins.splits(listing) and listing.left_out["Track00009"] == missing(f"stems/{stem}")


def test_a_folder_without_stems_is_left_out(root, song):
    twins.slakh_track(song, ["Guitar", "Bass"], "9f9f")
    shutil.rmtree(song / "stems")
    assert layout().tracks(root).left_out["Track00009"] == missing("stems/S00")


STEM = {"audio_rendered": True, "inst_class": "Guitar"}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"UUID": 3}, "UUID"),
        ({"stems": ["S00"]}, "stems"),
        ({"stems": {"S00": "Guitar"}}, "stems.S00"),
        ({"stems": {"S00": {"inst_class": "Guitar"}}}, "stems.S00.audio_rendered"),
        ({"stems": {"S00": STEM | {"audio_rendered": "yes"}}}, "stems.S00.audio_rendered"),
        ({"stems": {"S00": {"audio_rendered": True}}}, "stems.S00.inst_class"),
        ({"stems": {"S00": STEM | {"inst_class": ["Guitar"]}}}, "stems.S00.inst_class"),
        ({"stems": {"S00": STEM | {"inst_class": "..."}}}, "stems.S00.inst_class"),
    ],
)
def test_bad_metadata_name_file_and_key(root, song, changes, key):
    twins.slakh_track(song, ["Guitar"], "9f9f", **changes)
    with pytest.raises(InputError) as caught:
        layout().tracks(root)
    assert caught.value.where == f"{song}/metadata.yaml, {key}"


@pytest.mark.parametrize("key", ["UUID", "stems"])
def test_a_missing_key_is_named(root, song, key):
    metadata = twins.slakh_track(song, ["Guitar"], "9f9f")
    del metadata[key]
    (song / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    with pytest.raises(InputError) as caught:
        layout().tracks(root)
    assert (caught.value.where, caught.value.found) == (f"{song}/metadata.yaml, {key}", None)


def test_a_missing_mixture_is_named(root, song):
    twins.slakh_track(song, ["Guitar"], "9f9f")
    (song / "mix.flac").unlink()
    with pytest.raises(InputError) as caught:
        layout().tracks(root)
    assert caught.value.where == f"{song}/mix.flac"


def test_a_track_in_two_folders_is_refused(root):
    twins.slakh_track(root / "slakh2100_flac_redux/test/Track00001", ["Guitar"], "9f9f")
    with pytest.raises(InputError) as caught:
        layout().tracks(root)
    assert caught.value.where == f"{root}/slakh2100_flac_redux/test/Track00001"


def test_names_for_splits_are_refused_with_split_folders(root):
    with pytest.raises(InputError) as caught:
        layout(test=["1a81"]).tracks(root)
    assert caught.value.where == "test"
