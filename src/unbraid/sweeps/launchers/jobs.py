"""The arms of a sweep, and what every launcher does with them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unbraid.runs.records import State, is_held, read_record

PATIENCE_SECONDS = 120  # with runs that are told to stop: a checkpoint is written at the end of the batch


@dataclass(frozen=True)
class Job:
    """One run of a sweep, frozen in its folder.

    Args:
        number: in the sweep, from 0.
        folder: of the run.
        devices: processes of the run on each machine; None: as many as it is given.
        nodes: machines of the run.
        on_gpu: whether it asks for GPUs; None: it takes what there is.
    """

    number: int
    folder: Path
    devices: int | None
    nodes: int
    on_gpu: bool | None

    @property
    def processes(self) -> int:
        """On each machine, of a run that says how many."""
        return self.devices or 1

    def gpus(self, there_are: bool) -> int:
        """How many it needs on each machine: one for each process, or none."""
        return self.processes if self.on_gpu or (self.on_gpu is None and there_are) else 0

    def ending(self) -> tuple[State, str | None]:
        """How far it is now that its process has ended: a run that was killed says that it is running."""
        record = read_record(self.folder) or {"state": "failed", "error": "its folder is gone"}
        if record["state"] == "running":
            return "interrupted", "was killed"
        if record["state"] == "queued":
            return "failed", "ended before it began, see its log.txt"
        return record["state"], record.get("error")

    def has_gpu_fault(self) -> bool:
        """Return whether the record of the failed run names its GPU as the cause, see `gpu_faults`."""
        return (read_record(self.folder) or {}).get("gpu_fault") is True

    def is_busy(self) -> bool:
        """Whether another process is at it, on whichever machine."""
        return is_held(self.folder)


class Watch(Protocol):
    """Who wants to know how the sweep goes."""

    def started(self, job: Job, where: str) -> None:
        """An arm has a place."""

    def ended(self, job: Job, state: State, error: str | None) -> None:
        """It has come to some end."""

    def tick(self) -> None:
        """Now and then."""


class Launcher(ABC):
    """Runs arms, as many at once as it has places for."""

    @abstractmethod
    def refusal(self, job: Job) -> str | None:
        """Why it cannot run an arm, in words that follow its name; None if it can."""

    @abstractmethod
    def introduction(self, jobs: Sequence[Job]) -> str:
        """What places there are."""

    @abstractmethod
    def run(self, jobs: Sequence[Job], watch: Watch) -> None:
        """Until all of them have ended."""
