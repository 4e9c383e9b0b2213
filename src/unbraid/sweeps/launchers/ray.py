"""Ray: runs of a sweep as tasks of this machine or of a cluster; each task starts its run as a process of its own and waits.

The machines of a cluster need the same project, the same Python and a disk that all of them share. Where there is a choice,
`local` does the same on one machine without another package, and `slurm` has runs on several machines.
"""

import importlib.util
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from signal import SIGTERM
from typing import Any

from unbraid.data.parallel import cores
from unbraid.runs.errors import InputError
from unbraid.runs.files import below
from unbraid.runs.records import ENDED, read_record
from unbraid.sweeps.launchers.jobs import PATIENCE_SECONDS, Job, Launcher, Watch
from unbraid.sweeps.launchers.processes import shared, start
from unbraid.sweeps.launchers.slots import gpus_here

POLL_SECONDS = 0.5


class Ray(Launcher):
    """Runs of a sweep wherever Ray finds room for them.

    Args:
        address: of a cluster, as `auto` or `HOST:PORT`; None: a Ray of this machine that ends with the sweep.
        gpus: of that Ray of this machine; None: all there are.
        cpus: of it; None: all there are.
        cpus_per_process: of each process of a run.
    """

    def __init__(self, address: str | None, gpus: int | None, cpus: int | None, cpus_per_process: int) -> None:
        if cpus_per_process < 1 or (cpus is not None and cpus < 1) or (gpus is not None and gpus < 0):
            raise InputError(
                f"cpus_per_process and cpus must be at least 1 and gpus 0, found {cpus_per_process}, {cpus}, {gpus}"
            )
        if address is not None and (gpus, cpus) != (None, None):
            raise InputError("address names a cluster, which knows its gpus and cpus; leave these null")
        if importlib.util.find_spec("ray") is None:
            raise InputError("Ray is not installed: pip install 'unbraid[ray]'")
        self.address, self.cpus_per_process = address, cpus_per_process
        self.own: dict[str, Any] = {"include_dashboard": False}
        if address is None:
            self.own |= {"num_gpus": len(gpus_here()) if gpus is None else gpus, "num_cpus": cpus or cores()}

    def refusal(self, job: Job) -> str | None:
        if job.nodes > 1:
            return f"trainer.num_nodes={job.nodes}: launcher=ray gives a run one machine; launcher=slurm has more"
        if job.devices is None:
            return "trainer.devices: Ray must be told how many processes a run has; give a number"
        if self.address is None and job.on_gpu and not self.own["num_gpus"]:
            return "trainer.accelerator=gpu: there is no GPU here; choose trainer=cpu"
        return None

    def introduction(self, jobs: Sequence[Job]) -> str:
        if self.address is not None:
            return f"by Ray at {self.address}"
        return f"by Ray on {self.own['num_gpus']} GPUs and {self.own['num_cpus']} cores of this machine"

    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Until all have ended; Ctrl-C stops them first, each with a checkpoint."""
        import ray  # takes seconds, and is not installed everywhere

        try:
            ray.init(self.address or "local", log_to_driver=False, logging_level=logging.ERROR, **self.own)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(f"launcher.address={self.address}: {str(error)[:300]}") from error
        try:
            self._follow(ray, jobs, watch)
        finally:
            ray.shutdown()

    def _follow(self, ray: Any, jobs: Sequence[Job], watch: Watch) -> None:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        needs = [self._needs(job, machines) for job in jobs]
        task = ray.remote(max_retries=0)(run_here)
        left: dict[Any, Job] = {}
        started = set[Job]()
        try:
            for job, need in zip(jobs, needs, strict=True):
                place = str(job.folder.absolute()), str(Path.cwd())
                left[task.options(**need).remote(*place, self.cpus_per_process)] = job
            while left:
                ended, _ = ray.wait([*left], timeout=POLL_SECONDS)
                for job in {*left.values()} - started:
                    record = read_record(job.folder) or {}
                    if record.get("state") == "running" and job.is_busy():
                        started.add(job)
                        watch.started(job, record["host"])
                for one in ended:
                    _end(ray, one, left.pop(one), watch)
                watch.tick()
        except BaseException:
            for one in left:
                ray.cancel(one)
            ray.wait([*left], num_returns=len(left), timeout=PATIENCE_SECONDS)
            for job in left.values():
                watch.ended(job, *job.ending())
            raise

    def _needs(self, job: Job, machines: Sequence[dict[str, float]]) -> dict[str, int]:
        """What a task must be given; InputError where no machine has it, and Ray would wait for one for ever."""
        gpus = job.gpus(any(machine.get("GPU") for machine in machines))
        need = {"num_cpus": job.processes * self.cpus_per_process, "num_gpus": gpus}
        if not any(need["num_cpus"] <= one.get("CPU", 0) and need["num_gpus"] <= one.get("GPU", 0) for one in machines):
            asked = f"{need['num_gpus']} GPUs and {need['num_cpus']} cores"
            raise InputError(f"{job.folder.name}: asks for {asked}, which no machine of this Ray has; nothing was started")
        return need


def run_here(folder: str, working: str, threads: int) -> int:
    """On the machine that Ray has chosen: the exit status of a run, whose process sees the GPUs that the task was given.

    It ends with the process that Ray runs this in, whichever way that one goes.
    """
    os.chdir(working)
    given = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
    with below(Path(folder), "log.txt").open("ab") as log:
        process = start(Path(folder), os.environ | shared(threads) | given, log=log)
    try:
        while process.poll() is None:  # Ray cannot interrupt one long wait
            time.sleep(POLL_SECONDS)
    except BaseException:
        process.send_signal(SIGTERM)  # processes of Ray are deaf to SIGINT, and so are those they start
        process.wait()
        raise
    return process.returncode


def _end(ray: Any, task: Any, job: Job, watch: Watch) -> None:
    """A run says itself how it has ended; a task that Ray has lost says it for a run that cannot."""
    state, error = job.ending()
    try:
        ray.get(task)
    except ray.exceptions.RayError as lost:
        error = error or f"Ray has lost it: {type(lost).__name__}"
    watch.ended(job, state, None if state in ENDED else error)
