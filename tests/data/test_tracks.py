"""Splits drawn by hash, and named ones."""

import pytest

from unbraid.data.tracks import AudioStream, Track, split_of
from unbraid.runs.errors import InputError

IDS = [f"song {i}" for i in range(40)]


def ids_of(splits, split):
    return {name for name, found in splits.items() if found == split}


def test_shares_are_of_the_ids_and_never_none_where_some_are_asked_for():
    splits = split_of(IDS, 0.1, 0.2)
    assert [len(ids_of(splits, split)) for split in ("train", "valid", "test")] == [28, 4, 8]
    assert sorted(split_of(["a", "b", "c"], 0.01, 0.01).values()) == ["test", "train", "valid"]
    assert set(split_of(IDS, 0, 0.0).values()) == {"train"}


def test_order_and_repetition_of_the_ids_do_not_matter():
    assert split_of(reversed(IDS + IDS), 0.1, 0.2) == split_of(IDS, 0.1, 0.2)


def test_a_new_id_moves_few_others():
    before, after = split_of(IDS, 0.1, 0.2), split_of([*IDS, "new"], 0.1, 0.2)
    assert sum(before[name] != after[name] for name in IDS) <= 3


def test_named_ids_are_where_they_are_named_and_shares_take_of_the_rest():
    splits = split_of(IDS, ["song 3"], 0.5)
    assert ids_of(splits, "valid") == {"song 3"} and len(ids_of(splits, "test")) == 20
    splits = split_of(IDS, 0.5, ["song 3", "song 5"])
    assert ids_of(splits, "test") == {"song 3", "song 5"} and len(ids_of(splits, "valid")) == 20


@pytest.mark.parametrize(
    ("valid", "test", "sentence"),
    [
        (1.0, 0.1, "valid must be a list of ids or a share in [0, 1), found 1.0"),
        (0.1, -0.1, "test must be a list of ids or a share in [0, 1), found -0.1"),
        (["song 99"], 0.1, "valid: the data has no id 'song 99'; did you mean 'song 9'?"),
        (["song 1"], ["song 1"], "valid: the id 'song 1' is in test too, expected it in one split"),
    ],
)
def test_what_is_no_choice_is_said(valid, test, sentence):
    with pytest.raises(InputError) as caught:
        split_of(IDS, valid, test)
    assert sentence in str(caught.value)


def test_the_remainder_is_a_source_too(tmp_path):
    stream = AudioStream(tmp_path / "x.wav")
    assert Track("x", "train", {"b": (stream,), "a": ()}).source_names == ("a", "b")
    assert Track("x", "train", {"b": (stream,)}, stream, residual="a").source_names == ("a", "b")


def test_no_source_is_called_mixture():
    with pytest.raises(InputError, match="song: a source is called 'mixture', which is the name of their sum; rename it"):
        Track("song", "train", {"mixture": (), "vocals": ()})
