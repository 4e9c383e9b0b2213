"""Slurm: arrays of jobs, one job for each run, in which Slurm starts the processes of the run on as many machines as it takes.

Which run a job is of stands in a list beside the script of its array, and Slurm tells of each job which script it has. So a
sweep finds its jobs again whatever has become of the command that submitted them.
"""

import re
import secrets
import shlex
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from unbraid.errors import InputError, unknown
from unbraid.launchers.arms import Arm, Launcher, Watch
from unbraid.launchers.processes import PROGRAM, shared
from unbraid.launchers.queue import Job, Options, jobs, need_slurm, partitions, submit
from unbraid.records import ENDED, State, read_record
from unbraid.text import echo

PATIENCE_SECONDS = 600  # with a Slurm that does not answer
LONGEST_ARRAY = 1000  # Slurm's own limit, where no administrator has changed it
FOLDER, LIST = "slurm", ".list"  # beside the runs
# Which of sbatch's options are the launcher's own business.
OURS = {
    "array", "chdir", "cpus-per-task", "error", "export", "gres", "job-name", "no-requeue", "nodes", "ntasks",
    "ntasks-per-node", "open-mode", "output", "parsable", "requeue", "signal", "wait", "wrap",
}  # fmt: skip
ENDINGS = {
    "BOOT_FAIL": "did not get its machine ready",
    "CANCELLED": "was cancelled",
    "DEADLINE": "came to its deadline",
    "NODE_FAIL": "has lost its machine",
    "OUT_OF_MEMORY": "took more memory than launcher.mem_gb",
    "PREEMPTED": "had to make room for another",
    "TIMEOUT": "came to its time limit",
}
# 138 is 128 + SIGUSR1, which Slurm sends before the time limit. The processes of a run do not end in the same moment; those
# that are later get SIGTERM from srun, and 143 is what it ends with then.
SCRIPT = """#!/bin/bash
# A run of the sweep for each line of {list}
folder={sweep}$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {list})
exec >>"$folder/log.txt" 2>&1
srun --cpus-per-task={cpus} --kill-on-bad-exit=1 {program} "$folder"
status=$?
if [ $status = 138 ] || [ $status = 143 ]; then
  if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ]; then
    scontrol requeue "$SLURM_JOB_ID"
  else
    echo "not queued again: it was {requeues} times, as launcher.requeues allows"
  fi
fi
exit $status
"""


