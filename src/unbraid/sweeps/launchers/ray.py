"""Run the jobs of a sweep as Ray tasks, on this machine or on a cluster.

Each task starts a process, and waits until the process ends.

All machines of a cluster need the same project, the same Python and a shared disk. Without a cluster, use the launcher `local`,
which does not need Ray. For a run that needs several machines, use the launcher `slurm`.
"""

import importlib.util
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGTERM
from typing import Any

from unbraid.data.parallel import cores
from unbraid.runs.errors import InputError, check_counts
from unbraid.runs.files import below
from unbraid.runs.plugins import VARIABLE
from unbraid.runs.records import ENDED, read_record
from unbraid.sweeps.launchers.jobs import PATIENCE_SECONDS, Job, Launcher, Watch
from unbraid.sweeps.launchers.processes import shared, start
from unbraid.sweeps.launchers.slots import gpus_here

POLL_SECONDS = 0.5


class Ray(Launcher):
    """Run the jobs of a sweep with Ray, which chooses the machine of each job.

    Args:
        address: address of an existing Ray cluster, `auto` or `HOST:PORT`; None to start Ray on this machine for the sweep.
        gpus: number of GPUs of this machine that Ray uses; None for all GPUs.
        cpus: number of CPU cores of this machine that Ray uses; None for all cores.
        cpus_per_process: number of CPU cores for each process of a run.

    Raises:
        InputError: a number is too small, Ray is not installed, or `gpus` or `cpus` is set for an existing cluster.
    """

    def __init__(self, address: str | None, gpus: int | None, cpus: int | None, cpus_per_process: int) -> None:
        check_counts(cpus_per_process=cpus_per_process, cpus=cpus)
        if gpus is not None and gpus < 0:
            raise InputError("gpus", found=gpus, expected="at least 0 GPUs")
        if address is not None and (gpus, cpus) != (None, None):
            hint = "Set both keys to null"
            problem = "launcher.gpus and launcher.cpus cannot be set for an existing cluster"
            raise InputError("address", problem, found=address, hint=hint)
        if importlib.util.find_spec("ray") is None:
            raise InputError("launcher=ray", "Ray is not installed", hint="Type: pip install 'unbraid[ray]'")
        self.address, self.cpus_per_process = address, cpus_per_process
        self.init_options: dict[str, Any] = {"include_dashboard": False}
        if address is None:
            self.init_options |= {"num_gpus": len(gpus_here()) if gpus is None else gpus, "num_cpus": cpus or cores()}

    def refusal(self, job: Job) -> str | None:
        """Return the reason why Ray cannot run a job, as text; None if Ray can run the job.

        There are three possible reasons. The run needs several machines. The number of processes of the run is unknown. The
        run needs a GPU, but this machine has none.
        """
        if job.nodes > 1:
            return f"trainer.num_nodes={job.nodes}: launcher=ray uses one machine for a run. Choose launcher=slurm"
        if job.devices is None:
            return "trainer.devices: found auto, expected a number, because Ray needs the number of processes"
        if self.address is None and job.on_gpu and not self.init_options["num_gpus"]:
            return "trainer.accelerator=gpu: this machine lacks a usable GPU. Choose trainer=cpu"
        return None

    def introduction(self, jobs: Sequence[Job]) -> str:
        """Describe where Ray runs the jobs: address of the cluster, or number of GPUs and cores of this machine."""
        if self.address is not None:
            return f"by Ray at {self.address}"
        return f"by Ray on {self.init_options['num_gpus']} GPUs and {self.init_options['num_cpus']} cores of this machine"

    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run the jobs, and return when all jobs have ended.

        After Ctrl-C, each run is interrupted and writes a checkpoint before this method ends.

        Args:
            jobs: jobs of one sweep.
            watch: receiver of the events of the sweep.

        Raises:
            InputError: Ray cannot be started or reached.
        """
        import ray  # an optional package that takes seconds to import

        try:
            ray.init(self.address or "local", log_to_driver=False, logging_level=logging.ERROR, **self.init_options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"launcher.address={self.address}", f"Ray cannot be started or reached: {str(error)[:300]}"
            ) from error
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
                folders = str(job.folder.absolute()), str(Path.cwd())
                left[task.options(**need).remote(*folders, self.cpus_per_process, inherited())] = job
            while left:
                ended, _ = ray.wait([*left], timeout=POLL_SECONDS)
                for job in {*left.values()} - started:
                    record = read_record(job.folder) or {}
                    if record.get("state") == "running" and job.is_busy():
                        started.add(job)
                        watch.started(job, record["host"])
                for ended_task in ended:
                    _end(ray, ended_task, left.pop(ended_task), watch)
                watch.tick()
        except BaseException:
            for running_task in left:
                ray.cancel(running_task)
            ray.wait([*left], num_returns=len(left), timeout=PATIENCE_SECONDS)
            for job in left.values():
                watch.ended(job, *job.ending())
            raise

    def _needs(self, job: Job, machines: Sequence[dict[str, float]]) -> dict[str, int]:
        """Return the numbers of CPU cores and GPUs that a job needs on one machine.

        If no machine has so many cores and GPUs, InputError is raised. Without this error, Ray would wait forever.
        """
        gpus = job.gpus(any(machine.get("GPU") for machine in machines))
        need = {"num_cpus": job.processes * self.cpus_per_process, "num_gpus": gpus}
        if not any(need["num_cpus"] <= has.get("CPU", 0) and need["num_gpus"] <= has.get("GPU", 0) for has in machines):
            needed = f"the run needs {need['num_gpus']} GPUs and {need['num_cpus']} cores on one machine"
            raise InputError(
                job.folder.name, f"{needed}, but no machine of the Ray cluster has so many", hint="No run was started."
            )
        return need


def inherited() -> dict[str, str]:
    """Return the environment variables that a run needs to find plugins. Ray itself does not pass these variables on."""
    return {name: os.environ[name] for name in (VARIABLE, "PYTHONPATH") if VARIABLE in os.environ and name in os.environ}


def run_here(folder: str, working: str, threads: int, environment: Mapping[str, str] | None = None) -> int:
    """Train a run in a new process, on the machine and the GPUs that Ray has chosen. Ray calls this function as a task.

    The process of the run ends when the process of the task ends.

    Args:
        folder: run folder.
        working: working directory of the sweep.
        threads: number of threads of each process of the run.
        environment: additional environment variables for the process of the run; None: no additional variables.

    Returns:
        The exit status of the run.

    Raises:
        BaseException: the exception that ended the task, for example after Ray has cancelled the task.
    """
    os.chdir(working)
    gpus = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
    with below(Path(folder), "log.txt").open("ab") as log:
        process = start(Path(folder), os.environ | shared(threads) | gpus | {**(environment or {})}, log=log)
    try:
        while process.poll() is None:  # Ray cannot interrupt `process.wait()`
            time.sleep(POLL_SECONDS)
    except BaseException:
        process.send_signal(SIGTERM)  # processes of Ray, and their child processes, ignore SIGINT
        process.wait()
        raise
    return process.returncode


def _end(ray: Any, task: Any, job: Job, watch: Watch) -> None:
    """Report the end of a job to `watch`. If the job has failed without an error message, report the error of Ray."""
    state, error = job.ending()
    try:
        ray.get(task)
    except ray.exceptions.RayError as lost:
        error = error or f"Ray lost the task: {type(lost).__name__}"
    watch.ended(job, state, None if state in ENDED else error)
