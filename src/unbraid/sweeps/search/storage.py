"""Open the file of a study. A study contains the trials of a search, and its file is a journal of Optuna.

Several processes write to the file, also on several machines with a shared disk. These processes use file locks of the kernel.
The kernel releases a lock when the process with the lock ends in any way.
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
    """Return the lock with the given name. The lock is a file in a folder next to the file of the study."""
    folder = path.with_name(f"{path.name}.locks")
    folder.mkdir(exist_ok=True)
    return FileLock(folder / name)


class WriteLock(JournalFileOpenLock):
    """Lock the file of a study for writing. Optuna's own lock is not used, because it stays locked for 30 s after a crash.

    The lock also removes an incomplete last line, which a killed process or a full disk can cause. Optuna would append to this
    line, and the file would be unreadable.

    Args:
        path: file of the study.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def acquire(self) -> bool:
        """Wait for the lock of the study's file, and remove an incomplete last line of this file."""
        self.lock = lock_of(self.path, "write")
        self.lock.acquire()
        lines = self.path.read_bytes()
        if lines and not lines.endswith(b"\n"):
            os.truncate(self.path, lines.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Release the lock of the study's file, so that other processes can write to the file."""
        self.lock.release()


def stored(path: Path) -> JournalStorage:
    """Open the file of a study as a storage of Optuna. A missing file is made.

    Args:
        path: file of the study.

    Returns:
        The storage of Optuna.

    Raises:
        InputError: the file is damaged, or is not the file of a study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if path.exists():
            _check_first_line(path)
        return JournalStorage(JournalFileBackend(str(path), WriteLock(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            path, "the file is damaged, or does not contain a search", hint="Choose another hydra.sweeper.storage"
        ) from error


def _check_first_line(path: Path) -> None:
    with open_regular(path) as file:
        line = file.readline(MAX_LINE_BYTES)
    if line and "op_code" not in parse_json(line, path):
        raise InputError(path, "the file is not an Optuna journal: its first line is not an operation of a journal")


def load(path: Path) -> optuna.Study:
    """Load the study (the trials of a search) from its file. The study has the pruner with which the search was started.

    Args:
        path: file of the study.

    Returns:
        The study of Optuna.

    Raises:
        InputError: the file is missing or does not contain a search.
    """
    if not path.is_file():
        raise InputError(path, "the file does not exist", expected="the file with the trials of a search")
    try:
        study = optuna.load_study(study_name=NAME, storage=stored(path))
        agreed = study.user_attrs[AGREED]
    except KeyError as error:
        raise InputError(path, "the file does not contain a search", hint="Choose another hydra.sweeper.storage") from error
    study.pruner = PRUNERS[agreed["pruner"]](agreed["startup_trials"], agreed["warmup_epochs"])
    return study
