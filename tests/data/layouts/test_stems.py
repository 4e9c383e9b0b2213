"""Test data sets with a folder per track, with or without split folders, and tables of tracks."""

import numpy as np
import pytest

from tests.data import twins
from unbraid.data.excluded_tracks import NO_AUDIO_FILE, ONLY_A_MIXTURE, OUTSIDE_SPLITS
from unbraid.data.layouts.stems import Stems
from unbraid.runs.errors import InputError


def stems(**options):
    defaults = {"mixture": "mixture", "missing": "error", "lengths": "auto", "sources": None, "manifest": None}
    return Stems(**{**defaults, "valid": 0.0, "test": 0.0, **options})


def refused(listing):
    """Return the only error of a listing."""
    (error,) = listing.refused
    return error


@pytest.fixture
def root(tmp_path):
    return twins.stems(tmp_path / "root")


def test_split_folders_are_the_splits(root):
    assert twins.splits(stems(valid=0.9).tracks(root)) == {
        "one": "train",
        "two": "train",
        "three": "valid",
        "four": "test",
    }


@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_all_formats_are_read(root, name):
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


def test_splits_are_chosen_by_name_or_share(root):
    assert twins.splits(stems(valid=["two"], test=["one"]).tracks(root / "train")) == {"one": "test", "two": "valid"}
    for i in range(10):
        twins.empty(root / f"flat/song {i}/voice.m4a")
    assert sorted(twins.splits(stems(valid=0.2, test=0.1).tracks(root / "flat")).values()) == ["test"] + 7 * ["train"] + 2 * [
        "valid"
    ]


def test_a_missing_stem_is_an_error_or_silence(root):
    (root / "train/two/voice.flac").unlink()
    error = refused(stems().tracks(root))
    assert error.where == str(root / "train/two") and "'voice'" in error.problem
    assert error.found == "1 of 4 tracks without it: two" and "data.layout.missing=silence" in error.hint
    assert not stems(missing="silence").tracks(root).refused
    song = twins.decoded(stems(missing="silence").tracks(root), "two")
    assert not song.sources["voice"].any() and np.array_equal(song.mixture, song.sources["piano"])


def test_missing_stems_are_one_error(tmp_path):
    for name, files in {"a": ("VOX 1", "bass"), "b": ("vocals", "Bass DI"), "c": ("vocals", "bass")}.items():
        for file in files:
            twins.empty(tmp_path / f"{name}/{file}.wav")
    listing = stems().tracks(tmp_path)
    error = refused(listing)
    assert error.where == "missing" and "'Bass DI' in 1 of 3 tracks" in error.found and "'vocals' in 2 of 3" in error.found
    assert error.hint.count("data.layout.missing=") == 2
    assert error.hint.endswith("data.layout.sources={vocals:['*vox*','*voc*'],bass:['*bass*'],other:['*']}\"")
    assert {track.name: track.source_names for track in listing.tracks}["a"] == ("VOX 1", "bass")


def test_missing_stems_without_a_mixture_are_silent(root):
    (root / "train/two/voice.flac").unlink()
    listing = stems(missing="unknown").tracks(root)
    (message,) = listing.messages
    assert message.endswith(": 1 tracks: two (voice)")
    (two,) = [track for track in listing.tracks if track.name == "two"]
    assert two.unknown == () and two.sources["voice"] == ()
    assert not stems(missing="unknown", absent={"voice": ["two"]}).tracks(root).messages
    twins.empty(root / "train/two/mixture.wav")
    assert not stems(missing="unknown").tracks(root).messages


def test_unusable_folders_are_excluded_with_the_reason(root):
    twins.empty(root / "train/notes/readme.txt")
    twins.empty(root / "extra/voice.wav")
    twins.empty(root / "test/five/mixture.wav")
    listing = stems(missing="silence").tracks(root)
    assert len(listing.tracks) == 4
    assert listing.left_out == {
        "notes": NO_AUDIO_FILE, "extra": OUTSIDE_SPLITS, "five": ONLY_A_MIXTURE,
    }  # fmt: skip


