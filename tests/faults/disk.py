"""Run a program on a disk with faults: I/O errors, short reads and writes, slow calls, a full disk or a read-only disk."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest

Kind = Literal["eio", "short", "slow", "full"]


@cache
def _library(folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is missing: apt-get install gcc")
    library = folder / "disk.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, Path(__file__).with_suffix(".c"), "-ldl"], check=True)
    return library


class Disk:
    """Run programs on a disk with faults. `disk.c` describes the kinds of faults.

    Args:
        scratch: folder for the compiled library.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def environment(self, kind: Kind, folder: Path, every: int, seed: int) -> dict[str, str]:
        """Return the environment variables with which the files below `folder` have faults."""
        faults = {"FAULT_KIND": kind, "FAULT_PATH": str(folder), "FAULT_EVERY": str(every), "FAULT_SEED": str(seed)}
        return {"LD_PRELOAD": str(_library(self.scratch)), **faults}

    def run(self, words: Sequence[str | Path], kind: Kind, folder: Path, every: int, seed: int, **options: Any) -> Any:
        """Run a program with faults in the files below a folder. Return the `CompletedProcess`."""
        environment = os.environ | self.environment(kind, folder, every, seed)
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300, **options)


def on_read_only(words: Sequence[str | Path], folder: Path, **options: Any) -> Any:
    """Run a program for which a folder is read-only. Return the `CompletedProcess`. Permissions do not stop the superuser."""
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", folder]
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounts in a user namespace")
    return subprocess.run([*inside, *words], capture_output=True, text=True, check=False, timeout=300, **options)
