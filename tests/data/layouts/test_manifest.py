"""Test tables of tracks in CSV and JSONL, and errors with the file and the line."""

import json

import pytest

from tests.data.twins import empty, manifest
from unbraid.data.layouts.manifest import read_manifest, splits_of
from unbraid.runs.errors import InputError

ROWS = [
    {"track": "one", "split": "train", "vocals": "a.wav", "piano": "sub/b.wav"},
    {"track": "two", "split": "test", "vocals": "a.wav", "piano": ""},
]


@pytest.fixture
def root(tmp_path):
    for name in ("a.wav", "sub/b.wav", "c.wav"):
        empty(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "CSV"])
def test_files_are_relative_to_the_table(root, suffix):
    path = manifest(root / f"tracks.{suffix}", ROWS)
    one, two = read_manifest(path)
    assert (one.track, one.split) == ("one", "train") and (two.track, two.split) == ("two", "test")
    assert one.files == {"vocals": (root / "a.wav",), "piano": (root / "sub/b.wav",)} and two.files["piano"] == ()
    assert one.single_file("piano") == root / "sub/b.wav" and two.single_file("piano") is None
    assert splits_of([one, two], 0.9, 0.0) == {"one": "train", "two": "test"}


def test_absolute_paths_spaces_and_byte_order_mark(root):
    path = root / "elsewhere" / "tracks.csv"
    path.parent.mkdir()
    path.write_bytes(b"\xef\xbb\xbf" + f'track, vocals\r\n"one, or two", {root / "a.wav"}\r\n,\r\n'.encode())
    (row,) = read_manifest(path)
    assert row.track == "one, or two" and row.files == {"vocals": (root / "a.wav",)} and row.split is None
    assert splits_of([row], 0.0, []) == {"one, or two": "train"}


def test_a_json_cell_may_list_files(root):
    (root / "tracks.jsonl").write_text('\n{"track": "one", "vocals": ["a.wav", "c.wav"], "piano": null}\n')
    (row,) = read_manifest(root / "tracks.jsonl")
    assert row.files == {"vocals": (root / "a.wav", root / "c.wav"), "piano": ()}
    with pytest.raises(InputError) as caught:
        row.single_file("vocals")
    assert (caught.value.where, caught.value.found) == (f"{root / 'tracks.jsonl'}, line 2", 2)


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("", "", None),
        ("track,vocals\n", "", None),
        ("name,vocals\none,a.wav\n", ", line 1", "name, vocals"),
        ("track,vocals,\none,a.wav,\n", ", line 1", None),
        ("track,vocals,vocals\n", ", line 1", 2),
        ("track,vocals\none,a.wav,b.wav\n", ", line 2", 3),
        ("track,vocals\n\none\n", ", line 3", 1),
        ("track,vocals\none,a.wav\none,c.wav\n", ", line 3", "one"),
        ("track,vocals\n,a.wav\n", ", line 2", 0),
        ("track,vocals\na/b,a.wav\n", ", line 2", "a/b"),
        ("track,vocals\n..,a.wav\n", ", line 2", ".."),
        ("track,split,vocals\none,tran,a.wav\n", ", line 2", "tran"),
        ("track,split,vocals\none,train,a.wav\ntwo,,a.wav\n", ", line 3", 0),
        ("track,vocals\none,gone.wav\n", ", line 2", "gone.wav"),
        ('track,vocals\none,"a.wav\n', ", line 2", None),
    ],
)
def test_errors_of_a_csv_name_the_line(root, text, line, found):
    (root / "tracks.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        read_manifest(root / "tracks.csv")
    assert caught.value.where == f"{root}/tracks.csv{line}"
    assert caught.value.found == (root / found if found == "gone.wav" else found)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", None),
        ('["one"]', '["one"]'),
        ('{"vocals": "a.wav"}', 0),
        ('{"track": ["a", "b"]}', 2),
        ('{"track": 3}', "3"),
        ('{"track": "b", "vocals": ["a.wav", null]}', '["a.wav", null]'),
        ('{"track": "one"}', "one"),
        ('{"track": "two", "vocals": "gone.wav"}', "gone.wav"),
        ('{"track": "two", "split": "dev"}', "dev"),
    ],
)
def test_errors_of_a_jsonl_name_the_line(root, line, found):
    split = {"split": "train"} if "split" in line else {}
    (root / "tracks.jsonl").write_text(json.dumps({"track": "one", "vocals": "a.wav", **split}) + f"\n\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_manifest(root / "tracks.jsonl")
    assert caught.value.where == f"{root}/tracks.jsonl, line 3"
    assert caught.value.found == (root / found if found == "gone.wav" else found)


def test_other_files_are_refused(root):
    (root / "latin.csv").write_bytes("track,vocals\nMüller,a.wav\n".encode("latin-1"))
    for name, line in (("a.wav", ""), ("gone.csv", ""), ("latin.csv", ", line 2")):
        with pytest.raises(InputError) as caught:
            read_manifest(root / name)
        assert caught.value.where == f"{root / name}{line}"


def test_a_duplicate_key_is_named(tmp_path):
    path = tmp_path / "songs.jsonl"
    path.write_text('{"track": "a", "voice": "a.wav", "voice": "b.wav"}\n')
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert caught.value.where == f"{path}, line 1" and "'voice'" in caught.value.problem
