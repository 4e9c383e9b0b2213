"""Slots: a share of this machine for one run at a time, that no other sweep on the machine takes meanwhile.

A slot of GPUs is held by a lock on a file for each of them in a folder that all users of the machine share. The process of
the run inherits the lock: whatever becomes of the sweep, a GPU is free when the run on it has ended, and not before.
"""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unbraid.errors import InputError
from unbraid.launchers.processes import outside_slurm, shared

LOCKS = "UNBRAID_LOCKS"  # another folder for them


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
    folder = Path(os.environ.get(LOCKS) or Path(tempfile.gettempdir()) / "unbraid-devices")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)  # as the temporary folder itself
    try:
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except PermissionError as error:
        raise InputError(f"{folder / name}: may not be opened, although all who share the machine's GPUs must") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
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