@pytest.mark.parametrize("other", ["voice.mp3", "Voice.FLAC", "voice.WAVE"])
def test_the_preferred_of_two_formats_is_used(root, other):
    twins.empty(root / "train/one" / other)
    listing = stems().tracks(root)
    (track,) = (track for track in listing.tracks if track.name == "one")
    assert [stream.path.name for stream in track.sources["voice"]] == ["voice.wav"]
    (message,) = listing.messages
    assert message.startswith(str(root / "train/one" / other)) and "voice.wav" in message


def test_two_files_of_one_name_are_refused(root):
    twins.empty(root / "train/one/Voice.WAV")
    assert refused(stems().tracks(root)).where == str(root / "train/one/voice.wav")


def test_stems_spelled_in_two_cases_are_one(root):
    (root / "train/one/voice.wav").rename(root / "train/one/VOICE.wav")
    (root / "test/four/mixture.wav").rename(root / "test/four/Mixture.wav")
    listing = stems().tracks(root)
    assert not listing.refused and len(listing.messages) == 2
    assert {track.source_names for track in listing.tracks} == {("piano", "voice")}
    assert np.array_equal(twins.decoded(listing, "four").mixture, twins.heard("four mixture"))


def test_shared_names_are_prefixed_with_the_split(root):
    for stem in ("piano", "voice"):
        twins.empty(root / f"test/one/{stem}.wav")
    twins.empty(root / "train/notes/readme.txt")
    twins.empty(root / "test/notes/readme.txt")
    listing = stems().tracks(root)
    names = {"train - one": "train", "two": "train", "three": "valid", "four": "test", "test - one": "test"}
    assert twins.splits(listing) == names
    assert set(listing.left_out) == {"train - notes", "test - notes"}


def test_a_name_that_is_taken_is_refused(root):
    for folder in ("test/one", "train/test - one"):
        twins.empty(root / folder / "voice.wav")
    with pytest.raises(InputError) as caught:
        stems().tracks(root)
    assert caught.value.where == str(root / "test/one") and caught.value.found == "test - one"


@pytest.mark.parametrize("lengths", ["auto", "pad", "trim", "error"])
def test_lengths_are_those_of_the_tracks(root, lengths):
    assert {track.lengths for track in stems(lengths=lengths).tracks(root).tracks} == {lengths}


@pytest.fixture
def session(tmp_path):
    """Write two songs with free file names, as a recorder writes them."""
    for song, files in {
        "Café": ("LEAD vox.WAV", "kick.wav", "Snare [top].wav", "gtr.wav", "rough mix.wav"),
        "two": ("takes/vox double.wav", "takes/vox.wav", "Kick.flac", "snare.wav", "keys.wav"),
    }.items():
        for file in files:
            twins.write(tmp_path / "session" / song / file, twins.sound(f"{song} {file}"))
    return tmp_path / "session"


SOURCES = {"vocals": ["*vox*"], "drums": ["*kick*", "snare [top]", "snare*"], "mixture": "*mix*", "other": ["*"]}


def test_patterns_map_files_to_sources_and_sums(session):
    listing = stems(sources=SOURCES).tracks(session)
    assert not listing.refused and not listing.messages
    song = twins.decoded(listing, "Café")
    assert list(song.sources) == ["drums", "other", "vocals"]
    assert np.allclose(song.sources["drums"], twins.heard("Café kick.wav", "Café Snare [top].wav"), atol=1e-7)
    assert np.array_equal(song.mixture, twins.heard("Café rough mix.wav"))
    other = twins.decoded(listing, "two")
    assert np.allclose(other.sources["vocals"], twins.heard("two takes/vox double.wav", "two takes/vox.wav"), atol=1e-7)
    assert np.allclose(other.mixture, sum(other.sources.values()), atol=1e-7)


def test_patterns_are_read_from_a_yaml_file(session):
    (session / "map.yaml").write_text('vocals: ["*vox*"]\nrest: "*"\n')
    sources = {track.name: track.source_names for track in stems(sources="map.yaml").tracks(session).tracks}
    assert sources == {"Café": ("rest", "vocals"), "two": ("rest", "vocals")}


def test_a_file_that_matches_nothing_is_a_message(session):
    listing = stems(sources={"vocals": "*vox*", "drums": ["*kick*", "*snare*"]}).tracks(session)
    assert not listing.refused
    assert [message.split(":")[0] for message in listing.messages] == [
        str(session / name) for name in ("Café/gtr.wav", "Café/rough mix.wav", "two/keys.wav")
    ]


