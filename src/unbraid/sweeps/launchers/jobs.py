"""Define the jobs of a sweep (one job per run), and the interface of the launchers that run the jobs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unbraid.runs.locks import is_held
from unbraid.runs.records import State, read_record

PATIENCE_SECONDS = 120  # waiting time after a signal; a run first finishes its batch and writes a checkpoint


@dataclass(frozen=True)
class Job:
    """Describe one run of a sweep: its folder, and the machines and devices that the run needs.

    Args:
        number: number of the run in the sweep, from 0.
        folder: run folder that already contains the complete config of the run.
        devices: number of devices on each machine, with one process per device; None: the launcher chooses the devices.
        nodes: number of machines.
        on_gpu: True: the run needs GPUs; False: the run uses the CPU; None: the run uses GPUs if the launcher has GPUs.
    """

    number: int
    folder: Path
    devices: int | None
    nodes: int
    on_gpu: bool | None

    @property
    def processes(self) -> int:
        """Return the number of processes of the run on each machine: `devices`, or 1 if `devices` is None."""
        return self.devices or 1

    def gpus(self, available: bool) -> int:
        """Return the number of GPUs that the run needs on each machine: one for each process; 0 for a run on the CPU.

        Args:
            available: True if the launcher has GPUs.

        Returns:
            The number of GPUs.
        """
        return self.processes if self.on_gpu or (self.on_gpu is None and available) else 0

    def ending(self) -> tuple[State, str | None]:
        """Return the final state and the error message of the run, after the process of the run has ended.

        The message is None if the run has no error.

        If `run.json` still contains the state `running`, the process was killed. The returned state is then `interrupted`.
        """
        record = read_record(self.folder) or {"state": "failed", "error": "its run folder is missing"}
        if record["state"] == "running":
            return "interrupted", "its process was killed"
        if record["state"] == "queued":
            return "failed", "its process ended before the training began, see log.txt in its run folder"
        return record["state"], record.get("error")

    def has_gpu_fault(self) -> bool:
        """Return whether a defective GPU has made the run fail, as recorded in `run.json`."""
        return (read_record(self.folder) or {}).get("gpu_fault") is True

    def is_busy(self) -> bool:
        """Return whether another process is training the run at this moment, on this or another machine."""
        return is_held(self.folder)


class Watch(Protocol):
    """Interface of an object that displays and records the events of a sweep. An event is the start or the end of a job."""

    def started(self, job: Job, where: str) -> None:
        """Display and record the start of a job.

        Args:
            job: job that was started.
            where: description of the device on which the job runs, such as `gpu 1`.
        """

    def ended(self, job: Job, state: State, error: str | None) -> None:
        """Display and record the end of a job.

        Args:
            job: job that has ended, was interrupted or was not started.
            state: state of the run, such as `done`.
            error: error message, or reason why the job was not started; None after success.
        """

    def tick(self) -> None:
        """Update the display of the sweep. Launchers call this method repeatedly."""


class Launcher(ABC):
    """Run the jobs of a sweep in parallel. The devices limit the number of jobs that run at the same time."""

    @abstractmethod
    def refusal(self, job: Job) -> str | None:
        """Return the reason why this launcher cannot run a job, as text; None if this launcher can run the job."""

    @abstractmethod
    def introduction(self, jobs: Sequence[Job]) -> str:
        """Return a text for the user. It states which devices the sweep uses, and how many jobs run at the same time."""

    @abstractmethod
    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run the jobs, and return when all jobs have ended.

        Args:
            jobs: jobs of one sweep.
            watch: receiver of the events of the sweep.
        """
