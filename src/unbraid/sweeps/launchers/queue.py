"""Submit jobs to Slurm with `sbatch`, read Slurm's queue with `squeue`, and read Slurm's partitions with `sinfo`."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unbraid.runs.errors import InputError
from unbraid.sweeps.launchers.processes import outside_slurm

ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
FORMAT = "%F|%K|%T|%r|%B|%o"  # array, index, state, reason, machine, script; the path of the script may contain `|`
Options = dict[str, str | int | bool | None]
COMMANDS = ("sbatch", "squeue", "sinfo")


@dataclass(frozen=True)
class SlurmJob:
    """Describe one job of a Slurm job array, as the command `squeue` prints it.

    Args:
        array: id of the job array.
        index: index of the job in the array.
        state: state as Slurm prints it, such as `PENDING`.
        reason: reason for the state as Slurm prints it.
        host: name of the machine on which the job runs. If the job runs on several machines: name of the first machine.
        script: path of the script that each job of the array runs.
    """

    array: str
    index: int
    state: str
    reason: str
    host: str
    script: Path

    @property
    def name(self) -> str:
        """Return the id of the job, such as `1234_5`, as `squeue` prints the id."""
        return f"{self.array}_{self.index}"

    @property
    def has_ended(self) -> bool:
        """Return whether the job has ended, according to its state in Slurm."""
        return self.state in ENDED


def need_slurm() -> None:
    """Check that this machine has the commands `sbatch`, `squeue` and `sinfo` of Slurm.

    Raises:
        InputError: one of these commands is missing.
    """
    if missing := [name for name in COMMANDS if shutil.which(name) is None]:
        expected, hint = "a machine that can submit jobs to Slurm", "Choose launcher=local to run without Slurm."
        raise InputError("launcher=slurm", f"the command {missing[0]} is missing", expected=expected, hint=hint)


def submit(script: Path, options: Options, environment: Mapping[str, str]) -> str:
    """Submit a job array to Slurm. An error of `sbatch` raises `InputError` with the message of `sbatch`.

    Args:
        script: script that each job runs.
        options: dictionary from the long name of an sbatch option to its value. True: the option is passed without a
            value. None: the option is not passed.
        environment: additional environment variables for the jobs. The jobs also get the variables of this process.

    Returns:
        The id of the job array.
    """
    arguments = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items() if value is not None]
    return _output_of("sbatch", "--parsable", *arguments, str(script), environment=environment).strip().split(";")[0]


def slurm_jobs() -> list[SlurmJob]:
    """Return the jobs of this user's job arrays that Slurm still lists: waiting, running and recently ended jobs.

    An error of `squeue` raises `InputError` with the message of `squeue`.
    """
    lines = _output_of("squeue", "--me", "--array", "--states=all", "--noheader", f"--format={FORMAT}").splitlines()
    rows = [line.split("|", 5) for line in lines]
    return [
        SlurmJob(array, int(index), state, reason, host, Path(script))
        for array, index, state, reason, host, script in (row for row in rows if len(row) == 6)
        if index.isdigit()
    ]


def partitions() -> dict[str, bool]:
    """Return a dictionary from the name of each Slurm partition to True if the partition has GPUs, else False.

    The default partition comes first.
    """
    has_gpu: dict[str, bool] = {}
    for line in _output_of("sinfo", "--noheader", "--format=%P|%G").splitlines():
        name, _, resources = line.partition("|")
        has_gpu[name] = has_gpu.get(name, False) or re.search(r"\bgpu\b", resources) is not None
    ordered = sorted(has_gpu, key=lambda name: not name.endswith("*"))
    return {name.removesuffix("*"): has_gpu[name] for name in ordered}


def _output_of(*command: str, environment: Mapping[str, str] | None = None) -> str:
    # In an allocation, Slurm's commands would use the options of that allocation as defaults.
    done = subprocess.run(command, env=outside_slurm() | {**(environment or {})}, capture_output=True, text=True)
    if done.returncode:
        raise InputError(command[0], f"Slurm reports an error: {error_message(done.stderr.splitlines())}")
    return done.stdout


def error_message(lines: Sequence[str]) -> str:
    """Return the last line that a failed Slurm command has printed, without a prefix such as `sbatch: error:`.

    If the command has printed nothing, return `failed without a message`.
    """
    return re.sub(r"^\w+: (error|fatal): ", "", lines[-1]) if lines else "failed without a message"
