"""Run the jobs of a sweep as job arrays of Slurm. Slurm starts the processes of each run, on one or several machines.

For each job array, two files are written: a script, and a list with one run folder for each Slurm job of the array. `squeue`
prints the path of the script. If the user repeats the command of a sweep, the new command finds the Slurm jobs of the earlier
command by this path.
"""

import re
import secrets
import shlex
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from unbraid.runs.errors import InputError, check_counts, unknown
from unbraid.runs.records import ENDED, State, read_record
from unbraid.runs.text import echo
from unbraid.sweeps.launchers.jobs import Job, Launcher, Watch
from unbraid.sweeps.launchers.processes import PROGRAM, shared
from unbraid.sweeps.launchers.queue import Options, SlurmJob, need_slurm, partitions, slurm_jobs, submit

PATIENCE_SECONDS = 600  # longest time without an answer of `squeue`
LONGEST_ARRAY = 1000  # default limit of Slurm
FOLDER, LIST = "slurm", ".list"  # folder of the scripts in the sweep folder, suffix of the lists
# Options of sbatch that the launcher sets.
RESERVED = {
    "array", "chdir", "cpus-per-task", "error", "export", "gres", "job-name", "no-requeue", "nodes", "ntasks",
    "ntasks-per-node", "open-mode", "output", "parsable", "requeue", "signal", "wait", "wrap",
}  # fmt: skip
ENDINGS = {
    "BOOT_FAIL": "ended because its machine did not start",
    "CANCELLED": "was cancelled",
    "DEADLINE": "reached its deadline",
    "NODE_FAIL": "ended because its machine failed",
    "OUT_OF_MEMORY": "used more memory than launcher.mem_gb",
    "PREEMPTED": "was preempted by another job",
    "TIMEOUT": "reached its time limit",
}
# The exit status 138 is 128 + SIGUSR1, which Slurm sends before the time limit. The processes of a run do not end at the same
# time. srun sends SIGTERM to the later ones, and its own exit status is then 143.
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
    echo "not queued again: launcher.requeues={requeues} is reached"
  fi
