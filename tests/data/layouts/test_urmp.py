"""Test URMP: players summed by instrument, splits by title, and missing files."""

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.layouts.urmp import URMP
from unbraid.runs.errors import InputError


def layout(**changes):
    return URMP(**({"sources": None, "valid": 0.25, "test": 0.25} | changes))


@pytest.fixture
def root(tmp_path):
    return twins.urmp(tmp_path / "root")


def test_players_of_an_instrument_are_summed(root):
    decoded = twins.decoded(layout().tracks(root), "24_Pirates_vn_vn_va_vc")
    assert list(decoded.sources) == ["cello", "oboe", "saxophone", "viola", "violin"]
    for source, players in {"violin": (1, 2), "viola": (3,), "cello": (4,)}.items():
        sounds = [f"24_Pirates_vn_vn_va_vc {player}" for player in players]
        assert np.allclose(decoded.sources[source], twins.heard(*sounds), atol=1e-7)
    assert not decoded.sources["oboe"].any()
    assert np.array_equal(decoded.mixture, twins.heard("24_Pirates_vn_vn_va_vc mix"))


def test_instruments_that_are_not_chosen_are_summed(root):
    decoded = twins.decoded(layout(sources=["violin", "tuba"]).tracks(root), "25_Pirates_vn_vn_va_sax")
    assert list(decoded.sources) == ["other", "tuba", "violin"] and not decoded.sources["tuba"].any()
    others = [f"25_Pirates_vn_vn_va_sax {player}" for player in (3, 4)]
    assert np.allclose(decoded.sources["other"], twins.heard(*others), atol=1e-7)


def test_arrangements_of_a_title_are_in_one_split(root):
    splits = twins.splits(layout().tracks(root))
    assert len(splits) == 5 and set(splits.values()) == {"train", "valid", "test"}
    assert splits["24_Pirates_vn_vn_va_vc"] == splits["25_Pirates_vn_vn_va_sax"]
    named = twins.splits(layout(valid=["Jupiter"], test=["Pirates"]).tracks(root))
    assert list(named.values()) == ["valid", "train", "train", "test", "test"]


@pytest.mark.parametrize("root_is", [".", "Dataset"])
def test_the_root_is_either_folder(root, root_is):
    assert len(layout().tracks(root / root_is).tracks) == 5


def test_recordings_may_differ_in_length(root):
    twins.write(root / "Dataset/01_Jupiter_vn_vc/AuSep_2_vc_01_Jupiter.wav", twins.sound("short", 300))
    decoded = twins.decoded(layout().tracks(root), "01_Jupiter_vn_vc")
    assert np.array_equal(decoded.sources["cello"][:, :300], twins.heard("short", samples=300))


def test_an_unknown_instrument_is_named(root):
    path = twins.empty(root / "Dataset/01_Jupiter_vn_vc/AuSep_3_kazoo_01_Jupiter.wav")
    with pytest.raises(InputError) as caught:
        layout().tracks(root)
    assert (caught.value.where, caught.value.found) == (str(path), "kazoo")


@pytest.mark.parametrize(("pattern", "found"), [("AuMix_*.wav", "0 files"), ("AuSep_*.wav", None)])
def test_missing_files_are_named(root, pattern, found):
    piece = root / "Dataset/01_Jupiter_vn_vc"
    for path in sorted(piece.glob(pattern)):
        path.unlink()
    with pytest.raises(InputError) as caught:
        layout().tracks(root)
    assert (caught.value.where, caught.value.found) == (str(piece / pattern), found)


def test_two_mixtures_are_refused(root):
    twins.empty(root / "Dataset/01_Jupiter_vn_vc/AuMix_01_Jupiter_vn_vc.flac")
    with pytest.raises(InputError) as caught:
        layout().tracks(root)
    assert caught.value.found == "2 files"
