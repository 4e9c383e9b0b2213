"""Test MoisesDB: the recordings of each source, splits by artist, and damaged metadata."""

import json

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.excluded_tracks import BLEED, NO_STEM
from unbraid.data.layouts.moisesdb import MoisesDB
from unbraid.runs.errors import InputError

FOUR = ["vocals", "drums", "bass"]


def layout(**changes):
    return MoisesDB(**({"sources": FOUR, "bleed": "keep", "valid": 0.25, "test": 0.25} | changes))


@pytest.fixture
def root(tmp_path):
    return twins.moisesdb(tmp_path / "root")


@pytest.fixture
def song(tmp_path):
    return tmp_path / "root/moisesdb_v0.1/9f9f"


def test_recordings_are_summed_to_stems(root):
    decoded = twins.decoded(layout().tracks(root), "0a1b")
    assert list(decoded.sources) == ["bass", "drums", "other", "vocals"]
    assert np.allclose(decoded.sources["vocals"], twins.heard("0a1b lead", "0a1b choir"), atol=1e-7)
    assert np.allclose(decoded.sources["drums"], twins.heard("0a1b kick", "0a1b snare"), atol=1e-7)
    assert not decoded.sources["other"].any()
    parts = [f"0a1b {name}" for name in ("lead", "choir", "kick", "snare", "bass")]
    assert np.allclose(decoded.mixture, twins.heard(*parts), atol=1e-6)


def test_stems_that_are_not_chosen_are_summed(root):
    listing = layout().tracks(root)
    other = twins.decoded(listing, "1b2c").sources["other"]
    assert np.allclose(other, twins.heard("1b2c left", "1b2c right", "1b2c pad"), atol=1e-7)
    assert np.allclose(twins.decoded(listing, "2c3d").sources["other"], twins.heard("2c3d fx", "2c3d shaker"), atol=1e-7)
    six = twins.decoded(layout(sources=[*FOUR, "guitar", "piano"]).tracks(root), "1b2c").sources
    assert sorted(six) == ["bass", "drums", "guitar", "other", "piano", "vocals"]
    assert np.array_equal(six["other"], twins.heard("1b2c pad")) and not six["piano"].any()


def test_every_stem_may_be_a_source(root):
    names = {track.source_names for track in layout(sources=None).tracks(root).tracks}
    assert names == {("bass", "drums", "guitar", "other", "other_keys", "percussion", "piano", "vocals")}


def test_an_artist_is_in_one_split(root):
    splits = twins.splits(layout().tracks(root))
    assert set(splits.values()) == {"train", "valid", "test"} and splits["0a1b"] == splits["1b2c"]
    named = twins.splits(layout(valid=["ProRata"], test=["Firefly"]).tracks(root))
    assert named == {"0a1b": "test", "1b2c": "test", "2c3d": "valid", "3d4e": "train", "4e5f": "train"}


@pytest.mark.parametrize("root_is", [".", "moisesdb_v0.1"])
def test_the_root_is_either_folder(root, root_is):
    assert sorted(twins.splits(layout().tracks(root / root_is))) == ["0a1b", "1b2c", "2c3d", "3d4e", "4e5f"]


def test_the_order_of_files_is_irrelevant(root, monkeypatch):
    before = layout().tracks(root)
    folders = "unbraid.data.layouts.moisesdb.subfolders"
    monkeypatch.setattr(folders, lambda folder: sorted((p for p in folder.iterdir() if p.is_dir()), reverse=True))
    after = layout().tracks(root)
    assert twins.splits(after) == twins.splits(before)
    assert {track.name: track for track in after.tracks} == {track.name: track for track in before.tracks}


def test_bleeding_and_empty_songs_are_excluded(root, song):
    metadata = twins.moisesdb_song(song, "Firefly", {"drums": ["kit", "room"]})
    metadata["stems"][0]["tracks"][0]["has_bleed"] = True
    (song / "data.json").write_text(json.dumps(metadata))
    twins.moisesdb_song(song.with_name("aaaa"), "Firefly", {})
    assert layout().tracks(root).left_out == {"aaaa": NO_STEM}
    left_out = layout(bleed="leave_out").tracks(root).left_out
    assert left_out == {"9f9f": BLEED, "aaaa": NO_STEM}


def test_has_bleed_is_optional(root, song):
    metadata = twins.moisesdb_song(song, "Firefly", {"drums": ["kit"]})
    del metadata["stems"][0]["tracks"][0]["has_bleed"]
    (song / "data.json").write_text(json.dumps(metadata))
    assert "9f9f" in twins.splits(layout(bleed="leave_out").tracks(root))


def test_recordings_may_differ_in_length(root):
    twins.write(root / "moisesdb_v0.1/4e5f/bass/bass.wav", twins.sound("short", 300))
    decoded = twins.decoded(layout().tracks(root), "4e5f")
    assert np.array_equal(decoded.sources["bass"][:, :300], twins.heard("short", samples=300))
    assert np.array_equal(decoded.sources["vocals"][:, :300], twins.heard("4e5f lead")[:, :300])


def recording(**changes):
    return [{"stemName": "drums", "tracks": [{"id": "kit", "extension": "wav", "has_bleed": False} | changes]}]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"artist": 3}, "artist"),
        ({"artist": ""}, "artist"),
        ({"stems": {"drums": []}}, "stems"),
        ({"stems": ["drums"]}, "stems[0]"),
        ({"stems": [{"tracks": []}]}, "stems[0].stemName"),
        ({"stems": [{"stemName": "()", "tracks": []}]}, "stems[0].stemName"),
        ({"stems": [{"stemName": "drums"}]}, "stems[0].tracks"),
        ({"stems": recording(id="gone")}, "stems[0].tracks[0].id"),
        ({"stems": recording(id="../../0a1b/drums/kick")}, "stems[0].tracks[0].id"),
        ({"stems": recording(extension=None)}, "stems[0].tracks[0].extension"),
        ({"stems": recording(has_bleed="no")}, "stems[0].tracks[0].has_bleed"),
        ({"stems": [{**recording()[0], "stemName": "../9f9f/drums"}]}, "stems[0].tracks[0].id"),
        ({"stems": [{**recording()[0], "stemName": "/etc"}]}, "stems[0].tracks[0].id"),
    ],
)
def test_bad_metadata_name_file_and_key(root, song, changes, key):
    twins.moisesdb_song(song, "Firefly", {"drums": ["kit"]}, **changes)
    with pytest.raises(InputError) as caught:
        layout().tracks(root)
    assert caught.value.where == f"{song}/data.json, {key}"


@pytest.mark.parametrize("key", ["artist", "stems"])
def test_a_missing_key_is_named(root, song, key):
    metadata = twins.moisesdb_song(song, "Firefly", {"drums": ["kit"]})
    del metadata[key]
    (song / "data.json").write_text(json.dumps(metadata))
    with pytest.raises(InputError) as caught:
        layout().tracks(root)
    assert (caught.value.where, caught.value.found) == (f"{song}/data.json, {key}", None)


def test_an_unknown_source_is_named(root):
    with pytest.raises(InputError) as caught:
        layout(sources=["vocal"]).tracks(root)
    assert (caught.value.where, caught.value.found) == ("sources", "vocal") and "vocals" in caught.value.hint