fi
exit $status
"""


class Slurm(Launcher):
    """Run the jobs of a sweep on a Slurm cluster. The key `trainer.devices` of a run sets the number of processes.

    Args:
        partition: partition of the cluster, or several partitions separated by commas; None for the default partition.
        account: Slurm account that pays for the jobs; None for the default account of the user.
        qos: quality of service (option `--qos` of sbatch); None for the default quality.
        timeout_min: time limit of a Slurm job, in minutes; None for the default of the partition. A job that reaches the limit
            is queued again, and then resumes the run.
        signal_seconds: number of seconds between a stop signal from Slurm and the time limit. After the signal, the run writes
            a checkpoint.
        requeues: largest number of times that a job is started again after its time limit.
        cpus_per_task: number of CPU cores for each process.
        mem_gb: memory of a run on each machine, in GB; None for the default of the partition.
        gpu_type: type of GPU as the cluster names it, such as `a100`; None for any type.
        max_parallel: largest number of jobs of one job array that run at the same time; None for no limit.
        poll_seconds: time between two calls of `squeue`, in seconds.
        options: more options of sbatch by long name; true for an option without a value.

    Raises:
        InputError: a value is out of range, an option is reserved, or Slurm or the partition is missing.
    """

    def __init__(
        self, partition: str | None, account: str | None, qos: str | None, timeout_min: int | None, signal_seconds: int,
        requeues: int, cpus_per_task: int, mem_gb: int | None, gpu_type: str | None, max_parallel: int | None,
        poll_seconds: float, options: dict[str, str | int | bool],
    ) -> None:  # fmt: skip
        check_counts(
            timeout_min=timeout_min, mem_gb=mem_gb, max_parallel=max_parallel, cpus_per_task=cpus_per_task,
            signal_seconds=signal_seconds,
        )  # fmt: skip
        if requeues < 0:
            raise InputError("requeues", found=requeues, expected="at least 0")
        if poll_seconds <= 0:
            raise InputError("poll_seconds", found=poll_seconds, expected="more than 0 s")
        if timeout_min is not None and 60 * timeout_min <= signal_seconds:
            expected = f"more than signal_seconds ({signal_seconds} s)"
            problem, found = "the time limit is too short", f"{timeout_min} ({60 * timeout_min} s)"
            raise InputError("timeout_min", problem, found=found, expected=expected)
        for name in options:
            if name in RESERVED:
                raise InputError(
                    "options", "the launcher sets this option of sbatch itself", found=name, hint="Remove this option"
                )
            if re.fullmatch(r"[a-z][a-z-]*", name) is None:
                expected = "the long name of an option of sbatch, such as qos"
                raise InputError("options", "this name is not allowed", found=name, expected=expected)
        need_slurm()
        self.partition, self.with_gpus = _check_partition(partition)
        self.cpus_per_task, self.gpu_type, self.max_parallel, self.requeues = cpus_per_task, gpu_type, max_parallel, requeues
        self.poll_seconds = poll_seconds
        self.options: Options = {
            "partition": partition, "account": account, "qos": qos, "time": timeout_min,
            "mem": None if mem_gb is None else f"{mem_gb}G", "signal": f"USR1@{signal_seconds}",
            **options,
        }  # fmt: skip

    def refusal(self, job: Job) -> str | None:
        """Return the reason why Slurm cannot run a job, as text; None if Slurm can run the job.

        There are two possible reasons. The number of processes of the run is unknown. The run needs GPUs, but the partition
        has none.
        """
        if job.devices is None:
            return "trainer.devices: found auto, expected a number, because Slurm needs the number of processes"
        if job.on_gpu and not self.with_gpus:
            return f"trainer.accelerator=gpu: the partition {self.partition} lacks GPUs. Choose another launcher.partition"
        return None

    def introduction(self, jobs: Sequence[Job]) -> str:
        """Describe the partition of Slurm, and the largest number of jobs that run at the same time."""
        limit = f", at most {self.max_parallel} at once" if self.max_parallel else ""
        return f"by Slurm in the partition {self.partition}{limit}"

    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Submit the jobs to Slurm, and return when all jobs have ended.

        If this process ends earlier, the jobs stay in the queue of Slurm. If the user repeats the command of the sweep, the
        repeated command finds these jobs.

        Args:
            jobs: jobs of one sweep.
            watch: receiver of the events of the sweep.

        Raises:
            InputError: `squeue` has failed for 10 minutes.
            BaseException: the exception that stopped the launcher, such as `KeyboardInterrupt`.
        """
        names, left, running = _queued(jobs), list(jobs), set[Job]()
        if names:
            echo(f"        {len(names)} of these runs are already in the queue of Slurm")
        answered = time.monotonic()
        try:
            while left:
                names |= self._submit([job for job in left if job not in names and not job.is_busy()])
                try:
                    queue, answered = {slurm_job.name: slurm_job for slurm_job in slurm_jobs()}, time.monotonic()
                except InputError as error:  # `squeue` fails at times
                    if time.monotonic() - answered > PATIENCE_SECONDS:
                        raise InputError(
                            "squeue", f"this command has failed for {PATIENCE_SECONDS // 60} minutes: {error.problem}"
                        ) from error
                else:
                    left = [job for job in left if job not in names or not _has_ended(job, names[job], queue, running, watch)]
                watch.tick()
                time.sleep(self.poll_seconds if left else 0)
        except BaseException:
            _leave([job for job in left if job in names], names, running, watch)
            raise

    def _submit(self, jobs: Sequence[Job]) -> dict[Job, str]:
        """Submit jobs to Slurm, and return the Slurm job id of each job.

        Jobs with equal numbers of machines, processes and GPUs form one job array.
        """
        names: dict[Job, str] = {}
        for (sweep, nodes, processes, gpus), group in groupby(sorted(jobs, key=self._kind), key=self._kind):
            together = list(group)
            for start in range(0, len(together), LONGEST_ARRAY):
                part = together[start : start + LONGEST_ARRAY]
                array = self._submit_array(Path(sweep), part, nodes, processes, gpus)
                names |= {job: f"{array}_{line}" for line, job in enumerate(part, 1)}
        return names

    def _kind(self, job: Job) -> tuple[str, int, int, int]:
        """Return the values that must be equal in all jobs of a job array.

        The values are the sweep folder, the number of machines, the number of processes per machine, and the number of GPUs per
        machine.
        """
        return str(job.folder.parent.resolve()), job.nodes, job.processes, job.gpus(self.with_gpus)

    def _submit_array(self, sweep: Path, jobs: Sequence[Job], nodes: int, processes: int, gpus: int) -> str:
        script, run_list = self._write_script(sweep, [job.folder.name for job in jobs])
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
            run_list.unlink()
            raise

    def _write_script(self, sweep: Path, runs: Sequence[str]) -> tuple[Path, Path]:
        """Write the two files of a job array: the script, and the list of run folders. Return the paths of both files."""
        script = sweep / FOLDER / f"{secrets.token_hex(4)}.sh"
        script.parent.mkdir(exist_ok=True)
        run_list = script.with_suffix(LIST)
        run_list.write_text("".join(f"{run}\n" for run in runs))
        words = {"list": shlex.quote(str(run_list)), "sweep": shlex.quote(f"{sweep}/"), "program": shlex.join(PROGRAM)}
        script.write_text(SCRIPT.format(**words, cpus=self.cpus_per_task, requeues=self.requeues))
        return script, run_list


