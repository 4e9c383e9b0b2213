"""Test which files are audio files, and how they are named."""

import unicodedata

import pytest

from tests.data.twins import empty
from unbraid.data.layouts.folders import (
    audio_files,
    audio_files_below,
    by_name,
    list_contents,
    require_files,
    split_folders,
    subfolders,
)
from unbraid.runs.errors import InputError


def names(paths):
    return [path.name for path in paths]


def test_audio_files_have_known_suffixes(tmp_path):
    for name in ("b.WAV", "a.flac", "c.opus", "d.txt", "._a.flac", ".hidden.wav", "e.m4a", "cover.jpg"):
        empty(tmp_path / name)
    (tmp_path / "folder.wav").mkdir()
    assert names(audio_files(tmp_path)) == ["a.flac", "b.WAV", "c.opus", "e.m4a"]


def test_links_are_followed_once(tmp_path):
    empty(tmp_path / "elsewhere/deep/x.wav")
    (tmp_path / "root/.git").mkdir(parents=True)
    empty(tmp_path / "root/.git/y.wav")
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "root")
    assert names(audio_files_below(tmp_path / "root")) == ["x.wav"]


def test_a_broken_link_is_named(tmp_path):
    (tmp_path / "a.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(InputError) as caught:
        audio_files(tmp_path)
    assert caught.value.where == str(tmp_path / "a.wav")


def test_folders(tmp_path):
    for name in ("train", "test", "b", ".git"):
        (tmp_path / name).mkdir()
    assert list(split_folders(tmp_path)) == ["train", "test"]
    assert names(subfolders(tmp_path)) == ["b", "test", "train"]
    assert list_contents(tmp_path) == ".git, b, test, train"
    assert list_contents(tmp_path / "b") is None and list_contents(tmp_path / "c") == "no such folder"


def test_names_contain_folders_and_are_normalised(tmp_path):
    two_points = unicodedata.normalize("NFD", "Müller")
    files = [tmp_path / "a.b.wav", tmp_path / "sub/c.wav", tmp_path / f"{two_points}.wav"]
    assert list(by_name(files, tmp_path)) == ["a.b", "sub - c", unicodedata.normalize("NFC", "Müller")]


def test_a_duplicate_name_is_refused_with_both_files(tmp_path):
    with pytest.raises(InputError) as caught:
        by_name([tmp_path / "a.flac", tmp_path / "a.wav"], tmp_path)
    assert caught.value.where == str(tmp_path / "a.wav") and "a.flac" in caught.value.problem


def test_a_data_set_without_download_needs_files(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError) as caught:
            require_files(folder, "not public", "Ask for it.")
        assert (caught.value.where, caught.value.hint) == ("data.download=true", "Ask for it.")
    empty(tmp_path / "x")
    require_files(tmp_path, "not public", "Ask for it.")
