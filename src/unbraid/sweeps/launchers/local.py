"""Run the jobs of a sweep on this machine, one process per job. A job waits in a queue for a free slot.

A slot is a group of GPUs, or a share of the CPU cores, that one job uses at a time.
"""

import os
import subprocess
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGINT

from unbraid.data.parallel import cores
from unbraid.runs.errors import InputError, check_counts
from unbraid.runs.files import below
from unbraid.sweeps.launchers.jobs import PATIENCE_SECONDS, Job, Launcher, Watch
from unbraid.sweeps.launchers.processes import start
from unbraid.sweeps.launchers.slots import Slot, gpus_here, slots

POLL_SECONDS = 0.2
MAX_FAULTS = 2  # a GPU with so many faults gets no more jobs


@dataclass
class Running:
    """Hold a started job with its process and its slot (the devices on which the job runs)."""

    job: Job
    slot: Slot
    process: "subprocess.Popen[bytes]"


class Local(Launcher):
    """Run the jobs of a sweep in parallel on this machine.

    Args:
        gpus: ids of the GPUs to use; `auto` for all GPUs that this process can use; an empty list for the CPU only.
        gpus_per_run: number of GPUs for each run.
        runs_per_gpu: number of runs on each GPU at the same time.
        cpu_slots: number of runs on the CPU at the same time.
        fail_fast: No more runs are started after this number of runs has failed with the same error message; None: no limit.

    Raises:
        InputError: a number is below 1, or the GPUs are invalid or fewer than `gpus_per_run`.
    """

    def __init__(
        self, gpus: str | list[int], gpus_per_run: int, runs_per_gpu: int, cpu_slots: int, fail_fast: int | None
    ) -> None:
        check_counts(gpus_per_run=gpus_per_run, runs_per_gpu=runs_per_gpu, cpu_slots=cpu_slots, fail_fast=fail_fast)
        if isinstance(gpus, str) and gpus != "auto":
            raise InputError("gpus", found=f"'{gpus}'", expected="auto or a list such as [0,1]")
        if not isinstance(gpus, str) and len({*gpus}) < len(gpus):
            raise InputError("gpus", "a GPU id is listed twice", found=[*gpus], expected="different GPU ids")
        if not isinstance(gpus, str) and any(gpu < 0 for gpu in gpus):
            raise InputError("gpus", "a GPU id is negative", found=[*gpus], expected="GPU ids of at least 0")
        self.gpus = gpus_here() if isinstance(gpus, str) else [str(gpu) for gpu in gpus]
        if self.gpus and gpus_per_run > len(self.gpus):
            problem, expected = "the number is above the number of available GPUs", f"at most {len(self.gpus)}"
            raise InputError("gpus_per_run", problem, found=gpus_per_run, expected=expected)
        self.gpus_per_run, self.fail_fast = gpus_per_run, fail_fast
        self.slots = slots([], gpus_per_run, runs_per_gpu, cpu_slots, cores())
        if self.gpus:
            self.slots = [*slots(self.gpus, gpus_per_run, runs_per_gpu, cpu_slots, cores()), *self.slots]
        self.faults: Counter[str] = Counter()

    def refusal(self, job: Job) -> str | None:
        """Return the reason why this machine cannot run a job, as text; None if this machine can run the job.

        There are three possible reasons. The run needs several machines. The run needs a GPU, but this machine has none. The
        number of GPUs of the run differs from `gpus_per_run`.
        """
        if job.nodes > 1:
            return f"trainer.num_nodes={job.nodes}: launcher=local uses one machine. Choose launcher=slurm"
        if job.on_gpu and not self.gpus:
            return "trainer.accelerator=gpu: this machine lacks a usable GPU. Choose trainer=cpu"
        if self.gpus and job.on_gpu is not False and job.devices not in (None, self.gpus_per_run):
            return f"trainer.devices={job.devices}: the value differs from launcher.gpus_per_run={self.gpus_per_run}"
        return None

    def introduction(self, jobs: Sequence[Job]) -> str:
        """Describe how many jobs run at the same time on the GPUs and on the CPU, and how many threads each job has."""
        on_gpus = sum(self._wants_gpus(job) for job in jobs)
        places = []
        for count, kind in ((on_gpus, True), (len(jobs) - on_gpus, False)):
            if usable := [slot for slot in self.slots if bool(slot.gpus) is kind and count]:
                threads, gpus = usable[0].threads, [gpu for slot in usable if not slot.share for gpu in slot.gpus]
                where = f"GPU{'s' if len(gpus) > 1 else ''} {','.join(gpus)}" if kind else "the CPU"
                places.append(
                    f"{min(len(usable), count)} at once on {where}, {threads} thread{'s' if threads > 1 else ''} each"
                )
        return "; ".join(places)

    def _wants_gpus(self, job: Job) -> bool:
        return job.gpus(bool(self.gpus)) > 0

    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run the jobs, and return when all jobs have ended.

        After Ctrl-C, each run is interrupted and writes a checkpoint before this method ends.

        Args:
            jobs: jobs of one sweep.
            watch: receiver of the events of the sweep.

        Raises:
            BaseException: the exception that stopped the launcher, such as `KeyboardInterrupt`.
        """
        waiting, running, errors = deque(jobs), list[Running](), Counter[str]()
        try:
            while running or not self._stops(waiting, errors):
                if not self._stops(waiting, errors):
                    self._start(waiting, running, watch)
                watch.tick()
                time.sleep(POLL_SECONDS)
                for ended in [run for run in running if run.process.poll() is not None]:
                    running.remove(ended)
                    self._end(ended, waiting, errors, watch)
        except BaseException:
            _stop(running, watch)
            raise
        for job in waiting:
            reason = f"{self.fail_fast} runs failed with the same message" if self._has_place(job) else "all GPUs have faults"
            watch.ended(job, "queued", f"not started: {reason}")

    def _stops(self, waiting: "deque[Job]", errors: Counter[str]) -> bool:
        """Return True if the launcher must not start any more jobs.

        There are two possible reasons. The number of runs that failed with the same error message has reached `fail_fast`. No
        waiting job can run in any slot.
        """
        failed_fast = self.fail_fast is not None and max(errors.values(), default=0) >= self.fail_fast
        return failed_fast or not any(self._has_place(job) for job in waiting)

    def _has_place(self, job: Job) -> bool:
        return any(self._fits(slot, job) for slot in self.slots)

    def _fits(self, slot: Slot, job: Job) -> bool:
        """Return whether a job can run in a slot. CPU jobs need a CPU slot. GPU jobs need GPUs with fewer than two faults."""
        return self._wants_gpus(job) is bool(slot.gpus) and all(self.faults[gpu] < MAX_FAULTS for gpu in slot.gpus)

    def _start(self, waiting: "deque[Job]", running: list[Running], watch: Watch) -> None:
        """Start a waiting job in each free slot. If another process is training the run of a job, the job keeps waiting."""
        taken = {run.slot for run in running}
        for slot in self.slots:
            if slot in taken:
                continue
            jobs = (job for job in waiting if self._fits(slot, job) and not job.is_busy())
            if (job := next(jobs, None)) is None or (held := slot.take()) is None:
                continue
            waiting.remove(job)
            if job.ending()[0] == "done":  # another command has run it meanwhile
                watch.ended(job, *job.ending())
            else:
                with below(job.folder, "log.txt").open("ab") as log:
                    running.append(Running(job, slot, start(job.folder, slot.environment(), held, log)))
                watch.started(job, slot.name)
            for descriptor in held:  # the process of the run has inherited them
                os.close(descriptor)

    def _end(self, ended: Running, waiting: "deque[Job]", errors: Counter[str], watch: Watch) -> None:
        job, gpus = ended.job, ended.slot.gpus
        if job.is_busy():  # another command has started the same run just before
            waiting.append(job)
            return
        state, error = job.ending()
        if state == "failed" and gpus and job.has_gpu_fault():
            self.faults.update(gpus)
            if self._has_place(job):
                waiting.append(job)
        elif state == "failed":
            errors[error or ""] += 1
        watch.ended(job, state, error)


def _stop(running: Sequence[Running], watch: Watch) -> None:
    """Send SIGINT to all running jobs, and wait until all jobs have ended.

    After 120 s or a second Ctrl-C, kill the jobs that are still running.
    """
    for run in running:
        with suppress(ProcessLookupError):
            run.process.send_signal(SIGINT)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        for run in running:
            with suppress(subprocess.TimeoutExpired):
                run.process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for run in running:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait()
            watch.ended(run.job, *run.job.ending())
