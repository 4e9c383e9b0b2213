"""Whole or not there."""

import os
from errno import EPERM
from pathlib import Path

import pytest

from unbraid.runs.files import atomic_write


def test_a_file_is_there_when_its_block_has_ended_well(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "old"
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with atomic_write(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_a_new_one_replaces_nothing(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path, new=True) as partial:
        partial.write_text("first")
    with pytest.raises(FileExistsError), atomic_write(path, new=True) as partial:
        partial.write_text("second")
    assert path.read_text() == "first" and [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_a_new_one_is_made_where_there_are_no_links(tmp_path, monkeypatch):
    """As on exFAT."""

    def no_links(self, target):
        raise PermissionError(EPERM, "Operation not permitted", str(self))

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    path = tmp_path / "a.txt"
    with atomic_write(path, new=True) as partial:
        partial.write_text("first")
    with pytest.raises(FileExistsError) as caught, atomic_write(path, new=True) as partial:
        partial.write_text("second")
    assert path.read_text() == "first" and caught.value.filename == str(path)


def test_the_disk_has_it_before_its_name_is_changed(tmp_path, monkeypatch):
    """A power cut may come at any moment: first the bytes, then the name."""
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(str(Path(f"/proc/self/fd/{descriptor}").readlink())))
    with atomic_write(tmp_path / "a.txt") as partial:
        partial.write_text("new")
        assert seen == []
    assert seen == [str(partial), str(tmp_path)]
