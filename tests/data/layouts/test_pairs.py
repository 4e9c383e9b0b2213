"""Test that mixtures and instrumentals are paired by name."""

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.excluded_tracks import missing
from unbraid.data.layouts.pairs import Pairs
from unbraid.runs.errors import InputError


def pairs(**options):
    return Pairs(**{"mixture": "mixture", "instrumental": "instrumental", "pairs": None, "valid": 0.0, "test": 0.0, **options})


@pytest.fixture
def root(tmp_path):
    return twins.pairs(tmp_path / "root")


@pytest.mark.parametrize("name", ["b", "c", "d"])
def test_vocals_are_mixture_minus_instrumental(root, name):
    song = twins.decoded(pairs().tracks(root), name)
    assert list(song.sources) == ["accompaniment", "vocals"]
    assert np.array_equal(song.sources["accompaniment"], twins.heard(f"{name} band"))
    assert np.allclose(song.sources["vocals"], twins.heard(f"{name} voice"), atol=1e-7)
    assert np.allclose(song.mixture, twins.heard(f"{name} voice", f"{name} band"), atol=1e-7)


def test_files_without_a_partner_are_excluded(root):
    listing = pairs(valid=["b"], test=["d"]).tracks(root)
    assert twins.splits(listing) == {"b": "valid", "c": "train", "d": "test"}
    assert listing.left_out == {"a": missing("instrumental"), "e": missing("mixture")}


def test_a_song_without_partner_cannot_be_chosen(root):
    with pytest.raises(InputError) as caught:
        pairs(valid=["a"]).tracks(root)
    assert caught.value.where == "valid" and "'a'" in caught.value.problem


def test_the_folders_may_have_other_names(root):
    (root / "mixture").rename(root / "full")
    assert len(pairs(mixture="full").tracks(root).tracks) == 3
    with pytest.raises(InputError) as caught:
        pairs().tracks(root)
    assert caught.value.where == str(root) and caught.value.found == "full, instrumental"
    assert "<name>_mixture.*" in caught.value.expected
    with pytest.raises(InputError) as caught:
        pairs(mixture="full", instrumental="full")
    assert (caught.value.where, caught.value.found) == ("mixture", "full")


def test_a_root_without_pairs_is_refused(root):
    for name in "bcd":
        (root / f"mixture/{name}.wav").unlink()
    with pytest.raises(InputError) as caught:
        pairs().tracks(root)
    assert caught.value.where == str(root) and caught.value.expected


def test_the_lossless_file_is_used(root):
    twins.empty(root / "mixture/b.mp3")
    listing = pairs().tracks(root)
    assert np.allclose(twins.decoded(listing, "b").mixture, twins.heard("b voice", "b band"), atol=1e-7)
    (message,) = listing.messages
    assert message.startswith(str(root / "mixture/b.mp3"))


@pytest.mark.parametrize(
    ("mixture", "instrumental", "options"),
    [
        ("song_mix.wav", "song_inst.flac", {}),
        ("song-Mixture.WAV", "song-Instrumental.wav", {}),
        ("song MIX.wav", "song Instr.wav", {}),
        ("song.mix.wav", "song_instr.wav", {}),
        ("song/mix.wav", "song/instrumental.wav", {}),
        ("song_full.wav", "song_karaoke.wav", {"mixture": "full", "instrumental": "karaoke"}),
        ("song.wav", "song (Karaoke).wav", {"mixture": "*ng", "instrumental": "*ng (karaoke)"}),
        ("full/song.wav", "less/song.wav", {"mixture": "full/*.wav", "instrumental": "less/*"}),
    ],
)
def test_pairs_are_found_by_the_names_of_files(tmp_path, mixture, instrumental, options):
    for file in (mixture, instrumental):
        twins.empty(tmp_path / file)
    (track,) = pairs(**options).tracks(tmp_path).tracks
    assert track.name == ("so" if "*ng" in options.values() else "song")
    assert track.mixture.path == tmp_path / mixture
    assert [stream.path for stream in track.sources["accompaniment"]] == [tmp_path / instrumental]


def test_folders_are_part_of_pair_names(tmp_path):
    for album in ("one", "two"):
        for side in ("mix", "inst"):
            twins.empty(tmp_path / album / f"intro_{side}.wav")
    twins.empty(tmp_path / "one/outtake.wav")
    listing = pairs().tracks(tmp_path)
    assert sorted(twins.splits(listing)) == ["one - intro", "two - intro"]
    (message,) = listing.messages
    assert message.startswith(str(tmp_path / "one/outtake.wav"))


def test_two_files_of_one_side_are_refused(tmp_path):
    for name in ("a_mix", "a_mixture", "a_inst"):
        twins.empty(tmp_path / f"{name}.wav")
    with pytest.raises(InputError) as caught:
        pairs().tracks(tmp_path)
    assert caught.value.where == str(tmp_path / "a_mixture.wav") and "a_mix.wav" in caught.value.problem


def table(*rows):
    columns = ("track", "split", "mixture", "instrumental")
    return [dict(zip(columns, row, strict=True)) for row in rows]


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl"])
def test_a_table_of_pairs(root, name):
    rows = table(
        ("bee", "train", "mixture/b.wav", "instrumental/b.flac"),
        ("sea", "test", "mixture/c.wav", "instrumental/c.flac"),
        ("a", "test", "mixture/a.wav", ""),
    )
    twins.manifest(root / name, rows)
    listing = pairs(pairs=name).tracks(root)
    assert twins.splits(listing) == {"bee": "train", "sea": "test"} and listing.left_out == {"a": missing("instrumental")}
    assert np.allclose(twins.decoded(listing, "sea").sources["vocals"], twins.heard("c voice"), atol=1e-7)


def test_a_table_without_splits_takes_the_choices(root):
    rows = [{"track": name, "mixture": f"mixture/{name}.wav", "instrumental": f"instrumental/{name}.flac"} for name in "bcd"]
    twins.manifest(root / "pairs.csv", rows)
    assert twins.splits(pairs(pairs="pairs.csv", test=["c"]).tracks(root)) == {"b": "train", "c": "test", "d": "train"}


@pytest.mark.parametrize(
    ("header", "place", "found"),
    [("track,mixture", "pairs.csv", None), ("track,mixture,instumental", "pairs.csv, line 2", "instumental")],
)
def test_other_columns_are_refused(root, header, place, found):
    (root / "pairs.csv").write_text(f"{header}\nb,mixture/b.wav{',instrumental/b.flac' * (header.count(',') - 1)}\n")
    with pytest.raises(InputError) as caught:
        pairs(pairs="pairs.csv").tracks(root)
    assert (caught.value.where, caught.value.found) == (str(root / place), found) and "instrumental" in str(caught.value)