class Slurm(Launcher):
    """Runs of a sweep as jobs of a cluster, each with as many processes as its Trainer asks for.

    Args:
        partition: of the cluster, or several with commas between them; None: its default.
        account: that pays; None: the user's own.
        qos: quality of service; None: the default.
        timeout_min: time limit of a job, after which it goes on in the next; None: the partition's.
        signal_seconds: before the time limit, at which a run is told to write a checkpoint.
        requeues: how often a job whose time was up is queued again.
        cpus_per_task: cores of each process.
        mem_gb: memory of a run on each machine; None: the partition's.
        gpu_type: as the cluster names it; None: any.
        max_parallel: jobs at once of one array; None: no limit.
        poll_seconds: between two looks at the queue.
        options: more of sbatch's, by their long names; true for one without a value.
    """

    def __init__(
        self, partition: str | None, account: str | None, qos: str | None, timeout_min: int | None, signal_seconds: int,
        requeues: int, cpus_per_task: int, mem_gb: int | None, gpu_type: str | None, max_parallel: int | None,
        poll_seconds: float, options: dict[str, str | int | bool],
    ) -> None:  # fmt: skip
        counts = {"timeout_min": timeout_min, "mem_gb": mem_gb, "max_parallel": max_parallel, "cpus_per_task": cpus_per_task}
        for name, value in (counts | {"signal_seconds": signal_seconds}).items():
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, found {value}")
        if requeues < 0 or poll_seconds <= 0:
            raise InputError(f"requeues must be at least 0 and poll_seconds above 0, found {requeues} and {poll_seconds}")
        if timeout_min is not None and 60 * timeout_min <= signal_seconds:
            raise InputError(f"timeout_min of {timeout_min} leaves no time before signal_seconds of {signal_seconds}")
        for name in options:
            if name in OURS or re.fullmatch(r"[a-z][a-z-]*", name) is None:
                raise InputError(
                    f"options may not have {name}: expected long names of options of sbatch that are not set anyway"
                )
        need_slurm()
        self.partition, self.with_gpus = _chosen(partition)
        self.cpus_per_task, self.gpu_type, self.max_parallel, self.requeues = cpus_per_task, gpu_type, max_parallel, requeues
        self.poll_seconds = poll_seconds
        self.options: Options = {
            "partition": partition, "account": account, "qos": qos, "time": timeout_min,
            "mem": None if mem_gb is None else f"{mem_gb}G", "signal": f"USR1@{signal_seconds}",
            **options,
        }  # fmt: skip

    def refusal(self, arm: Arm) -> str | None:
        if arm.devices is None:
            return "trainer.devices: Slurm must be told how many processes a run has on each machine; give a number"
        if arm.on_gpu and not self.with_gpus:
            return f"trainer.accelerator=gpu: there is no GPU in the partition {self.partition}; choose launcher.partition"
        return None

    def introduction(self, arms: Sequence[Arm]) -> str:
        limit = f", at most {self.max_parallel} at once" if self.max_parallel else ""
        return f"by Slurm in the partition {self.partition}{limit}"

    def run(self, arms: Sequence[Arm], watch: Watch) -> None:
        """Until all have ended; whatever ends this process leaves the jobs in the queue, where the same command finds them."""
        names, left, running = _queued(arms), list(arms), set[Arm]()
        if names:
            echo(f"        {len(names)} of them in Slurm's queue already")
        answered = time.monotonic()
        try:
            while left:
                names |= self._submit([arm for arm in left if arm not in names and not arm.is_busy()])
                try:
                    found, answered = {job.name: job for job in jobs()}, time.monotonic()
                except InputError as error:  # as happens now and then
                    if time.monotonic() - answered > PATIENCE_SECONDS:
                        raise InputError(f"Slurm has not answered for {PATIENCE_SECONDS // 60} minutes: {error}") from error
                else:
                    left = [arm for arm in left if arm not in names or not _ends(arm, names[arm], found, running, watch)]
                watch.tick()
                time.sleep(self.poll_seconds if left else 0)
        except BaseException:
            _leave([arm for arm in left if arm in names], names, running, watch)
            raise

    def _submit(self, arms: Sequence[Arm]) -> dict[Arm, str]:
        """The name of the job of each; those that ask for the same are one array."""
        names: dict[Arm, str] = {}
        for (sweep, nodes, processes, gpus), group in groupby(sorted(arms, key=self._kind), key=self._kind):
            together = list(group)
            for start in range(0, len(together), LONGEST_ARRAY):
                part = together[start : start + LONGEST_ARRAY]
                array = self._submit_array(Path(sweep), part, nodes, processes, gpus)
                names |= {arm: f"{array}_{line}" for line, arm in enumerate(part, 1)}
        return names

    def _kind(self, arm: Arm) -> tuple[str, int, int, int]:
        """Folder of the sweep, machines, processes and GPUs on each of them."""
        return str(arm.folder.parent.resolve()), arm.nodes, arm.processes, arm.gpus(self.with_gpus)

    def _submit_array(self, sweep: Path, arms: Sequence[Arm], nodes: int, processes: int, gpus: int) -> str:
        script, listed = self._written(sweep, [arm.folder.name for arm in arms])
        output = str(script.parent).replace("%", "%%")
        options: Options = {
            "array": f"1-{len(arms)}" + (f"%{self.max_parallel}" if self.max_parallel else ""),
            "nodes": nodes,
            "ntasks-per-node": processes,
            "cpus-per-task": self.cpus_per_task,
            "gres": f"gpu:{self.gpu_type}:{gpus}" if gpus and self.gpu_type else f"gpu:{gpus}" if gpus else None,
            "job-name": f"unbraid-{sweep.name}",
            "output": f"{output}/%A_%a.txt",
            "open-mode": "append",
            "export": "ALL",
            "requeue": True,
        }
        try:
            return submit(script, {**self.options, **options}, shared(self.cpus_per_task))
        except InputError:
            script.unlink()
            listed.unlink()
            raise

    def _written(self, sweep: Path, runs: Sequence[str]) -> tuple[Path, Path]:
        """The script of an array, and the list of its runs."""
        script = sweep / FOLDER / f"{secrets.token_hex(4)}.sh"
        script.parent.mkdir(exist_ok=True)
        listed = script.with_suffix(LIST)
        listed.write_text("".join(f"{run}\n" for run in runs))
        words = {"list": shlex.quote(str(listed)), "sweep": shlex.quote(f"{sweep}/"), "program": shlex.join(PROGRAM)}
        script.write_text(SCRIPT.format(**words, cpus=self.cpus_per_task, requeues=self.requeues))
        return script, listed