def _check_partition(partition: str | None) -> tuple[str, bool]:
    """Check that a partition (None: the default) exists. Return its name, and whether the partition has GPUs."""
    has_gpu = partitions()
    if not has_gpu:
        raise InputError("launcher=slurm", "Slurm cannot run jobs, because sinfo lists no partition")
    names = [next(iter(has_gpu))] if partition is None else partition.split(",")
    for name in names:
        if name not in has_gpu:
            raise InputError("partition", "Slurm lists no partition of this name", found=name, hint=unknown(name, has_gpu))
    return ",".join(names), any(has_gpu[name] for name in names)


def _queued(jobs: Sequence[Job]) -> dict[Job, str]:
    """Find the jobs of the sweep that are already in the queue of Slurm.

    Return a dictionary from each of these jobs to its job id in Slurm.
    """
    folders = {job.folder.resolve(): job for job in jobs}
    waiting = [(slurm_job, _folder(slurm_job)) for slurm_job in slurm_jobs() if not slurm_job.has_ended]
    return {folders[folder]: slurm_job.name for slurm_job, folder in waiting if folder in folders}


def _folder(slurm_job: SlurmJob) -> Path | None:
    """Return the run folder of a Slurm job; None if unbraid did not submit this Slurm job."""
    try:
        runs = slurm_job.script.with_suffix(LIST).read_text().splitlines()
    except OSError:
        return None
    return slurm_job.script.parents[1] / runs[slurm_job.index - 1] if slurm_job.script.parent.name == FOLDER else None


def _has_ended(job: Job, name: str, queue: Mapping[str, SlurmJob], running: set[Job], watch: Watch) -> bool:
    """Return whether a job of the sweep has ended. Report the start, the end or a requeue of this job to `watch`."""
    slurm_job, (state, _) = queue.get(name), job.ending()
    if state not in ENDED and slurm_job is not None and not slurm_job.has_ended:
        if slurm_job.state == "RUNNING" and job not in running:
            running.add(job)
            watch.started(job, f"{slurm_job.host}, job {name}")
        elif slurm_job.state == "PENDING" and job in running:
            running.remove(job)
            watch.ended(job, "interrupted", f"job {name} is in the queue again")
        return False
    if state not in ENDED and job.is_busy():  # another process, outside this Slurm job, trains the run
        return False
    watch.ended(job, *_ending(job, name, slurm_job))
    return True


def _ending(job: Job, name: str, slurm_job: SlurmJob | None) -> tuple[State, str | None]:
    """Return the final state and the error message of an ended job, from `run.json` or else from Slurm.

    `slurm_job` is None if Slurm has already removed the job from the queue (some minutes after the end of the job).
    """
    state, error = job.ending()
    if state in ENDED:
        return state, error
    if slurm_job is None and (read_record(job.folder) or {}).get("state") != "failed":
        return "interrupted", f"job {name} is not in Slurm's queue any more"
    if slurm_job is not None and slurm_job.state in ENDINGS:
        return "interrupted", f"job {name} {ENDINGS[slurm_job.state]}"
    return state, error or "its process was signalled to end and not queued again, see log.txt in its run folder"


def _leave(jobs: Sequence[Job], names: Mapping[Job, str], running: set[Job], watch: Watch) -> None:
    """Print how to cancel the jobs that stay in the queue of Slurm after this process ends.

    The object `watch` receives a report on each of these jobs.
    """
    for job in jobs:
        watch.ended(job, "running" if job in running else "queued", f"stays in the queue of Slurm as job {names[job]}")
    if jobs:
        arrays = sorted({names[job].split("_")[0] for job in jobs})
        echo(f"        type the same command to watch these jobs again, or `scancel {' '.join(arrays)}` to end them")
