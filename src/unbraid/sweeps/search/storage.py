"""Open the file of a study: a journal of Optuna that several processes write to, on one machine or on a shared disk.

The locks are file locks of the kernel, which releases them when a process ends in any way.
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
NAME = "search"  # of the single study in a file
AGREED = "agreed"  # attribute of a study with the options that all its commands must share
PRUNERS: dict[str, Callable[[int, int], BasePruner]] = {
    "none": lambda startup, warmup: NopPruner(),
    "median": lambda startup, warmup: MedianPruner(startup, warmup),
}


def lock_of(path: Path, name: str) -> FileLock:
    """Return a named lock of a study. The lock files are in a folder next to the file of the study."""
    folder = path.with_name(f"{path.name}.locks")
    folder.mkdir(exist_ok=True)
    return FileLock(folder / name)


class WriteLock(JournalFileOpenLock):
    """Lock a journal for writing, instead of the lock of Optuna, which stays locked for 30 s after its process is killed.

    The lock also removes an incomplete last line, which a kill or a full disk can cause. Optuna would append to that line, and
    the file would be unreadable.

    Args:
        path: path of the journal.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def acquire(self) -> bool:
        """Wait for the lock and remove an incomplete last line."""
        self.lock = lock_of(self.path, "write")
        self.lock.acquire()
        lines = self.path.read_bytes()
        if lines and not lines.endswith(b"\n"):
            os.truncate(self.path, lines.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Release the lock."""
        self.lock.release()


def stored(path: Path) -> JournalStorage:
    """Open the storage in a file. The file is made if it is missing.

    Args:
        path: path of the file.

    Returns:
        The storage.

    Raises:
        InputError: the file is damaged or of another kind.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if path.exists():
            _check_first_line(path)
        return JournalStorage(JournalFileBackend(str(path), WriteLock(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, "damaged, or not the storage of a search") from error


def _check_first_line(path: Path) -> None:
    with open_regular(path) as file:
        line = file.readline(MAX_LINE_BYTES)
    if line and "op_code" not in parse_json(line, path):
        raise ValueError("not an operation of a journal")


def load(path: Path) -> optuna.Study:
    """Load the study in a file, with the pruner of its first command.

    Args:
        path: path of the file.

    Returns:
        The study.

    Raises:
        InputError: the file is missing or does not contain a search.
    """
    if not path.is_file():
        raise InputError(path, "no such file", expected="the storage of a search")
    try:
        study = optuna.load_study(study_name=NAME, storage=stored(path))
        agreed = study.user_attrs[AGREED]
    except KeyError as error:
        raise InputError(path, "does not contain a search") from error
    study.pruner = PRUNERS[agreed["pruner"]](agreed["startup_trials"], agreed["warmup_epochs"])
    return study
