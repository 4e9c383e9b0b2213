"""Test splits that are drawn by hash, and splits by name."""

import pytest

from unbraid.data.tracks import AudioStream, Track, split_of
from unbraid.runs.errors import InputError

IDS = [f"song {i}" for i in range(40)]


def ids_of(splits, split):
    return {name for name, drawn in splits.items() if drawn == split}


def test_shares_are_rounded_up_to_one_id():
    splits = split_of(IDS, 0.1, 0.2)
    assert [len(ids_of(splits, split)) for split in ("train", "valid", "test")] == [28, 4, 8]
    assert sorted(split_of(["a", "b", "c"], 0.01, 0.01).values()) == ["test", "train", "valid"]
    assert set(split_of(IDS, 0, 0.0).values()) == {"train"}


def test_order_and_repetition_are_irrelevant():
    assert split_of(reversed(IDS + IDS), 0.1, 0.2) == split_of(IDS, 0.1, 0.2)


def test_a_new_id_moves_few_others():
    before, after = split_of(IDS, 0.1, 0.2), split_of([*IDS, "new"], 0.1, 0.2)
    assert sum(before[name] != after[name] for name in IDS) <= 3


def test_shares_are_drawn_from_the_other_ids():
    splits = split_of(IDS, ["song 3"], 0.5)
    assert ids_of(splits, "valid") == {"song 3"} and len(ids_of(splits, "test")) == 20
    splits = split_of(IDS, 0.5, ["song 3", "song 5"])
    assert ids_of(splits, "test") == {"song 3", "song 5"} and len(ids_of(splits, "valid")) == 20


@pytest.mark.parametrize(
    ("valid", "test", "option", "found"),
    [
        (1.0, 0.1, "valid", 1.0),
        (0.1, -0.1, "test", -0.1),
        (["song 99"], 0.1, "valid", None),
        (["song 1"], ["song 1"], "valid", "song 1"),
    ],
)
def test_an_invalid_choice_is_refused(valid, test, option, found):
    with pytest.raises(InputError) as caught:
        split_of(IDS, valid, test)
    assert (caught.value.where, caught.value.found) == (option, found)


def test_the_residual_is_a_source(tmp_path):
    stream = AudioStream(tmp_path / "x.wav")
    assert Track("x", "train", {"b": (stream,), "a": ()}).source_names == ("a", "b")
    assert Track("x", "train", {"b": (stream,)}, stream, residual="a").source_names == ("a", "b")


def test_a_source_named_mixture_is_refused():
    with pytest.raises(InputError) as caught:
        Track("song", "train", {"mixture": (), "vocals": ()})
    assert caught.value.where == "song" and "'mixture'" in caught.value.problem
