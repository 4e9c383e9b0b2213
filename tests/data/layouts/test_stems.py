"""A folder per track, with or without split folders, or a manifest."""

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.layouts.stems import Stems
from unbraid.errors import InputError


def stems(**options):
    return Stems(**{"mixture": "mixture", "missing": "error", "manifest": None, "valid": 0.0, "test": 0.0, **options})


@pytest.fixture
def root(tmp_path):
    return twins.stems(tmp_path / "root")


def test_split_folders_are_the_splits_and_shares_are_not_used(root):
    assert twins.splits(stems(valid=0.9).tracks(root)) == {
        "one": "train",
        "two": "train",
        "three": "valid",
        "four": "test",
    }


@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_any_format_is_read_and_the_mixture_is_the_sum(root, name):
    song = twins.decoded(stems().tracks(root), name)
    assert list(song.sources) == ["piano", "voice"]
    for stem in song.sources:
        assert np.array_equal(song.sources[stem], twins.heard(f"{name} {stem}"))
    assert np.allclose(song.mixture, twins.heard(f"{name} piano", f"{name} voice"), atol=1e-7)


def test_a_mixture_of_its_own_is_the_mixture(root):
    assert np.array_equal(twins.decoded(stems().tracks(root), "four").mixture, twins.heard("four mixture"))
    twins.write(root / "test/four/full.wav", twins.sound("full"))
    (root / "test/four/mixture.wav").unlink()
    assert np.array_equal(twins.decoded(stems(mixture="full").tracks(root), "four").mixture, twins.heard("full"))


def test_without_split_folders_tracks_are_chosen_by_name_or_share(root):
    assert twins.splits(stems(valid=["two"], test=["one"]).tracks(root / "train")) == {"one": "test", "two": "valid"}
    for i in range(10):
        twins.empty(root / f"flat/song {i}/voice.m4a")
    assert sorted(twins.splits(stems(valid=0.2, test=0.1).tracks(root / "flat")).values()) == ["test"] + 7 * ["train"] + 2 * [
        "valid"
    ]


def test_a_missing_stem_is_an_error_or_silence(root):
    (root / "train/two/voice.flac").unlink()
    with pytest.raises(
        InputError, match=r"train/two: has no stem 'voice', which other tracks have; expected a file, or data.lay"
    ):
        stems().tracks(root)
    song = twins.decoded(stems(missing="silence").tracks(root), "two")
    assert not song.sources["voice"].any() and np.array_equal(song.mixture, song.sources["piano"])


def test_what_is_no_track_is_left_out_with_the_reason(root):
    twins.empty(root / "train/notes/readme.txt")
    twins.empty(root / "extra/voice.wav")
    twins.empty(root / "test/five/mixture.wav")
    listing = stems(missing="silence").tracks(root)
    assert len(listing.tracks) == 4
    assert listing.left_out == {
        "notes": "holds no audio file", "extra": "lies beside the split folders", "five": "has no stem but the mixture",
    }  # fmt: skip


def test_a_stem_in_two_formats_is_refused(root):
    twins.empty(root / "train/one/voice.mp3")
    with pytest.raises(InputError, match=r"voice\.wav: has the same name as voice\.mp3"):
        stems().tracks(root)


def test_a_track_in_two_splits_is_refused(root):
    twins.empty(root / "test/one/voice.wav")
    with pytest.raises(InputError, match=r"test/one: .*train/one has the same name, expected each track in one split"):
        stems().tracks(root)


def test_nothing_but_mixtures_is_refused(root):
    twins.empty(root / "flat/song/mixture.wav")
    with pytest.raises(InputError, match=r"flat/song: has no stem but 'mixture', expected one for each source"):
        stems().tracks(root / "flat")


def test_another_layout_is_named_with_what_was_found(tmp_path):
    twins.empty(tmp_path / "song.wav")
    with pytest.raises(InputError, match=r"expected a folder of audio files for each track, found song\.wav$"):
        stems().tracks(tmp_path)


@pytest.mark.parametrize("manifest", ["tables/songs.csv", "tables/songs.jsonl"])
def test_a_manifest_in_place_of_folders(root, manifest):
    one, two = root / "train/one", root / "train/two"
    rows = [
        {"track": "uno", "piano": str(one / "piano.wav"), "voice": str(one / "voice.wav"), "mixture": ""},
        {
            "track": "dos",
            "piano": str(two / "piano.flac"),
            "voice": "../test/four/voice.wav",
            "mixture": "../test/four/mixture.wav",
        },
    ]
    twins.manifest(root / manifest, rows)
    listing = stems(manifest=manifest, test=["dos"]).tracks(root)
    assert twins.splits(listing) == {"uno": "train", "dos": "test"}
    assert np.allclose(twins.decoded(listing, "uno").mixture, twins.heard("one piano", "one voice"), atol=1e-7)
    dos = twins.decoded(listing, "dos")
    assert np.array_equal(dos.sources["voice"], twins.heard("four voice"))
    assert np.array_equal(dos.mixture, twins.heard("four mixture"))


def test_several_files_of_a_manifest_are_summed_and_its_splits_count(root):
    rows = [{"track": "uno", "split": "valid", "all": ["train/one/piano.wav", "train/one/voice.wav"]}]
    twins.manifest(root / "songs.jsonl", rows)
    listing = stems(manifest=str(root / "songs.jsonl"), test=0.9).tracks(root)
    assert twins.splits(listing) == {"uno": "valid"}
    assert np.allclose(twins.decoded(listing, "uno").sources["all"], twins.heard("one piano", "one voice"), atol=1e-7)


def test_what_is_wrong_in_a_manifest_is_said_with_its_line(root):
    (root / "none.csv").write_text("track,mixture\nuno,test/four/mixture.wav\n")
    with pytest.raises(InputError, match=r"none\.csv, line 2: has no stem but 'mixture'"):
        stems(manifest="none.csv").tracks(root)
    (root / "gap.csv").write_text("track,piano,voice\nuno,train/one/piano.wav,\n")
    with pytest.raises(InputError, match=r"gap\.csv, line 2: has no stem 'voice', which other tracks have"):
        stems(manifest="gap.csv").tracks(root)
    assert twins.splits(stems(manifest="gap.csv", missing="silence").tracks(root)) == {"uno": "train"}


def test_fetch_says_that_there_is_nothing_to_download(root, tmp_path):
    stems().fetch(root)
    with pytest.raises(InputError, match=r"data\.download=true: there is nothing to download"):
        stems().fetch(tmp_path / "none")


@pytest.mark.parametrize(("valid", "test"), [(["one"], 0.1), (0.1, ["one"])])
def test_names_for_splits_are_not_ignored_where_there_are_split_folders(tmp_path, valid, test):
    with pytest.raises(InputError, match=r"lists \['one'\], but the data has splits of its own"):
        Stems("mixture", "error", None, valid, test).tracks(twins.stems(tmp_path))
