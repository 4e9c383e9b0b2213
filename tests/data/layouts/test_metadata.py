"""Test metadata files: values by key, names of files, and damaged files."""

import json

import pytest

from tests.data.twins import empty
from unbraid.data.layouts.metadata import read_metadata
from unbraid.runs.errors import InputError

TREE = {
    "title": " Rain ",
    "empty": " ",
    "number": 3,
    "song": {"key": "C"},
    "stems": [{"id": "a"}, {"id": "b"}],
    "mixed": [{}, 1],
}


@pytest.fixture(params=["data.json", "data.yaml"])
def metadata(tmp_path, request):
    (tmp_path / request.param).write_text(json.dumps(TREE))  # JSON is also valid YAML
    return read_metadata(tmp_path / request.param)


def test_values_are_read_by_key(metadata):
    assert metadata.text("title") == "Rain" and metadata.get("number", int, "a number") == 3
    assert metadata.node("song").text("key") == "C"
    assert [stem.text("id") for stem in metadata.nodes("stems")] == ["a", "b"]


@pytest.mark.parametrize(
    ("read", "key", "found"),
    [
        (lambda metadata: metadata.text("artist"), "artist", None),
        (lambda metadata: metadata.text("number"), "number", "3"),
        (lambda metadata: metadata.text("empty"), "empty", None),
        (lambda metadata: metadata.node("number"), "number", "3"),
        (lambda metadata: metadata.node("song").text("id"), "song.id", None),
        (lambda metadata: list(metadata.nodes("song")), "song", "{'key': 'C'}"),
        (lambda metadata: list(metadata.nodes("mixed")), "mixed[1]", "1"),
    ],
)
def test_bad_values_name_file_and_key(metadata, read, key, found):
    with pytest.raises(InputError) as caught:
        read(metadata)
    error = caught.value
    assert (error.where, error.found) == (f"{metadata.file}, {key}", found) and error.problem and error.expected


def test_a_file_in_the_folder_is_accepted(metadata, tmp_path):
    empty(tmp_path / "track/sub/x.wav")
    assert metadata.inside(tmp_path / "track", "sub/x.wav", "file") == tmp_path / "track/sub/x.wav"


@pytest.mark.parametrize("name", ["../x.wav", "sub/../../x.wav", "/etc/hostname", "", ".", "..", "gone.wav", "x" * 300, "x\0"])
def test_paths_outside_the_folder_are_refused(metadata, tmp_path, name):
    empty(tmp_path / "x.wav")
    (tmp_path / "track/sub").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        metadata.inside(tmp_path / "track", name, "file")
    assert caught.value.where == f"{metadata.file}, file"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("data.yaml", b"a: ["),
        ("data.yaml", b"a: \xff"),
        ("data.yaml", b"!!python/object/apply:os.getcwd []"),
        ("data.yaml", b"- " * 200_000),
        ("data.yaml", b"[" * 200_000),
        ("data.yaml", b""),
        ("data.yaml", b"- a"),
        ("data.json", b"{'a': 1}"),
        ("data.json", b"[" * 200_000),
        ("data.json", b"{"),
        ("data.json", b'"a"'),
        ("data.json", b'{"a": ' + b"1" * 5000 + b"}"),
    ],
)
def test_damaged_files_are_named_in_one_line(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_metadata(tmp_path / name)
    assert caught.value.where.startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_a_date_is_a_text(tmp_path):
    (tmp_path / "data.yaml").write_text("title: 2001-99-99")
    assert read_metadata(tmp_path / "data.yaml").text("title") == "2001-99-99"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        read_metadata(tmp_path / "data.json")
    assert caught.value.where == str(tmp_path / "data.json")
