"""Divide this machine into slots. A slot is a group of GPUs, or a share of the CPU cores, that one run uses at a time.

Sweeps of all users on the machine share the GPUs. Each GPU has a lock file in a folder that all users share. The sweep locks
the GPUs of a run, and the process of the run inherits the locks. The GPUs thus stay locked until the run ends, even if the
sweep ends earlier.
"""

import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EISDIR, ELOOP, ENXIO
from pathlib import Path

from unbraid.runs.errors import InputError
from unbraid.runs.locks import raise_unsupported
from unbraid.sweeps.launchers.processes import outside_slurm, shared

LOCKS = "UNBRAID_LOCKS"  # environment variable with another folder for the lock files
REMOVE = f"Remove this path, or set the environment variable {LOCKS} to another folder."


@dataclass(frozen=True)
class Slot:
    """Describe a slot: the devices that one run uses at a time.

    Args:
        gpus: ids of the GPUs; empty for the CPU.
        share: index (from 0) of this slot among the slots that use the same devices.
        threads: number of CPU threads for the run.
    """

    gpus: tuple[str, ...]
    share: int
    threads: int

    @property
    def name(self) -> str:
        """Return the name of the slot in the progress table, such as `gpu 0,1` or `cpu 2`."""
        return f"gpu {','.join(self.gpus)}" if self.gpus else f"cpu {self.share}"

    def environment(self) -> dict[str, str]:
        """Return environment variables that limit the process of a run to the devices and threads of this slot."""
        # With the variables of a Slurm allocation, Lightning would assume that Slurm has started the run.
        visible = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}
        return outside_slurm() | visible | shared(self.threads)

    def take(self) -> list[int] | None:
        """Lock all GPUs of the slot, and return the file descriptors of the locks.

        If another run has locked one of these GPUs, return None.
        """
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
    """Lock a file in the folder of lock files. Return the file descriptor, or None if another process has locked the file."""
    if sys.platform == "win32":
        problem = "on Windows, the runs of a sweep cannot share GPUs"
        raise InputError(
            "launcher", problem, hint="Set the environment variable CUDA_VISIBLE_DEVICES=-1 to use no GPU, or use Linux"
        )
    import fcntl  # only on POSIX

    path = Path(os.environ.get(LOCKS) or Path(tempfile.gettempdir(), "unbraid-devices"), name)
    try:
        folder = _open_folder(path.parent)
        try:
            descriptor = _open_lock(path, folder)
        finally:
            os.close(folder)
    except OSError as error:
        expected = "a lock file that all users of the machine can open"
        raise InputError(
            path, f"the lock file cannot be opened ({error.strerror or error})", expected=expected, hint=REMOVE
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise_unsupported(error, path)
    return descriptor


def _open_folder(path: Path) -> int:
    """Open the folder of the lock files, and check owner and mode of the folder. A missing folder is made.

    Args:
        path: path of the folder.

    Returns:
        The file descriptor of the folder.

    Raises:
        InputError: the path is not a folder, or the owner and the mode of the folder allow other users to replace lock files.
    """
    if not os.path.lexists(path):
        _make_folder(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError as error:
        found, expected = "a link" if path.is_symlink() else "a file", "the folder of the lock files of GPUs"
        raise InputError(path, "the path is not a folder", found=found, expected=expected, hint=REMOVE) from error
    status = os.fstat(descriptor)
    writable_by_all = bool(status.st_mode & stat.S_IWOTH)
    sticky = bool(status.st_mode & stat.S_ISVTX)
    if sticky if writable_by_all else status.st_uid in (0, os.geteuid()):
        return descriptor
    os.close(descriptor)
    problem = "the mode and the owner of this folder allow other users to replace the lock files"
    found = f"mode {stat.S_IMODE(status.st_mode):o} and the user id {status.st_uid} as owner"
    raise InputError(path, problem, found=found, expected="mode 1777 and any owner", hint=REMOVE)


def _make_folder(path: Path) -> None:
    """Make a folder with mode 1777. The folder has a temporary name until its mode is set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unbraid-devices-", dir=path.parent) as partial:
        fresh = Path(partial, path.name)
        fresh.mkdir()
        fresh.chmod(0o1777)
        # `rename` of another process cannot replace a folder that is not empty.
        (fresh / "README").write_text("unbraid locks one file here for each GPU in use.\n")
        try:
            fresh.rename(path)
        except OSError:
            if not os.path.lexists(path):
                raise  # else another process has made the folder, and _open_folder checks it


def _open_lock(path: Path, folder: int) -> int:
    """Open the lock file of a GPU. A missing lock file is made with mode 666, so that all users can lock the GPU.

    Args:
        path: path of the lock file.
        folder: file descriptor of the folder that contains the lock file.

    Returns:
        The file descriptor of the lock file.
    """
    try:
        return _open_existing(path, folder)
    except FileNotFoundError:
        fresh = f".{path.name}-{os.getpid()}-{threading.get_ident()}"
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        os.fchmod(descriptor, 0o666)  # os.open applies the umask to the mode
        with suppress(FileExistsError):  # another process has made the file
            os.link(fresh, path.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        os.close(descriptor)
        os.unlink(fresh, dir_fd=folder)
    return _open_existing(path, folder)


def _open_existing(path: Path, folder: int) -> int:
    """Open the existing lock file of a GPU.

    The flag O_CREAT is not used, because the kernel can refuse this flag for files of other users.

    Args:
        path: path of the lock file.
        folder: file descriptor of the folder that contains the lock file.

    Returns:
        The file descriptor of the lock file.

    Raises:
        InputError: the path is a link or not a regular file.
        OSError: the file is missing or cannot be opened.
    """
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a pipe does not stop the caller
    try:
        try:
            descriptor = os.open(path.name, os.O_RDWR | flags, dir_fd=folder)
        except PermissionError:  # mode 0644 of an older version; reading is enough for a lock
            descriptor = os.open(path.name, os.O_RDONLY | flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (EISDIR, ELOOP, ENXIO):
            problem = f"the lock file cannot be opened ({error.strerror})"
            raise InputError(path, problem, expected="a regular file", hint=REMOVE) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(
            path, "the path is not a lock file", found="a device, pipe or socket", expected="a regular file", hint=REMOVE
        )
    return descriptor


def gpus_here() -> list[str]:
    """Return the ids of the GPUs that this process may use.

    The ids are read from `CUDA_VISIBLE_DEVICES`. If this variable is not set, the ids are read from `nvidia-smi`.
    """
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return listed.stdout.split() if listed.returncode == 0 else []


def slots(gpus: Sequence[str], gpus_per_run: int, runs_per_gpu: int, cpu_slots: int, cores: int) -> list[Slot]:
    """Divide the GPUs into slots. If `gpus` is empty, divide the CPU into slots. Each slot is for one run at a time.

    Args:
        gpus: ids of the GPUs.
        gpus_per_run: number of GPUs in a slot.
        runs_per_gpu: number of slots that share the same GPUs.
        cpu_slots: number of slots on the CPU.
        cores: number of CPU cores. The slots share the cores equally.

    Returns:
        The slots. The first slots have different GPUs. With `runs_per_gpu` above 1, more slots with the same GPUs follow.
    """
    groups = [tuple(gpus[i : i + gpus_per_run]) for i in range(0, len(gpus) - gpus_per_run + 1, gpus_per_run)] if gpus else [()]
    shares = runs_per_gpu if gpus else cpu_slots
    threads = max(1, cores // (len(groups) * shares))
    return [Slot(group, share, threads) for share in range(shares) for group in groups]