def test_a_file_that_matches_two_sources_is_refused(session):
    error = refused(stems(sources=SOURCES | {"double": ["*double*"]}, missing="silence").tracks(session))
    assert error.where == str(session / "two/takes/vox double.wav")
    assert error.found == "double ('*double*') and vocals ('*vox*')"


def test_an_excluded_file_belongs_to_the_other_source(session):
    sources = SOURCES | {"vocals": ["*vox*", "!*double*"], "double": ["*double*"]}
    listing = stems(sources=sources, missing="silence").tracks(session)
    assert not listing.refused
    assert np.array_equal(twins.decoded(listing, "two").sources["double"], twins.heard("two takes/vox double.wav"))


def test_a_source_without_any_file_is_refused(session):
    error = refused(stems(sources=SOURCES | {"bass": ["*bass*"]}).tracks(session))
    assert error.where == "sources.bass"


def test_a_mixture_is_optional_but_not_ambiguous(session):
    sources = {name: texts for name, texts in SOURCES.items() if name != "mixture"}
    listing = stems(sources=sources | {"mixture": ["*master*"]}).tracks(session)
    assert not listing.refused and len(listing.messages) == 1
    twins.empty(session / "two/mix a.wav")
    twins.empty(session / "two/mix b.wav")
    error = refused(stems(sources=SOURCES).tracks(session))
    assert (error.where, error.found) == (str(session / "two"), "mix a.wav, mix b.wav")


def test_files_in_subfolders_need_patterns(session):
    for path in (session / "two").glob("*.*"):
        path.unlink()
    assert "data.layout.sources" in stems(missing="silence").tracks(session).left_out["two"]


def test_patterns_and_a_manifest_are_refused():
    with pytest.raises(InputError) as caught:
        stems(sources="map.yaml", manifest="tracks.csv")
    assert caught.value.where == "sources"


def test_a_data_set_of_mixtures_is_refused(root):
    twins.empty(root / "flat/song/mixture.wav")
    with pytest.raises(InputError) as caught:
        stems().tracks(root / "flat")
    assert caught.value.where == str(root / "flat/song") and "'mixture'" in caught.value.problem


def test_another_layout_is_named_with_its_files(tmp_path):
    twins.empty(tmp_path / "song.wav")
    with pytest.raises(InputError) as caught:
        stems().tracks(tmp_path)
    assert (caught.value.where, caught.value.found) == (str(tmp_path), "song.wav") and caught.value.expected


@pytest.mark.parametrize("manifest", ["tables/songs.csv", "tables/songs.jsonl"])
def test_a_table_replaces_folders(root, manifest):
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


def test_files_of_a_table_cell_are_summed(root):
    rows = [{"track": "uno", "split": "valid", "all": ["train/one/piano.wav", "train/one/voice.wav"]}]
    twins.manifest(root / "songs.jsonl", rows)
    listing = stems(manifest=str(root / "songs.jsonl"), test=0.9).tracks(root)
    assert twins.splits(listing) == {"uno": "valid"}
    assert np.allclose(twins.decoded(listing, "uno").sources["all"], twins.heard("one piano", "one voice"), atol=1e-7)


def test_errors_in_a_table_name_the_line(root):
    (root / "none.csv").write_text("track,mixture\nuno,test/four/mixture.wav\n")
    with pytest.raises(InputError) as caught:
        stems(manifest="none.csv").tracks(root)
    assert caught.value.where == f"{root / 'none.csv'}, line 2" and "'mixture'" in caught.value.problem
    (root / "gap.csv").write_text("track,piano,voice\nuno,train/one/piano.wav,\ndos,train/one/piano.wav,train/one/voice.wav\n")
    assert refused(stems(manifest="gap.csv").tracks(root)).where == f"{root / 'gap.csv'}, line 2"
    assert twins.splits(stems(manifest="gap.csv", missing="silence").tracks(root)) == {"uno": "train", "dos": "train"}


@pytest.mark.parametrize(("valid", "test"), [(["one"], 0.1), (0.1, ["one"])])
def test_names_for_splits_are_refused_with_split_folders(tmp_path, valid, test):
    with pytest.raises(InputError) as caught:
        stems(valid=valid, test=test).tracks(twins.stems(tmp_path))
    assert caught.value.where == ("valid" if valid == ["one"] else "test") and caught.value.found == ["one"]
