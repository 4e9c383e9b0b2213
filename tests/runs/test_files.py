"""Tests of atomic writes."""

import os
from errno import EPERM
from pathlib import Path

import pytest

from unbraid.runs.files import atomic_write


def test_a_file_appears_when_its_block_succeeds(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "old"
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with atomic_write(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_new_true_replaces_nothing(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path, new=True) as partial:
        partial.write_text("first")
    with pytest.raises(FileExistsError), atomic_write(path, new=True) as partial:
        partial.write_text("second")
    assert path.read_text() == "first" and [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_new_true_works_without_hard_links(tmp_path, monkeypatch):
    """The file system exFAT does not support hard links."""

    def no_links(self, target):
        raise PermissionError(EPERM, "Operation not permitted", str(self))

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    path = tmp_path / "a.txt"
    with atomic_write(path, new=True) as partial:
        partial.write_text("first")
    with pytest.raises(FileExistsError) as caught, atomic_write(path, new=True) as partial:
        partial.write_text("second")
    assert path.read_text() == "first" and caught.value.filename == str(path)


def test_data_are_synced_before_the_rename(tmp_path, monkeypatch):
    """After a power cut the file is either the old or the new one."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink())))
    with atomic_write(tmp_path / "a.txt") as partial:
        partial.write_text("new")
        assert synced == []
    assert synced == [str(partial), str(tmp_path)]
