"""Tests of the ledger of a sweep."""

import resource
from contextlib import contextmanager

import pytest

from unbraid.runs import files
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.records import LEDGER
from unbraid.sweeps.ledger import Ledger, read


@contextmanager
def room_for(path, count):
    """Limit the size of files to the size of this file plus `count` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_has_the_record_of_its_run(tmp_path):
    ledger = Ledger(tmp_path, "own")
    ledger.open()
    record = {"identity": "x", "overrides": ["seed=0"], "state": "failed", "error": "a message"}
    ledger.record(tmp_path / "a", record | {"choices": {}}, where="cpu 0")
    (line,) = read(tmp_path)[1:]
    assert {key: line[key] for key in record} == record and (line["run"], line["where"]) == ("a", "cpu 0")
    assert line.keys() == {*record, "run", "where", "time", "host"}


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_damages_only_one_line(tmp_path, room):
    ledger = Ledger(tmp_path, "own")
    ledger.open()
    with room_for(tmp_path / LEDGER, room), pytest.raises(OSError) as caught:
        ledger.record(tmp_path / "a", {"state": "running"})
    assert caught.value.filename == str(tmp_path / LEDGER) and caught.value.errno
    ledger.record(tmp_path / "b", {"state": "done"}, score={"x": 1.0})
    assert [line["run"] for line in read(tmp_path)[1:]] == ["b"]


def test_lines_that_are_not_events_are_skipped(tmp_path):
    """A truncated line can be valid JSON."""
    ledger = Ledger(tmp_path, "own")
    ledger.open()
    with (tmp_path / LEDGER).open("a") as file:
        file.write('5\n{"a": 1}\n')
    ledger.record(tmp_path / "a", {"state": "done"})
    assert [line["run"] for line in read(tmp_path)[1:]] == ["a"]


def test_an_emptied_ledger_accepts_new_lines(tmp_path):
    ledger = Ledger(tmp_path, "own")
    ledger.open()
    (tmp_path / LEDGER).write_bytes(b"")
    ledger.record(tmp_path / "a", {"state": "done"})
    assert '"run": "a"' in (tmp_path / LEDGER).read_text()


def test_lines_that_are_not_text_are_skipped(tmp_path):
    ledger = Ledger(tmp_path, "own")
    ledger.open()
    with (tmp_path / LEDGER).open("ab") as file:
        file.write(b"\xff\xfe\x00\n")
    ledger.record(tmp_path / "a", {"state": "done"})
    assert [line["run"] for line in read(tmp_path)[1:]] == ["a"]


def test_two_commands_make_one_ledger(tmp_path, monkeypatch):
    """The other command makes the ledger between the check and the write of this command."""
    first, second = Ledger(tmp_path, "own"), Ledger(tmp_path, "own")

    @contextmanager
    def late(path, new):
        monkeypatch.setattr("unbraid.sweeps.ledger.atomic_write", atomic_write)
        first.open()
        first.record(tmp_path / "a", {"state": "running"})
        with files.atomic_write(path, new) as partial:
            yield partial

    monkeypatch.setattr("unbraid.sweeps.ledger.atomic_write", late)
    second.open()
    assert [line["run"] for line in read(tmp_path)[1:]] == ["a"]
    with pytest.raises(InputError) as raised:
        Ledger(tmp_path, "other").open()
    assert raised.value.where == str(tmp_path / LEDGER)
