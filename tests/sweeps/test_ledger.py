"""What a ledger keeps."""

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
    """No file grows by more than so many bytes beyond the size of this one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_is_said_and_costs_no_other_line(tmp_path, room):
    ledger = Ledger(tmp_path, "own")
    ledger.open()
    with room_for(tmp_path / LEDGER, room), pytest.raises(OSError) as caught:
        ledger.record(tmp_path / "a", {"state": "running"})
    assert caught.value.filename == str(tmp_path / LEDGER) and caught.value.errno
    ledger.record(tmp_path / "b", {"state": "done"}, score={"x": 1.0})
    assert [line["run"] for line in read(tmp_path)[1:]] == ["b"]


def test_what_is_no_event_of_a_run_costs_its_line_only(tmp_path):
    """Half a line may be JSON."""
    ledger = Ledger(tmp_path, "own")
    ledger.open()
    with (tmp_path / LEDGER).open("a") as file:
        file.write('5\n{"a": 1}\n')
    ledger.record(tmp_path / "a", {"state": "done"})
    assert [line["run"] for line in read(tmp_path)[1:]] == ["a"]


def test_a_ledger_that_was_emptied_meanwhile_is_no_reason_to_stop(tmp_path):
    ledger = Ledger(tmp_path, "own")
    ledger.open()
    (tmp_path / LEDGER).write_bytes(b"")
    ledger.record(tmp_path / "a", {"state": "done"})
    assert '"run": "a"' in (tmp_path / LEDGER).read_text()


def test_what_is_no_text_costs_its_line_only(tmp_path):
    ledger = Ledger(tmp_path, "own")
    ledger.open()
    with (tmp_path / LEDGER).open("ab") as file:
        file.write(b"\xff\xfe\x00\n")
    ledger.record(tmp_path / "a", {"state": "done"})
    assert [line["run"] for line in read(tmp_path)[1:]] == ["a"]


def test_who_begins_it_second_goes_on_with_it(tmp_path, monkeypatch):
    """The other command begins between the look and the write."""
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
    with pytest.raises(InputError, match="belongs to another sweep"):
        Ledger(tmp_path, "other").open()
