"""Test MedleyDB: the stems of each source, excluded tracks, and damaged metadata."""

import numpy as np
import pytest
import yaml

from tests.data import twins
from unbraid.data.excluded_tracks import BLEED, missing, voices_and_instruments
from unbraid.data.layouts.medleydb import MedleyDB
from unbraid.runs.errors import InputError


@pytest.fixture
def layout():
    return MedleyDB("leave_out", 0.3, 0.3)


def test_stems_are_summed_to_two_sources(tmp_path, layout):
    song = twins.decoded(layout.tracks(twins.medleydb(tmp_path)), "Liz_Rain")
    stem = "Liz_Rain_STEM_{:02d}.wav".format
    assert np.allclose(song.sources["vocals"], twins.heard(stem(1), stem(4)), atol=1e-7)
    assert np.allclose(song.sources["accompaniment"], twins.heard(stem(2), stem(3)), atol=1e-7)
    assert np.array_equal(song.mixture, twins.heard("Liz_Rain mix"))


def test_unclean_tracks_are_excluded_with_the_reason(tmp_path, layout):
    listing = layout.tracks(twins.medleydb(tmp_path))
    assert sorted(twins.splits(listing)) == ["Creepoid_Tree", "Liz_Cold", "Liz_Rain", "Meaxic_Step"]
    assert listing.left_out == {
        "Live_Stage": BLEED,
        "Delta_Jazz": missing("vocals"),
        "Choir_Alone": missing("accompaniment"),
        "Mixed_Stem": voices_and_instruments("Mixed_Stem_STEM_01.wav"),
        "Late_Entry": missing("Late_Entry_METADATA.yaml"),
    }


def test_bleeding_tracks_can_be_kept(tmp_path):
    assert "Live_Stage" in twins.splits(MedleyDB("keep", 0.3, 0.3).tracks(twins.medleydb(tmp_path)))


def test_an_artist_is_in_one_split(tmp_path, layout):
    splits = twins.splits(layout.tracks(twins.medleydb(tmp_path)))
    assert set(splits.values()) == {"train", "valid", "test"} and splits["Liz_Rain"] == splits["Liz_Cold"]
    splits = twins.splits(MedleyDB("leave_out", ["Meaxic"], ["Liz"]).tracks(tmp_path))
    assert splits == {"Liz_Rain": "test", "Liz_Cold": "test", "Meaxic_Step": "valid", "Creepoid_Tree": "train"}


@pytest.mark.parametrize("place", [".", "Audio", "V1", "V2"])
def test_tracks_are_in_the_root_or_edition_folders(tmp_path, layout, place):
    twins.medleydb_track(tmp_path / place / "Liz_Rain", ["male rapper", "piano"])
    twins.empty(tmp_path / place / "Liz_Rain/._Liz_Rain_METADATA.yaml")
    assert list(twins.splits(layout.tracks(tmp_path))) == ["Liz_Rain"]


def test_has_bleed_may_be_written_without_quotes(tmp_path, layout):
    twins.medleydb_track(tmp_path / "Liz_Rain", ["male singer", "piano"], has_bleed=True)
    assert list(layout.tracks(tmp_path).left_out) == ["Liz_Rain"]


STEM = {"filename": "Liz_Rain_STEM_01.wav", "instrument": "piano"}


@pytest.mark.parametrize(
    ("changes", "key", "found"),
    [
        ({"has_bleed": "maybe"}, "has_bleed", "'maybe'"),
        ({"has_bleed": 3}, "has_bleed", "3"),
        ({"has_bleed": ["yes"]}, "has_bleed", "['yes']"),
        ({"stem_dir": None}, "stem_dir", "None"),
        ({"stem_dir": "../Liz_Rain/Liz_Rain_STEMS"}, "stem_dir", "'../Liz_Rain/Liz_Rain_STEMS'"),
        ({"mix_filename": "/etc/hostname"}, "mix_filename", "'/etc/hostname'"),
        ({"stems": {"S01": {**STEM, "instrument": [1]}}}, "stems.S01.instrument", "[1]"),
        ({"stems": {"S01": {**STEM, "instrument": []}}}, "stems.S01.instrument", "[]"),
        ({"stems": {"S01": {**STEM, "instrument": 5}}}, "stems.S01.instrument", "5"),
        ({"stems": {"S01": {**STEM, "filename": "../x.wav"}}}, "stems.S01.filename", "'../x.wav'"),
    ],
)
def test_bad_metadata_name_file_and_key(tmp_path, layout, changes, key, found):
    twins.medleydb_track(tmp_path / "Liz_Rain", ["male singer", "piano"], **changes)
    with pytest.raises(InputError) as caught:
        layout.tracks(tmp_path)
    assert caught.value.where == f"{tmp_path}/Liz_Rain/Liz_Rain_METADATA.yaml, {key}"
    assert caught.value.found == found


@pytest.mark.parametrize("key", ["has_bleed", "mix_filename", "stem_dir", "stems"])
def test_a_missing_key_is_named(tmp_path, layout, key):
    metadata = twins.medleydb_track(tmp_path / "Liz_Rain", ["male singer", "piano"])
    del metadata[key]
    (tmp_path / "Liz_Rain/Liz_Rain_METADATA.yaml").write_text(yaml.safe_dump(metadata))
    with pytest.raises(InputError) as caught:
        layout.tracks(tmp_path)
    assert (caught.value.where, caught.value.found) == (f"{tmp_path}/Liz_Rain/Liz_Rain_METADATA.yaml, {key}", None)


def test_a_track_in_two_places_is_refused(tmp_path, layout):
    for place in ("V1", "V2"):
        twins.medleydb_track(tmp_path / place / "Liz_Rain", ["male singer", "piano"])
    with pytest.raises(InputError) as caught:
        layout.tracks(tmp_path)
    assert caught.value.where == str(tmp_path / "V2/Liz_Rain") and str(tmp_path / "V1") in caught.value.problem


def test_another_layout_is_named_with_its_files(tmp_path, layout):
    twins.ikala(tmp_path)
    with pytest.raises(InputError) as caught:
        layout.tracks(tmp_path)
    assert (caught.value.where, caught.value.found) == (str(tmp_path), "Wavfile") and caught.value.expected