def _chosen(partition: str | None) -> tuple[str, bool]:
    """The partition that jobs come to, and whether it has GPUs."""
    there = partitions()
    if not there:
        raise InputError("Slurm has no partition here")
    names = [next(iter(there))] if partition is None else partition.split(",")
    for name in names:
        if name not in there:
            raise InputError(f"partition {name} is not in this Slurm; {unknown(name, there)}")
    return ",".join(names), any(there[name] for name in names)


def _queued(arms: Sequence[Arm]) -> dict[Arm, str]:
    """The job of each arm that has one already, submitted by whichever command."""
    folders = {arm.folder.resolve(): arm for arm in arms}
    waiting = [(job, _folder(job)) for job in jobs() if not job.has_ended]
    return {folders[folder]: job.name for job, folder in waiting if folder in folders}


def _folder(job: Job) -> Path | None:
    """Of the run that a job is for; None where it is no job of ours."""
    try:
        runs = job.script.with_suffix(LIST).read_text().splitlines()
    except OSError:
        return None
    return job.script.parents[1] / runs[job.index - 1] if job.script.parent.name == FOLDER else None


def _ends(arm: Arm, name: str, found: Mapping[str, Job], running: set[Arm], watch: Watch) -> bool:
    """Whether an arm has come to its end; what has become of it meanwhile is said."""
    job, (state, _) = found.get(name), arm.ending()
    if state not in ENDED and job is not None and not job.has_ended:
        if job.state == "RUNNING" and arm not in running:
            running.add(arm)
            watch.started(arm, f"{job.host}, job {name}")
        elif job.state == "PENDING" and arm in running:
            running.remove(arm)
            watch.ended(arm, "interrupted", f"job {name} waits in the queue again")
        return False
    if state not in ENDED and arm.is_busy():  # by a process that has nothing to do with this job
        return False
    watch.ended(arm, *_ending(arm, name, job))
    return True


def _ending(arm: Arm, name: str, job: Job | None) -> tuple[State, str | None]:
    """What has become of it, as the run says, or else as Slurm does, which forgets a job some minutes after its end."""
    state, error = arm.ending()
    if state in ENDED:
        return state, error
    if job is None and (read_record(arm.folder) or {}).get("state") != "failed":
        return "interrupted", f"job {name} is no longer in Slurm's queue"
    if job is not None and job.state in ENDINGS:
        return "interrupted", f"job {name} {ENDINGS[job.state]}"
    return state, error or "was told to end, and not queued again; see its log.txt"


def _leave(arms: Sequence[Arm], names: Mapping[Arm, str], running: set[Arm], watch: Watch) -> None:
    """Say what goes on without this process."""
    for arm in arms:
        watch.ended(arm, "running" if arm in running else "queued", f"stays in Slurm's queue as job {names[arm]}")
    if arms:
        arrays = sorted({names[arm].split("_")[0] for arm in arms})
        echo(f"        the same command watches these jobs again; `scancel {' '.join(arrays)}` ends them")
