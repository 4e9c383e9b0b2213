"""The file of a study: a journal of Optuna's that several processes write to, on one machine or on a shared disk.

Locks are the kernel's, which lets go of them however a process ends.
"""

import os
from collections.abc import Callable
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from unbraid.runs.documents import open_regular, parse_json
from unbraid.runs.errors import InputError

MAX_LINE_BYTES = 64 << 10
NAME = "search"  # of the one study that a file holds
AGREED = "agreed"  # the attribute of a study that says what all commands have in common
PRUNERS: dict[str, Callable[[int, int], BasePruner]] = {
    "none": lambda startup, warmup: NopPruner(),
    "median": lambda startup, warmup: MedianPruner(startup, warmup),
}


def lock_of(path: Path, name: str) -> FileLock:
    """One of the locks of a study, which lie in a folder beside its file."""
    folder = path.with_name(f"{path.name}.locks")
    folder.mkdir(exist_ok=True)
    return FileLock(folder / name)


class WriteLock(JournalFileOpenLock):
    """Of those who write, in place of Optuna's, for which the others wait half a minute when its holder is killed.

    Whoever has it first cuts off the line that a kill or a full disk has left half-written: Optuna would append to that
    line, and nobody could read the file any more.

    Args:
        path: of the journal.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def acquire(self) -> bool:
        self.lock = lock_of(self.path, "write")
        self.lock.acquire()
        lines = self.path.read_bytes()
        if lines and not lines.endswith(b"\n"):
            os.truncate(self.path, lines.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.lock.release()


def stored(path: Path) -> JournalStorage:
    """What a file holds, which is made if it is missing; InputError where it is something else."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if path.exists():
            with open_regular(path) as file:
                line = file.readline(MAX_LINE_BYTES)
            if line and "op_code" not in parse_json(line, path):
                raise ValueError("no operation of a journal")
        return JournalStorage(JournalFileBackend(str(path), WriteLock(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged, or not the storage of a search") from error


def load(path: Path) -> optuna.Study:
    """The study in a file, with the pruner that it was begun with; InputError where there is none."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such storage of a search")
    try:
        study = optuna.load_study(study_name=NAME, storage=stored(path))
        agreed = study.user_attrs[AGREED]
    except KeyError as error:
        raise InputError(f"{path}: holds no search") from error
    study.pruner = PRUNERS[agreed["pruner"]](agreed["startup_trials"], agreed["warmup_epochs"])
    return study
