"""Tests of atomic writes, and of errors about paths that do not exist."""

import os
from errno import EIO, EPERM
from pathlib import Path

import pytest

from tests.faults import failing
from unbraid.runs import files
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write, check_folder, refuse_missing, rename_synced


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


@pytest.mark.parametrize("new", [True, False])
def test_several_files_appear_together_or_not_at_all(tmp_path, monkeypatch, new):
    paths = [tmp_path / name for name in "abc"]
    synced = []

    def sync(path):
        synced.append(path)
        if len(synced) == 2:
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", sync)
        with pytest.raises(OSError), files.atomic_writes(paths, new) as partials:
            for partial in partials:
                partial.write_text("text")
    assert not any(tmp_path.iterdir())
    with files.atomic_writes(paths, new) as partials:
        for partial in partials:
            partial.write_text("text")
        assert not any(path.exists() for path in paths)
    assert sorted(tmp_path.iterdir()) == paths


def test_an_existing_file_leaves_no_other_new_file(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    paths[1].write_text("old")
    with pytest.raises(FileExistsError), files.atomic_writes(paths, new=True) as partials:
        for partial in partials:
            partial.write_text("new")
    assert [*tmp_path.iterdir()] == [paths[1]] and paths[1].read_text() == "old"


def test_a_file_is_on_the_disk_before_it_is_renamed(tmp_path):
    with failing() as lost:
        with atomic_write(tmp_path / "a", new=True) as partial:
            partial.write_text("text")
        with atomic_write(tmp_path / "a") as partial:
            partial.write_text("text")
        (tmp_path / "b").write_text("text")
        (tmp_path / "b").rename(tmp_path / "c")
        for name, rename in {"synced": rename_synced, "lost": Path.rename}.items():
            (tmp_path / "folder").mkdir()
            (tmp_path / "folder/a").write_text("text")
            rename(tmp_path / "folder", tmp_path / name)
    assert lost == [str(tmp_path / "c"), str(tmp_path / "lost")] and (tmp_path / "synced/a").is_file()


@pytest.mark.parametrize("failing_call", ["fsync", "replace"])
def test_an_old_folder_remains_after_an_error(tmp_path, monkeypatch, failing_call):
    for name in ("old", "fresh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)

    def fail(*_):
        raise OSError(EIO, "disk")

    target = os if failing_call == "fsync" else Path
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(target, failing_call, fail)
        rename_synced(tmp_path / "fresh", tmp_path / "old", aside=tmp_path / "aside")
    assert (tmp_path / "old/a").read_text() == "old" and not (tmp_path / "aside").exists()
    rename_synced(tmp_path / "fresh", tmp_path / "old", aside=tmp_path / "aside")
    assert [(tmp_path / name / "a").read_text() for name in ("old", "aside")] == ["fresh", "old"]


def test_a_mistyped_path_suggests_an_existing_path(tmp_path):
    whole = tmp_path / "data" / "musdb18"
    whole.mkdir(parents=True)

    def hint(*parts: str) -> str:
        with pytest.raises(InputError) as error:
            refuse_missing("data.root", tmp_path.joinpath(*parts), hint="Download it")
        return error.value.hint

    assert str(whole) in hint("data", "musdb1") and str(whole) in hint("data", "MUSDB18x")
    assert str(whole) in hint("dta", "musdb18")  # the rest of the path exists below the corrected folder
    assert hint("dta", "slakh").endswith(f"'{tmp_path / 'data'}'?")
    assert hint("data", "slakh") == hint("music") == "Download it"
    (tmp_path / "song.wav").touch()
    assert hint("song.wav", "musdb18") == "Download it"  # a file contains no paths
    with pytest.raises(InputError) as error:
        check_folder("data.root=x", whole.with_name("musdb1"))
    assert error.value.where == "data.root=x" and str(whole) in error.value.hint
