"""What counts as an audio file, and what its name is."""

import unicodedata

import pytest

from tests.data.twins import empty
from unbraid.data.layouts.folders import (
    audio_files,
    audio_files_below,
    by_name,
    found_in,
    must_be_there,
    split_folders,
    subfolders,
)
from unbraid.runs.errors import InputError


def names(paths):
    return [path.name for path in paths]


def test_audio_files_are_known_by_suffix_in_any_case_and_hidden_ones_are_none(tmp_path):
    for name in ("b.WAV", "a.flac", "c.opus", "d.txt", "._a.flac", ".hidden.wav", "e.m4a", "cover.jpg"):
        empty(tmp_path / name)
    (tmp_path / "folder.wav").mkdir()
    assert names(audio_files(tmp_path)) == ["a.flac", "b.WAV", "c.opus", "e.m4a"]


def test_files_below_are_found_through_links_and_once_where_links_go_in_circles(tmp_path):
    empty(tmp_path / "elsewhere/deep/x.wav")
    (tmp_path / "root/.git").mkdir(parents=True)
    empty(tmp_path / "root/.git/y.wav")
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "root")
    assert names(audio_files_below(tmp_path / "root")) == ["x.wav"]


def test_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "a.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(InputError, match=r"a\.wav: is a link to nothing"):
        audio_files(tmp_path)


def test_folders(tmp_path):
    for name in ("train", "test", "b", ".git"):
        (tmp_path / name).mkdir()
    assert list(split_folders(tmp_path)) == ["train", "test"]
    assert names(subfolders(tmp_path)) == ["b", "test", "train"]
    assert found_in(tmp_path) == ".git, b, test, train"
    assert found_in(tmp_path / "b") == "nothing" and found_in(tmp_path / "c") == "no such folder"


def test_names_are_without_suffix_with_the_folders_between_and_in_one_unicode_form(tmp_path):
    two_points = unicodedata.normalize("NFD", "Müller")
    files = [tmp_path / "a.b.wav", tmp_path / "sub/c.wav", tmp_path / f"{two_points}.wav"]
    assert list(by_name(files, tmp_path)) == ["a.b", "sub - c", unicodedata.normalize("NFC", "Müller")]


def test_a_name_that_occurs_twice_is_said_with_both_files(tmp_path):
    with pytest.raises(InputError, match=r"a\.wav: has the same name as a\.flac, expected one file 'a'"):
        by_name([tmp_path / "a.flac", tmp_path / "a.wav"], tmp_path)


def test_what_cannot_be_downloaded_must_be_there(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match=r"^data\.download=true: how to get it$"):
            must_be_there(folder, "how to get it")
    empty(tmp_path / "x")
    must_be_there(tmp_path, "how to get it")
