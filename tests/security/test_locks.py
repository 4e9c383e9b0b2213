"""Tests of GPU locks on a shared machine: other users, races, links, pipes, and folders of hostile owners."""

import multiprocessing
import os
import pwd
import stat
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from unbraid.runs.errors import InputError
from unbraid.sweeps.launchers.slots import Slot

GPU = Slot(("0",), 0, 1)
LOCK = "gpu-0-0.lock"


@pytest.fixture
def locks(monkeypatch):
    """Return the folder of the locks, in a sticky folder for all users, such as the temporary folder."""
    with tempfile.TemporaryDirectory(prefix="unbraid-locks-") as folder:
        Path(folder).chmod(0o1777)
        monkeypatch.setenv("UNBRAID_LOCKS", f"{folder}/unbraid-devices")
        yield Path(folder, "unbraid-devices")


@pytest.fixture
def two_users():
    """Make two users for the test and return their ids."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make users")
    names = [f"unbraid-{os.getpid()}-{letter}" for letter in "ab"]
    try:
        for name in names:
            subprocess.run(["/usr/sbin/useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", name], check=True)
        yield [pwd.getpwnam(name).pw_uid for name in names]
    finally:
        for name in names:
            subprocess.run(["/usr/sbin/userdel", "--force", name], check=False, capture_output=True)


def take(pipe, uid, umask, gpus):
    """Take GPUs as a user after one message on the pipe, and hold them until the next message."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    os.umask(umask)
    pipe.recv()
    pipe.send([gpu for gpu in range(gpus) if Slot((str(gpu),), 0, 1).take() is not None])
    pipe.recv()


class Taker:
    """Start a forked process, because another user may not have permission to read the project."""

    def __init__(self, uid, umask=0o022, gpus=1):
        fork = multiprocessing.get_context("fork")
        self.pipe, other = fork.Pipe()
        self.process = fork.Process(target=take, args=(other, uid, umask, gpus))
        self.process.start()

    def start(self):
        self.pipe.send("start")

    def taken(self):
        assert self.pipe.poll(20)
        return self.pipe.recv()

    def end(self):
        if self.process.is_alive():
            self.pipe.send("end")
            self.process.join(20)


@contextmanager
def takers(*arguments):
    started = [Taker(**options) for options in arguments]
    try:
        yield started
    finally:
        for taker in started:
            taker.process.kill()
            taker.process.join()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027])
def test_two_users_share_gpus(two_users, locks, umask):
    one, other = ({"uid": uid, "umask": umask} for uid in two_users)
    with takers(one, other, one) as (first, second, third):
        first.start()
        assert first.taken() == [0]
        second.start()
        assert second.taken() == []
        first.end()
        third.start()
        assert third.taken() == [0]
    with takers(other) as (last,):
        last.start()
        assert last.taken() == [0]
    assert stat.S_IMODE(locks.stat().st_mode) == 0o1777 and {path.name for path in locks.iterdir()} == {"README", LOCK}


def test_racing_users_take_each_gpu_once(two_users, locks):
    gpus = 6
    with takers(*({"uid": uid, "umask": umask, "gpus": gpus} for uid in two_users for umask in (0o022, 0o077))) as racing:
        for taker in racing:
            taker.start()
        taken = [gpu for taker in racing for gpu in taker.taken()]
    assert sorted(taken) == [*range(gpus)]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o666 for path in locks.glob("*.lock"))


def test_a_lock_of_mode_0644_is_shared(two_users, locks):
    """Versions up to 0.1 made such files."""
    locks.mkdir()
    locks.chmod(0o1777)
    (locks / LOCK).touch(0o644)
    with takers(*({"uid": uid} for uid in two_users)) as (first, second):
        first.start()
        assert first.taken() == [0]
        second.start()
        assert second.taken() == []


@pytest.mark.parametrize("kind", ["link to a file", "dangling link", "pipe", "folder", "device"])
def test_a_lock_that_is_no_file_is_refused(locks, tmp_path, kind):
    locks.mkdir()
    locks.chmod(0o1777)
    path, victim = locks / LOCK, tmp_path / "victim"
    if kind == "link to a file":
        victim.write_text("of another user")
    if "link" in kind or kind == "device":
        path.symlink_to("/dev/zero" if kind == "device" else victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(InputError) as caught:
        GPU.take()
    assert caught.value.where == str(path)
    assert victim.exists() == (kind == "link to a file")


@pytest.mark.parametrize("kind", ["link", "dangling link", "file", "pipe", "open to all", "of another user"])
def test_a_folder_that_others_control_is_refused(locks, tmp_path, kind):
    target = tmp_path / "target"
    if kind == "link":
        target.mkdir()
    if "link" in kind:
        locks.symlink_to(target)
    elif kind == "file":
        locks.touch()
    elif kind == "pipe":
        os.mkfifo(locks)
    else:
        locks.mkdir()
        locks.chmod(0o777 if kind == "open to all" else 0o755)
    if kind == "of another user":
        if os.geteuid() != 0:
            pytest.skip("needs root, to give a folder away")
        os.chown(locks, 12345, 12345)
    before = locks.lstat().st_mode
    with pytest.raises(InputError) as caught:
        GPU.take()
    assert caught.value.where == str(locks)
    assert locks.lstat().st_mode == before and (not target.exists() or not [*target.iterdir()])


def test_a_folder_that_exists_keeps_its_mode(locks):
    for mode in (0o700, 0o750, 0o2770):
        locks.mkdir(mode)
        locks.chmod(mode)
        descriptors = GPU.take()
        assert stat.S_IMODE(locks.stat().st_mode) == mode
        for descriptor in descriptors:
            os.close(descriptor)
        (locks / LOCK).unlink()
        locks.rmdir()
