"""Test the locks: one holder at a time, released by a kill, never held for ever, and an error on file systems without locks."""

import errno
import fcntl
import subprocess
import sys
import threading
import time
from random import Random

import pytest

from unbraid.runs import locks
from unbraid.runs.errors import InputError
from unbraid.runs.locks import FileLock, is_held, lock, open_lock
from unbraid.sweeps.launchers.slots import Slot

HOLD = """
import sys, time
from pathlib import Path
from unbraid.runs.locks import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def holder(tmp_path):
    """Return the path of a lock, and the process that holds it."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "lock"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield tmp_path / "lock", process
        process.kill()


def test_a_lock_is_free_after_its_holder_is_killed(holder, attempt):
    path, process = holder
    assert not FileLock(path).try_acquire()
    threading.Timer(Random(attempt).uniform(0.0, 0.5), process.kill).start()
    with FileLock(path):
        assert process.poll() is not None or process.wait(5)
        assert not FileLock(path).try_acquire()
    assert FileLock(path).try_acquire()


def test_waiting_for_a_lock_ends(holder, monkeypatch, capsys):
    path, _ = holder
    monkeypatch.setattr(locks, "NOTICE_SECONDS", 0.1)
    monkeypatch.setattr(locks, "LONGEST_SECONDS", 0.4)
    with pytest.raises(InputError) as caught, FileLock(path):
        pass
    assert caught.value.where == str(path) and caught.value.hint
    assert capsys.readouterr().err.count(str(path)) == 1


def test_threads_exclude_each_other(tmp_path):
    inside, most = 0, []

    def work():
        nonlocal inside
        for _ in range(20):
            with FileLock(tmp_path / "lock"):
                inside += 1
                most.append(inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 80 and max(most) == 1


def test_a_released_lock_keeps_its_file(tmp_path):
    """A process that waits has opened the file. It would not exclude a process that makes a new file of this name."""
    inodes = []
    for _ in range(2):
        with FileLock(tmp_path / "lock"):
            inodes.append((tmp_path / "lock").stat().st_ino)
        inodes.append((tmp_path / "lock").stat().st_ino)
    assert len({*inodes}) == 1


def test_a_lock_can_be_released_twice(tmp_path):
    held = FileLock(tmp_path / "lock")
    assert held.try_acquire() and held.try_acquire()
    held.release()
    held.release()
    assert FileLock(tmp_path / "lock").try_acquire()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "refused")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setenv("UNBRAID_LOCKS", str(tmp_path / "devices"))
    with pytest.raises(InputError) as of_cache:
        FileLock(tmp_path / "lock").acquire()
    with open_lock(tmp_path) as file, pytest.raises(InputError) as of_run:
        lock(file, tmp_path / ".lock")
    with pytest.raises(InputError) as of_gpu:
        Slot(("0",), 0, 1).take()
    with pytest.raises(InputError) as of_question:
        is_held(tmp_path)
    where = [str(tmp_path / name) for name in ("lock", ".lock", "devices/gpu-0-0.lock", ".lock")]
    assert [caught.value.where for caught in (of_cache, of_run, of_gpu, of_question)] == where
    assert all("locks" in caught.value.problem and caught.value.hint for caught in (of_cache, of_run, of_gpu, of_question))


def test_other_errors_of_locks_name_the_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError) as caught:
        FileLock(tmp_path / "lock").try_acquire()
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(tmp_path / "lock"))
