"""Tables of tracks: CSV and JSONL say the same, and what is wrong is said with file and line."""

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
def test_files_are_relative_to_the_table_and_an_empty_cell_is_no_file(root, suffix):
    path = manifest(root / f"tracks.{suffix}", ROWS)
    one, two = read_manifest(path)
    assert (one.track, one.split) == ("one", "train") and (two.track, two.split) == ("two", "test")
    assert one.files == {"vocals": (root / "a.wav",), "piano": (root / "sub/b.wav",)} and two.files["piano"] == ()
    assert one.one("piano") == root / "sub/b.wav" and two.one("piano") is None
    assert splits_of([one, two], 0.9, 0.0) == {"one": "train", "two": "test"}


def test_absolute_paths_spaces_and_the_mark_of_spreadsheets(root):
    path = root / "elsewhere" / "tracks.csv"
    path.parent.mkdir()
    path.write_bytes(b"\xef\xbb\xbf" + f'track, vocals\r\n"one, or two", {root / "a.wav"}\r\n,\r\n'.encode())
    (row,) = read_manifest(path)
    assert row.track == "one, or two" and row.files == {"vocals": (root / "a.wav",)} and row.split is None
    assert splits_of([row], 0.0, []) == {"one, or two": "train"}


def test_a_json_value_may_be_several_files_or_null(root):
    (root / "tracks.jsonl").write_text('\n{"track": "one", "vocals": ["a.wav", "c.wav"], "piano": null}\n')
    (row,) = read_manifest(root / "tracks.jsonl")
    assert row.files == {"vocals": (root / "a.wav", root / "c.wav"), "piano": ()}
    with pytest.raises(InputError, match=r"tracks\.jsonl, line 2: 'vocals' has 2 files, expected one"):
        row.one("vocals")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", ": is empty, expected one line for each track"),
        ("track,vocals\n", ": is empty, expected one line for each track"),
        ("name,vocals\none,a.wav\n", ", line 1: has no column 'track'; found name, vocals"),
        ("track,vocals,\none,a.wav,\n", ", line 1: column 3 has no name, expected a source, track or split"),
        ("track,vocals,vocals\n", ", line 1: has 2 columns 'vocals', expected one"),
        ("track,vocals\none,a.wav,b.wav\n", ", line 2: has 3 cells, expected 2: track, vocals"),
        ("track,vocals\n\none\n", ", line 3: has 1 cells, expected 2: track, vocals"),
        ("track,vocals\none,a.wav\none,c.wav\n", "line 2 too, expected each once"),
        ("track,vocals\n,a.wav\n", ", line 2: 'track' has 0 values, expected one"),
        ("track,vocals\na/b,a.wav\n", ", line 2: the track is 'a/b', expected a name that a folder can have"),
        ("track,vocals\n..,a.wav\n", ", line 2: the track is '..', expected a name that a folder can have"),
        ("track,split,vocals\none,tran,a.wav\n", ", line 2: there is no split 'tran'; did you mean 'train'?"),
        ("track,split,vocals\none,train,a.wav\ntwo,,a.wav\n", ", line 3: 'split' has 0 values, expected one"),
        ("track,vocals\none,gone.wav\n", "gone.wav, and there is no such file"),
        ('track,vocals\none,"a.wav\n', ", line 2: is not CSV: "),
    ],
)
def test_what_is_wrong_with_a_csv_is_said_with_its_line(root, text, sentence):
    (root / "tracks.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        read_manifest(root / "tracks.csv")
    assert str(caught.value).startswith(f"{root}/tracks.csv") and sentence in str(caught.value)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "not JSON: Expecting property name"),
        ('["one"]', 'found ["one"], expected an object {"track": …}'),
        ('{"vocals": "a.wav"}', "'track' has 0 values, expected one"),
        ('{"track": ["a", "b"]}', "'track' has 2 values, expected one"),
        ('{"track": 3}', "'track' is 3, expected text, a list of texts or null"),
        ('{"track": "b", "vocals": ["a.wav", null]}', "'vocals' is [\"a.wav\", null], expected text, a list of texts or null"),
        ('{"track": "one"}', "the track 'one' stands in"),
        ('{"track": "two", "vocals": "gone.wav"}', "'vocals' names"),
        ('{"track": "two", "split": "dev"}', "there is no split 'dev'"),
    ],
)
def test_what_is_wrong_with_a_jsonl_is_said_with_its_line(root, line, sentence):
    split = {"split": "train"} if "split" in line else {}
    (root / "tracks.jsonl").write_text(json.dumps({"track": "one", "vocals": "a.wav", **split}) + f"\n\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_manifest(root / "tracks.jsonl")
    assert str(caught.value).startswith(f"{root}/tracks.jsonl, line 3: {sentence}")


def test_other_files_are_refused(root):
    with pytest.raises(InputError, match=r"a\.wav: expected a manifest that ends in \.csv or \.jsonl"):
        read_manifest(root / "a.wav")
    with pytest.raises(InputError, match=r"gone\.csv: no such file, expected a manifest"):
        read_manifest(root / "gone.csv")
    (root / "latin.csv").write_bytes("track,vocals\nMüller,a.wav\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.csv, line 2: is not UTF-8"):
        read_manifest(root / "latin.csv")


def test_a_key_that_comes_twice_is_said(tmp_path):
    path = tmp_path / "songs.jsonl"
    path.write_text('{"track": "a", "voice": "a.wav", "voice": "b.wav"}\n')
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert caught.value.where == f"{path}, line 1" and "'voice'" in caught.value.problem
