"""Open the file of an Optuna study, which stores the trials of a search. The file is a journal of Optuna.

Several processes can write to the file, also on several machines with a shared disk. The processes use file locks of the
kernel. The kernel releases a lock when the process that holds the lock ends for any reason.
"""

import os
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from unbraid.runs.documents import open_regular, parse_json
from unbraid.runs.errors import InputError
from unbraid.runs.locks import FileLock

MAX_LINE_BYTES = 64 << 10
NAME = "search"  # of the single study in a file
AGREED = "agreed"  # attribute of a study with the options that all its commands must share
PRUNERS: dict[str, Callable[[int, int], BasePruner]] = {
    "none": lambda startup, warmup: NopPruner(),
    "median": lambda startup, warmup: MedianPruner(startup, warmup),
}


def lock_of(path: Path, name: str) -> FileLock:
    """Return the lock with the given name. The file of the lock is in a folder next to the study's file."""
    folder = path.with_name(f"{path.name}.locks")
    folder.mkdir(exist_ok=True)
    return FileLock(folder / name)


class WriteLock(JournalFileOpenLock):
    """Lock the file of a study for writing.

    Optuna's own lock is not used, because after a crash, the next process must wait 30 s for that lock.

    `acquire` also removes an incomplete last line of the file. A killed process or a full disk can cause such a line. If
    another process appended to this line, Optuna could not read the file.

    Args:
        path: file of the study.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def acquire(self) -> bool:
        """Lock the file of the study, and remove an incomplete last line of the file. Return True."""
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
    """Open the file of a study as Optuna's storage. A missing file is made.

    Args:
        path: file of the study.

    Returns:
        The storage object of Optuna.

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
    """Load the study of a search from a file. The study contains the trials and the pruner of the search.

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
