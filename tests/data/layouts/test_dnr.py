"""Test Divide and Remaster: the stems of both versions, splits, and missing files."""

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.excluded_tracks import NO_AUDIO_FILE
from unbraid.data.layouts.dnr import DivideAndRemaster
from unbraid.runs.errors import InputError

VERSIONS = {"2": (twins.dnr, "tr", "1002", "mix"), "3": (twins.dnr3, "train", "000000", "mixture")}


@pytest.mark.parametrize(("twin", "split", "clip", "mixture"), VERSIONS.values(), ids=VERSIONS)
def test_stems_are_sources(tmp_path, twin, split, clip, mixture):
    decoded = twins.decoded(DivideAndRemaster().tracks(twin(tmp_path)), f"{split}-{clip}")
    assert list(decoded.sources) == ["effects", "music", "speech"]
    for source, stem in {"effects": "sfx", "music": "music", "speech": "speech"}.items():
        assert np.array_equal(decoded.sources[source], twins.heard(f"{split} {clip} {stem}"))
    assert np.array_equal(decoded.mixture, twins.heard(f"{split} {clip} {mixture}"))


def test_split_folders_are_the_splits(tmp_path):
    assert twins.splits(DivideAndRemaster().tracks(twins.dnr(tmp_path / "2"))) == {
        "tr-1002": "train", "tr-66831": "train", "cv-1002": "valid", "tt-237": "test",
    }  # fmt: skip
    assert twins.splits(DivideAndRemaster().tracks(twins.dnr3(tmp_path / "3"))) == {
        "train-000000": "train", "val-000000": "valid", "test-000000": "test",
    }  # fmt: skip


@pytest.mark.parametrize("root_is", [".", "multi", "multi/audio"])
def test_the_root_is_any_folder_above_the_splits(tmp_path, root_is):
    assert len(DivideAndRemaster().tracks(twins.dnr3(tmp_path) / root_is).tracks) == 3


def test_two_languages_in_one_root_are_refused(tmp_path):
    (twins.dnr3(tmp_path) / "eng").symlink_to(tmp_path / "multi")
    with pytest.raises(InputError) as caught:
        DivideAndRemaster().tracks(tmp_path)
    assert (caught.value.where, caught.value.found) == (str(tmp_path), "eng, multi")


def test_folders_without_audio_are_excluded(tmp_path):
    twins.empty(twins.dnr(tmp_path) / "dnr_v2/tr/5/annots.csv")
    assert DivideAndRemaster().tracks(tmp_path).left_out == {"tr-5": NO_AUDIO_FILE}


@pytest.mark.parametrize("stem", ["mix", "speech", "music", "sfx"])
def test_a_missing_file_is_named(tmp_path, stem):
    clip = twins.dnr(tmp_path) / "dnr_v2/tr/1002"
    (clip / f"{stem}.wav").unlink()
    with pytest.raises(InputError) as caught:
        DivideAndRemaster().tracks(tmp_path)
    assert caught.value.where == str(clip) and f"'{stem}'" in caught.value.problem
