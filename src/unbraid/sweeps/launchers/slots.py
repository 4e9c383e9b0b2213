"""Slots: a share of this machine for one run at a time, that no other sweep on the machine takes meanwhile.

A slot of GPUs is held by a lock on a file for each of them in a folder that all users of the machine share. The process of
the run inherits the lock: whatever becomes of the sweep, a GPU is free when the run on it has ended, and not before.
"""

import fcntl
import os
import stat
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EISDIR, ELOOP, ENXIO
from pathlib import Path

from unbraid.runs.errors import InputError
from unbraid.sweeps.launchers.processes import outside_slurm, shared

LOCKS = "UNBRAID_LOCKS"  # another folder for them
REMOVE = f"Remove it, or name another folder in {LOCKS}."


@dataclass(frozen=True)
class Slot:
    """Room for one run.

    Args:
        gpus: their ids; none where it runs on the CPU.
        share: which of the runs that share these GPUs.
        threads: that the run may have.
    """

    gpus: tuple[str, ...]
    share: int
    threads: int

    @property
    def name(self) -> str:
        """For people."""
        return f"gpu {','.join(self.gpus)}" if self.gpus else f"cpu {self.share}"

    def environment(self) -> dict[str, str]:
        """What a process must be told to see nothing but the slot."""
        # Inside an allocation, Lightning would take the run for one that Slurm has started.
        seen = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}
        return outside_slurm() | seen | shared(self.threads)

    def take(self) -> list[int] | None:
        """File descriptors that hold it, for the run to inherit; None where another run on this machine has it."""
        held: list[int] = []
        for gpu in self.gpus:
            descriptor = _locked(f"gpu-{gpu}-{self.share}.lock")
            if descriptor is None:
                for other in held:
                    os.close(other)
                return None
            held.append(descriptor)
        return held


def _locked(name: str) -> int | None:
    """Lock a file of the shared folder; None if another process holds it."""
    path = Path(os.environ.get(LOCKS) or Path(tempfile.gettempdir()) / "unbraid-devices") / name
    try:
        folder = _open_folder(path.parent)
        try:
            descriptor = _open_lock(path, folder)
        finally:
            os.close(folder)
    except OSError as error:
        expected = "a file that all users of the machine's GPUs can open"
        raise InputError(path, error.strerror or "", expected=expected, hint=REMOVE) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _open_folder(path: Path) -> int:
    """Open the folder of the locks, made if it is missing.

    Raises:
        InputError: the path is a link or a file, or its owner and mode let other users replace the locks.
    """
    if not os.path.lexists(path):
        _make_folder(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise InputError(path, found="a link" if path.is_symlink() else "a file", expected="a folder", hint=REMOVE) from error
    found = os.fstat(descriptor)
    shared_by_all = bool(found.st_mode & stat.S_IWOTH)
    sticky = bool(found.st_mode & stat.S_ISVTX)
    if sticky if shared_by_all else found.st_uid in (0, os.geteuid()):
        return descriptor
    os.close(descriptor)
    mode = f"mode {stat.S_IMODE(found.st_mode):o} of the user {found.st_uid}"
    raise InputError(path, found=mode, expected="mode 1777, as that of the temporary folder", hint=REMOVE)


def _make_folder(path: Path) -> None:
    """Make a folder with the mode of the temporary folder. It is renamed into place, so that no process sees another mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unbraid-devices-", dir=path.parent) as partial:
        fresh = Path(partial, path.name)
        fresh.mkdir()
        fresh.chmod(0o1777)
        # A folder that holds a file is not replaced by the rename of another process.
        (fresh / "README").write_text("unbraid locks one file here for each GPU in use.\n")
        try:
            fresh.rename(path)
        except OSError:
            if not os.path.lexists(path):
                raise  # otherwise another process was faster, and _open_folder checks its folder


def _open_lock(path: Path, folder: int) -> int:
    """Open a lock file, made for all users if it is missing.

    Args:
        path: of the file.
        folder: open descriptor of the folder of the file.
    """
    try:
        return _open_existing(path, folder)
    except FileNotFoundError:
        fresh = f".{path.name}-{os.getpid()}-{threading.get_ident()}"
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        os.fchmod(descriptor, 0o666)  # os.open has narrowed the mode by the umask
        with suppress(FileExistsError):  # another process was faster
            os.link(fresh, path.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        os.close(descriptor)
        os.unlink(fresh, dir_fd=folder)
    return _open_existing(path, folder)


def _open_existing(path: Path, folder: int) -> int:
    """Open a lock file without O_CREAT, which Linux refuses in a sticky folder for the file of another user.

    Raises:
        InputError: the path is a link or not a regular file.
    """
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a pipe does not stop the caller
    try:
        try:
            descriptor = os.open(path.name, os.O_RDWR | flags, dir_fd=folder)
        except PermissionError:  # of an earlier version, with mode 0644: a lock needs no right to write
            descriptor = os.open(path.name, os.O_RDONLY | flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (EISDIR, ELOOP, ENXIO):
            raise InputError(path, error.strerror or "", expected="a regular file", hint=REMOVE) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(path, "not a regular file", expected="a regular file", hint=REMOVE)
    return descriptor


def gpus_here() -> list[str]:
    """Ids of the GPUs that this process may use."""
    if (told := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in told.split(",") if gpu not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return listed.stdout.split() if listed.returncode == 0 else []


def slots(gpus: Sequence[str], gpus_per_run: int, runs_per_gpu: int, cpu_slots: int, cores: int) -> list[Slot]:
    """All there are: GPUs in groups, each as often as runs may share it; or so many of the CPU."""
    groups = [tuple(gpus[i : i + gpus_per_run]) for i in range(0, len(gpus) - gpus_per_run + 1, gpus_per_run)] if gpus else [()]
    shares = runs_per_gpu if gpus else cpu_slots
    threads = max(1, cores // (len(groups) * shares))
    # Every GPU has one run before any has two.
    return [Slot(group, share, threads) for share in range(shares) for group in groups]
