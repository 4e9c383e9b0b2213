"""Jobs of a sweep, and the interface of launchers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unbraid.runs.records import State, is_held, read_record

PATIENCE_SECONDS = 120  # waiting time after a signal; a run first finishes its batch and writes a checkpoint


@dataclass(frozen=True)
class Job:
    """Describe one run of a sweep and the devices that it needs.

    Args:
        number: number of the run in the sweep, from 0.
        folder: frozen run folder.
        devices: number of processes on each machine; None for as many as the launcher has devices.
        nodes: number of machines.
        on_gpu: True if the run needs GPUs, False if it uses the CPU; None if it uses GPUs when they are available.
    """

    number: int
    folder: Path
    devices: int | None
    nodes: int
    on_gpu: bool | None

    @property
    def processes(self) -> int:
        """Return the number of processes on each machine; 1 if the config has no number."""
        return self.devices or 1

    def gpus(self, available: bool) -> int:
        """Return the number of GPUs that the run needs on each machine: one for each process, or 0 on the CPU.

        Args:
            available: True if the launcher has GPUs.

        Returns:
            The number of GPUs.
        """
        return self.processes if self.on_gpu or (self.on_gpu is None and available) else 0

    def ending(self) -> tuple[State, str | None]:
        """Return the state of the run and the error message, if any, after its process has ended.

        A record with the state `running` is that of a killed process, so the state is then `interrupted`.
        """
        record = read_record(self.folder) or {"state": "failed", "error": "its folder is missing"}
        if record["state"] == "running":
            return "interrupted", "was killed"
        if record["state"] == "queued":
            return "failed", "ended before the training began, see its log.txt"
        return record["state"], record.get("error")

    def has_gpu_fault(self) -> bool:
        """Return whether the record of the failed run names a fault of the GPU as the cause, see `gpu_faults`."""
        return (read_record(self.folder) or {}).get("gpu_fault") is True

    def is_busy(self) -> bool:
        """Return whether another process trains in the folder, on this or another machine."""
        return is_held(self.folder)


class Watch(Protocol):
    """Receive the events of a sweep from a launcher."""

    def started(self, job: Job, where: str) -> None:
        """Handle the start of a job.

        Args:
            job: job that was started.
            where: description of its device, such as `gpu 1`.
        """

    def ended(self, job: Job, state: State, error: str | None) -> None:
        """Handle the end of a job.

        Args:
            job: job that has ended, was interrupted or was not started.
            state: state of its run.
            error: error message or reason; None after success.
        """

    def tick(self) -> None:
        """Update a display; called several times per second or at each look at a queue."""


class Launcher(ABC):
    """Run the jobs of a sweep, as many at the same time as there are devices."""

    @abstractmethod
    def refusal(self, job: Job) -> str | None:
        """Return the reason why this launcher cannot run a job, to be appended to the name of the job; None if it can."""

    @abstractmethod
    def introduction(self, jobs: Sequence[Job]) -> str:
        """Describe in a few words on which devices the jobs run."""

    @abstractmethod
    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Run the jobs and return when all have ended.

        Args:
            jobs: jobs of one sweep.
            watch: receiver of the events of the sweep.
        """
