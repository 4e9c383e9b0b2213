"""What Slurm's own commands say, without its accounting: `sbatch`, `squeue` and `sinfo`."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unbraid.runs.errors import InputError
from unbraid.sweeps.launchers.processes import outside_slurm

ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
FORMAT = "%F|%K|%T|%r|%B|%o"  # array, index, state, why it waits, machine, script; the last may hold anything
Options = dict[str, str | int | bool | None]
COMMANDS = ("sbatch", "squeue", "sinfo")


@dataclass(frozen=True)
class SlurmJob:
    """One job of an array, in the queue or not long out of it.

    Args:
        array: id of the whole array.
        index: in the array.
        state: in Slurm's words.
        reason: why it waits, in Slurm's words.
        host: the first machine that it runs on.
        script: of the array.
    """

    array: str
    index: int
    state: str
    reason: str
    host: str
    script: Path

    @property
    def name(self) -> str:
        """As `squeue` and `scancel` have it."""
        return f"{self.array}_{self.index}"

    @property
    def has_ended(self) -> bool:
        """Whether nothing will become of it any more."""
        return self.state in ENDED


def need_slurm() -> None:
    """InputError on a machine that cannot submit jobs."""
    if lacking := [name for name in COMMANDS if shutil.which(name) is None]:
        raise InputError(
            f"there is no {lacking[0]} here, expected a machine that submits jobs to Slurm; launcher=local needs no Slurm"
        )


def submit(script: Path, options: Options, environment: Mapping[str, str]) -> str:
    """An array of jobs; its id. InputError with Slurm's own words where it is refused.

    Args:
        script: of each job.
        options: of sbatch, by name; True is one without a value, and None is left out.
        environment: that the jobs have besides this process's own.
    """
    given = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items() if value is not None]
    return _ask("sbatch", "--parsable", *given, str(script), environment=environment).strip().split(";")[0]


def slurm_jobs() -> list[SlurmJob]:
    """Of this user, with those that ended a few minutes ago; InputError where Slurm does not answer."""
    lines = _ask("squeue", "--me", "--array", "--states=all", "--noheader", f"--format={FORMAT}").splitlines()
    rows = [line.split("|", 5) for line in lines]
    return [
        SlurmJob(array, int(index), state, reason, host, Path(script))
        for array, index, state, reason, host, script in (row for row in rows if len(row) == 6)
        if index.isdigit()
    ]


def partitions() -> dict[str, bool]:
    """Whether each has GPUs, by name; the default one comes first, if there is one."""
    found: dict[str, bool] = {}
    for line in _ask("sinfo", "--noheader", "--format=%P|%G").splitlines():
        name, _, resources = line.partition("|")
        found[name] = found.get(name, False) or re.search(r"\bgpu\b", resources) is not None
    ordered = sorted(found, key=lambda name: not name.endswith("*"))
    return {name.removesuffix("*"): found[name] for name in ordered}


def _ask(*command: str, environment: Mapping[str, str] | None = None) -> str:
    # Inside an allocation Slurm's commands would take what that one was given for what is asked for now.
    done = subprocess.run(command, env=outside_slurm() | {**(environment or {})}, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{command[0]} refuses: {error_message(done.stderr.splitlines())}")
    return done.stdout


def error_message(lines: Sequence[str]) -> str:
    """The reason in what a command of Slurm's has printed: its last line, without its name."""
    return re.sub(r"^\w+: (error|fatal): ", "", lines[-1]) if lines else "without a word"
