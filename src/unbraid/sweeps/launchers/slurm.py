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

from unbraid.runs.errors import InputError, unknown
from unbraid.runs.records import ENDED, State, read_record
from unbraid.runs.text import echo
from unbraid.sweeps.launchers.jobs import Job, Launcher, Watch
from unbraid.sweeps.launchers.processes import PROGRAM, shared
from unbraid.sweeps.launchers.queue import Options, SlurmJob, need_slurm, partitions, slurm_jobs, submit

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

    def refusal(self, job: Job) -> str | None:
        if job.devices is None:
            return "trainer.devices: Slurm must be told how many processes a run has on each machine; give a number"
        if job.on_gpu and not self.with_gpus:
            return f"trainer.accelerator=gpu: there is no GPU in the partition {self.partition}; choose launcher.partition"
        return None

    def introduction(self, jobs: Sequence[Job]) -> str:
        limit = f", at most {self.max_parallel} at once" if self.max_parallel else ""
        return f"by Slurm in the partition {self.partition}{limit}"

    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Until all have ended; whatever ends this process leaves the jobs in the queue, where the same command finds them."""
        names, left, running = _queued(jobs), list(jobs), set[Job]()
        if names:
            echo(f"        {len(names)} of them in Slurm's queue already")
        answered = time.monotonic()
        try:
            while left:
                names |= self._submit([job for job in left if job not in names and not job.is_busy()])
                try:
                    found, answered = {slurm_job.name: slurm_job for slurm_job in slurm_jobs()}, time.monotonic()
                except InputError as error:  # as happens now and then
                    if time.monotonic() - answered > PATIENCE_SECONDS:
                        raise InputError(f"Slurm has not answered for {PATIENCE_SECONDS // 60} minutes: {error}") from error
                else:
                    left = [job for job in left if job not in names or not _ends(job, names[job], found, running, watch)]
                watch.tick()
                time.sleep(self.poll_seconds if left else 0)
        except BaseException:
            _leave([job for job in left if job in names], names, running, watch)
            raise

    def _submit(self, jobs: Sequence[Job]) -> dict[Job, str]:
        """The name of the job of each; those that ask for the same are one array."""
        names: dict[Job, str] = {}
        for (sweep, nodes, processes, gpus), group in groupby(sorted(jobs, key=self._kind), key=self._kind):
            together = list(group)
            for start in range(0, len(together), LONGEST_ARRAY):
                part = together[start : start + LONGEST_ARRAY]
                array = self._submit_array(Path(sweep), part, nodes, processes, gpus)
                names |= {job: f"{array}_{line}" for line, job in enumerate(part, 1)}
        return names

    def _kind(self, job: Job) -> tuple[str, int, int, int]:
        """Folder of the sweep, machines, processes and GPUs on each of them."""
        return str(job.folder.parent.resolve()), job.nodes, job.processes, job.gpus(self.with_gpus)

    def _submit_array(self, sweep: Path, jobs: Sequence[Job], nodes: int, processes: int, gpus: int) -> str:
        script, listed = self._written(sweep, [job.folder.name for job in jobs])
        output = str(script.parent).replace("%", "%%")
        options: Options = {
            "array": f"1-{len(jobs)}" + (f"%{self.max_parallel}" if self.max_parallel else ""),
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


def _queued(jobs: Sequence[Job]) -> dict[Job, str]:
    """The job of each arm that has one already, submitted by whichever command."""
    folders = {job.folder.resolve(): job for job in jobs}
    waiting = [(slurm_job, _folder(slurm_job)) for slurm_job in slurm_jobs() if not slurm_job.has_ended]
    return {folders[folder]: slurm_job.name for slurm_job, folder in waiting if folder in folders}


def _folder(slurm_job: SlurmJob) -> Path | None:
    """Of the run that a job is for; None where it is no job of ours."""
    try:
        runs = slurm_job.script.with_suffix(LIST).read_text().splitlines()
    except OSError:
        return None
    return slurm_job.script.parents[1] / runs[slurm_job.index - 1] if slurm_job.script.parent.name == FOLDER else None


def _ends(job: Job, name: str, found: Mapping[str, SlurmJob], running: set[Job], watch: Watch) -> bool:
    """Whether an arm has come to its end; what has become of it meanwhile is said."""
    slurm_job, (state, _) = found.get(name), job.ending()
    if state not in ENDED and slurm_job is not None and not slurm_job.has_ended:
        if slurm_job.state == "RUNNING" and job not in running:
            running.add(job)
            watch.started(job, f"{slurm_job.host}, job {name}")
        elif slurm_job.state == "PENDING" and job in running:
            running.remove(job)
            watch.ended(job, "interrupted", f"job {name} waits in the queue again")
        return False
    if state not in ENDED and job.is_busy():  # by a process that has nothing to do with this job
        return False
    watch.ended(job, *_ending(job, name, slurm_job))
    return True


def _ending(job: Job, name: str, slurm_job: SlurmJob | None) -> tuple[State, str | None]:
    """What has become of it, as the run says, or else as Slurm does, which forgets a job some minutes after its end."""
    state, error = job.ending()
    if state in ENDED:
        return state, error
    if slurm_job is None and (read_record(job.folder) or {}).get("state") != "failed":
        return "interrupted", f"job {name} is no longer in Slurm's queue"
    if slurm_job is not None and slurm_job.state in ENDINGS:
        return "interrupted", f"job {name} {ENDINGS[slurm_job.state]}"
    return state, error or "was told to end, and not queued again; see its log.txt"


def _leave(jobs: Sequence[Job], names: Mapping[Job, str], running: set[Job], watch: Watch) -> None:
    """Say what goes on without this process."""
    for job in jobs:
        watch.ended(job, "running" if job in running else "queued", f"stays in Slurm's queue as job {names[job]}")
    if jobs:
        arrays = sorted({names[job].split("_")[0] for job in jobs})
        echo(f"        the same command watches these jobs again; `scancel {' '.join(arrays)}` ends them")
