"""One machine: a queue of runs, a slot for each, a process of its own for each."""

import os
import subprocess
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGINT, SIGKILL

from unbraid.data.parallel import cores
from unbraid.runs.errors import InputError
from unbraid.runs.files import below
from unbraid.sweeps.launchers.jobs import PATIENCE_SECONDS, Job, Launcher, Watch
from unbraid.sweeps.launchers.processes import start
from unbraid.sweeps.launchers.slots import Slot, gpus_here, slots

POLL_SECONDS = 0.2
FAULTS = 2  # of a GPU, after which it gets no more runs


@dataclass
class Running:
    """A run and the place it has."""

    job: Job
    slot: Slot
    process: "subprocess.Popen[bytes]"


class Local(Launcher):
    """Runs of a sweep side by side on this machine.

    Args:
        gpus: ids of the GPUs to use; `auto`: all that this process sees; an empty list: none.
        gpus_per_run: of a run that trains on several.
        runs_per_gpu: that share one.
        cpu_slots: runs at once that use no GPU.
        fail_fast: after so many runs that failed with the same words, no other is started; None: all are.
    """

    def __init__(
        self, gpus: str | list[int], gpus_per_run: int, runs_per_gpu: int, cpu_slots: int, fail_fast: int | None
    ) -> None:
        counts = {"gpus_per_run": gpus_per_run, "runs_per_gpu": runs_per_gpu, "cpu_slots": cpu_slots}
        for name, value in (counts | ({} if fail_fast is None else {"fail_fast": fail_fast})).items():
            if value < 1:
                raise InputError(f"{name} must be at least 1, found {value}")
        if isinstance(gpus, str) and gpus != "auto":
            raise InputError(f"gpus: found '{gpus}', expected auto or a list such as [0,1]")
        if not isinstance(gpus, str) and (len({*gpus}) < len(gpus) or any(gpu < 0 for gpu in gpus)):
            raise InputError(f"gpus: found {[*gpus]}, expected each GPU once, numbered from 0")
        self.gpus = gpus_here() if isinstance(gpus, str) else [str(gpu) for gpu in gpus]
        if self.gpus and gpus_per_run > len(self.gpus):
            raise InputError(f"gpus_per_run: found {gpus_per_run}, and there are {len(self.gpus)} GPUs")
        self.gpus_per_run, self.fail_fast = gpus_per_run, fail_fast
        of_cpu = slots([], gpus_per_run, runs_per_gpu, cpu_slots, cores())
        self.slots = [*slots(self.gpus, gpus_per_run, runs_per_gpu, cpu_slots, cores()), *of_cpu] if self.gpus else of_cpu
        self.faults: Counter[str] = Counter()

    def refusal(self, job: Job) -> str | None:
        if job.nodes > 1:
            return f"trainer.num_nodes={job.nodes}: launcher=local has one machine; launcher=slurm has more"
        if job.on_gpu and not self.gpus:
            return "trainer.accelerator=gpu: there is no GPU here; choose trainer=cpu"
        if self.gpus and job.on_gpu is not False and job.devices not in (None, self.gpus_per_run):
            return f"trainer.devices={job.devices}: a run has launcher.gpus_per_run={self.gpus_per_run}; make them equal"
        return None

    def introduction(self, jobs: Sequence[Job]) -> str:
        on_gpus = sum(self._wants_gpus(job) for job in jobs)
        places = []
        for count, kind in ((on_gpus, True), (len(jobs) - on_gpus, False)):
            if own := [slot for slot in self.slots if bool(slot.gpus) is kind and count]:
                threads, gpus = own[0].threads, [gpu for slot in own if not slot.share for gpu in slot.gpus]
                where = f"GPU{'s' if len(gpus) > 1 else ''} {','.join(gpus)}" if kind else "the CPU"
                places.append(f"{min(len(own), count)} at once on {where}, {threads} thread{'s' if threads > 1 else ''} each")
        return "; ".join(places)

    def _wants_gpus(self, job: Job) -> bool:
        return job.gpus(bool(self.gpus)) > 0

    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Until all have ended; Ctrl-C stops them first, each with a checkpoint."""
        waiting, running, errors = deque(jobs), list[Running](), Counter[str]()
        try:
            while running or not self._stops(waiting, errors):
                if not self._stops(waiting, errors):
                    self._start(waiting, running, watch)
                watch.tick()
                time.sleep(POLL_SECONDS)
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    self._end(one, waiting, errors, watch)
        except BaseException:
            _stop(running, watch)
            raise
        for job in waiting:
            reason = f"{self.fail_fast} runs failed with the same words" if self._has_place(job) else "every GPU has failed"
            watch.ended(job, "queued", f"not started: {reason}")

    def _stops(self, waiting: "deque[Job]", errors: Counter[str]) -> bool:
        """Whether no more runs are started."""
        failed_fast = self.fail_fast is not None and max(errors.values(), default=0) >= self.fail_fast
        return failed_fast or not any(self._has_place(job) for job in waiting)

    def _has_place(self, job: Job) -> bool:
        return any(self._fits(slot, job) for slot in self.slots)

    def _fits(self, slot: Slot, job: Job) -> bool:
        """Those that train on the CPU leave the GPUs to others; a GPU that fails again and again gets nothing."""
        return self._wants_gpus(job) is bool(slot.gpus) and all(self.faults[gpu] < FAULTS for gpu in slot.gpus)

    def _start(self, waiting: "deque[Job]", running: list[Running], watch: Watch) -> None:
        """As many as there are free slots for; an arm that another process is at comes last."""
        taken = {one.slot for one in running}
        for slot in self.slots:
            if slot in taken:
                continue
            jobs = (job for job in waiting if self._fits(slot, job) and not job.is_busy())
            if (job := next(jobs, None)) is None or (held := slot.take()) is None:
                continue
            waiting.remove(job)
            if job.ending()[0] == "done":  # by another command, meanwhile
                watch.ended(job, *job.ending())
            else:
                with below(job.folder, "log.txt").open("ab") as log:
                    running.append(Running(job, slot, start(job.folder, slot.environment(), held, log)))
                watch.started(job, slot.name)
            for descriptor in held:  # the run holds them from now on
                os.close(descriptor)

    def _end(self, one: Running, waiting: "deque[Job]", errors: Counter[str], watch: Watch) -> None:
        if one.job.is_busy():  # another command came first by a moment
            waiting.append(one.job)
            return
        state, error = one.job.ending()
        if state == "failed" and one.slot.gpus and one.job.has_gpu_fault():
            self.faults.update(one.slot.gpus)
            if self._has_place(one.job):
                waiting.append(one.job)
        elif state == "failed":
            errors[error or ""] += 1
        watch.ended(one.job, state, error)


def _stop(running: Sequence[Running], watch: Watch) -> None:
    """Tell them to stop, and wait until they have; who presses Ctrl-C again does not wait."""
    for one in running:
        with suppress(ProcessLookupError):
            one.process.send_signal(SIGINT)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        for one in running:
            with suppress(subprocess.TimeoutExpired):
                one.process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for one in running:
            if one.process.poll() is None:
                one.process.send_signal(SIGKILL)
                one.process.wait()
            watch.ended(one.job, *one.job.ending())
