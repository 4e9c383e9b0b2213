"""A run in a process of its own, which ends when the one that has started it does."""

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from unbraid.data.parallel import CORES

PROGRAM = (sys.executable, "-m", "unbraid.commands.train")
WITH_PARENT = "with-parent"


def command(folder: Path) -> list[str]:
    """What runs a frozen folder, in a process that has nothing of the command line, the clock or a sweeper."""
    return [*PROGRAM, str(folder.absolute())]


def start(
    folder: Path, environment: Mapping[str, str] | None = None, held: Sequence[int] = (), log: IO[bytes] | None = None
) -> "subprocess.Popen[bytes]":
    """Run a frozen folder in a session of its own, so that Ctrl-C is the caller's to pass on.

    Args:
        folder: of the run.
        environment: of the process; None: this one's.
        held: file descriptors that it keeps while it lives.
        log: where its output goes; None: where this one's does.
    """
    return subprocess.Popen(
        [*command(folder), WITH_PARENT], env=environment, pass_fds=held, start_new_session=True,
        stdin=subprocess.PIPE, stdout=log, stderr=None if log is None else subprocess.STDOUT,
    )  # fmt: skip


def shared(threads: int) -> dict[str, str]:
    """What the environment tells a run that has so many threads of a machine, and writes to a log.

    Its progress bars are off: each of their states would be a line.
    """
    return {"OMP_NUM_THREADS": str(threads), CORES: str(threads), "TQDM_DISABLE": "1"}


def outside_slurm() -> dict[str, str]:
    """This process's environment without what an allocation of Slurm has put there, which is of no other job."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}


def live_with_parent(arguments: Sequence[str]) -> None:
    """Where the arguments ask for it: end, with a checkpoint, when whoever started this process is gone, however it went."""
    if arguments[-1] == WITH_PARENT:
        threading.Thread(target=_end_with_input, daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def duration(seconds: float) -> str:
    """For people."""
    if seconds == math.inf:
        return "no limit"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
