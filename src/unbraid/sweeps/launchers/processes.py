"""Start each run of a sweep as a separate process. The process of a run ends when the process of the sweep ends."""

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
    """Return the command line that trains the run in a folder. The folder must contain the complete config of the run."""
    return [*PROGRAM, str(folder.absolute())]


def start(
    folder: Path, environment: Mapping[str, str] | None = None, held: Sequence[int] = (), log: IO[bytes] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a process that trains the run in a folder.

    The new process has its own session, so Ctrl-C reaches only the calling process. After Ctrl-C, the calling process must send
    a stop signal to the new process.

    Args:
        folder: run folder that contains the complete config of the run.
        environment: all environment variables of the new process; None for the variables of the calling process.
        held: file descriptors that the new process inherits, such as locks of GPUs.
        log: file for the output of the run; None for the output of the calling process.

    Returns:
        The started process.
    """
    return subprocess.Popen(
        [*command(folder), WITH_PARENT], env=environment, pass_fds=held, start_new_session=True,
        stdin=subprocess.PIPE, stdout=log, stderr=None if log is None else subprocess.STDOUT,
    )  # fmt: skip


def shared(threads: int) -> dict[str, str]:
    """Return environment variables that limit a run to a number of threads and turn off the progress bars of the run.

    Progress bars would write many lines to the log file of the run.
    """
    return {"OMP_NUM_THREADS": str(threads), CORES: str(threads), "TQDM_DISABLE": "1"}


def outside_slurm() -> dict[str, str]:
    """Return the environment variables of this process without the variables that Slurm has set for a Slurm job."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}


def live_with_parent(arguments: Sequence[str]) -> None:
    """If the last command-line argument is `with-parent`, make this process end when the parent process ends."""
    if arguments[-1] == WITH_PARENT:
        threading.Thread(target=_end_with_input, daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def duration(seconds: float) -> str:
    """Return a duration as text, such as `2 h 05 min` or `7 min 30 s`; `no limit` for infinity."""
    if seconds == math.inf:
        return "no limit"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
