"""Records of a run folder: `config.yaml`, the resolved config, and `run.json`, its identity and state.

A process that trains in a folder holds a lock on its file `.lock`. The kernel releases the lock when the process ends, also
after `kill -9`. So a record with the state `running` and a free lock is that of a run that was killed.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

from omegaconf import DictConfig, OmegaConf

from unbraid.runs.config import own_config, versions, write_json
from unbraid.runs.documents import open_regular, read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.metrics_reader import epochs
from unbraid.runs.source_version import code, git_commit

State = Literal["queued", "running", "interrupted", "failed", "pruned", "done"]
ENDED = ("pruned", "done")  # states of runs that are never resumed
LOCK = ".lock"
LEDGER = "ledger.jsonl"  # file name in the folder of a sweep
LOCK_ATTEMPTS = 5
PATH_KEYS = {"root", "cache_dir"}
# Keys that decide how a run is started and logged. They are not part of its identity.
OUTSIDE = {"launcher", "resume", "plan", "power", "power_from", "sweeper", "search", "logger", "tags", "notes"}
# Keys of the Trainer that end a training. A finished run can continue with larger values.
LIMITS = ("max_epochs", "max_steps")
LABELS = ("tags", "notes")  # keys that are copied into the record
# Keys of a record that are read, and their types.
RECORDED: dict[str, Any] = {
    "identity": str,
    "experiment": str,
    "overrides": list,
    "choices": dict,
    "state": str,
    "error": str,
    "changed": str,
    "code": str,
    "tags": list,
    "notes": str,
}
TYPES = {str: "a text", list: "a list of texts", dict: "a mapping of texts"}
REQUIRED = ("identity", "overrides", "choices", "state")
SESSION_KEYS = ("commit", "code", "versions", "host", "started")  # of each process that trains the run


class BusyError(InputError):
    """Report that another process trains the run or has finished it."""


def identity(config: DictConfig) -> str:
    """Hash a resolved config without paths and launch options, so that it is the same on every machine.

    Args:
        config: composed config of a run.

    Returns:
        The hash, 16 characters long.
    """
    tree: Any = OmegaConf.to_container(config, resolve=True)
    return digest(strip_launch_keys(tree))


def experiment_of(config: DictConfig) -> str:
    """Hash a config as `identity` does, without the length of the training and without `test`.

    Args:
        config: composed config of a run.

    Returns:
        The hash, 16 characters long. Runs that differ only in the number of epochs or steps have the same hash.
    """
    unlimited = OmegaConf.merge(config, {"test": None, "trainer": dict.fromkeys(LIMITS)})
    assert isinstance(unlimited, DictConfig)
    return identity(unlimited)


def strip_launch_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Remove paths, and the keys that decide how a run is started, from a config.

    Args:
        tree: resolved config as plain values.

    Returns:
        A copy without these keys.
    """
    stripped: dict[str, Any] = _without_paths({key: value for key, value in tree.items() if key not in OUTSIDE})
    return stripped


def run_overrides(words: Sequence[str]) -> list[str]:
    """Return the overrides that change the identity or the paths of a run, without launch options."""
    return [word for word in words if re.split(r"[=./@]", word.lstrip("+~"))[0] not in OUTSIDE]


def launch_overrides(words: Sequence[str]) -> set[str]:
    """Return the overrides that decide how a run is started, such as `launcher=slurm`."""
    return {*words} - {*run_overrides(words)}


def sweep_overrides(words: Sequence[str]) -> list[str]:
    """Return the overrides of a run without launch options and paths, sorted, so that they are the same on every machine."""
    return sorted(word for word in run_overrides(words) if word.lstrip("+~").split("=")[0].split(".")[-1] not in PATH_KEYS)


def variant_name(words: Sequence[str]) -> str:
    """Return the overrides that all seeds of a variant share, without paths; `as it is` if there are no such overrides."""
    return " ".join(word for word in sweep_overrides(words) if not word.startswith("seed=")) or "as it is"


def digest(value: Any) -> str:
    """Return a hash of plain values, 16 characters long, that does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items() if key not in PATH_KEYS}
    return [_without_paths(item) for item in value] if isinstance(value, list) else value


@dataclass
class Run:
    """Hold the config and the record of a run folder.

    Args:
        folder: run folder; `freeze` makes it if it is missing.
        config: config of the run.
        overrides: overrides of the command line, without launch options.
        choices: names of the model and of the data in the config groups, by group.
        record: content of `run.json`; empty before `freeze`.
        continues: the folder holds the same experiment with fewer epochs or steps, which this run continues.
    """

    folder: Path
    config: DictConfig
    overrides: Sequence[str]
    choices: Mapping[str, str]
    record: dict[str, Any] = field(default_factory=dict)
    continues: bool = False

    def __post_init__(self) -> None:
        self.experiment = experiment_of(self.config)  # now, because Hydra resolves the parts that it builds

    @classmethod
    def frozen(cls, folder: Path) -> "Run":
        """Read the run that a folder holds.

        Args:
            folder: run folder.

        Returns:
            The run with its config and its record.

        Raises:
            InputError: the folder has no valid `run.json` or `config.yaml`.
        """
        record = read_record(folder)
        if record is None:
            raise InputError(folder, "run.json is missing", expected="the folder of a run")
        return cls(folder, own_config(folder), record["overrides"], record["choices"], record)

    @property
    def identity(self) -> str:
        """Return the identity of the config, see `identity`."""
        return identity(self.config)

    @property
    def state(self) -> State | None:
        """Return the recorded state; None before `freeze`."""
        state: State | None = self.record.get("state")
        return state

    def freeze(self) -> None:
        """Write `config.yaml` and `run.json`, or take over the record if the folder holds the same run and it has not ended.

        A run that continues takes over the record and moves the earlier scores to `scores-<epochs>-epochs.json`.

        Raises:
            InputError: the folder holds another run or a run that has ended. Such a folder is never overwritten.
        """
        own = {"identity": self.identity, "experiment": self.experiment, "overrides": list(self.overrides)}
        earlier = read_record(self.folder)
        if earlier and not self.continues and (earlier["identity"] != own["identity"] or earlier["state"] in ENDED):
            hint = "Choose another hydra.run.dir or remove the folder."
            raise InputError(self.folder, "the folder holds another run or a run that has ended", hint=hint)
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / "config.yaml") as partial:  # the paths may have changed
            partial.write_text(OmegaConf.to_yaml(self.config, resolve=True))
        labels: Any = OmegaConf.to_container(OmegaConf.masked_copy(self.config, [*LABELS]))
        self.record = (earlier or {}) | {key: value for key, value in labels.items() if value}
        if self.continues and (scores := self.folder / "scores.json").is_file():
            scores.rename(self.folder / f"scores-{len(epochs(self.folder))}-epochs.json")
        if earlier and not self.continues:
            write_json(self.folder / "run.json", self.record)
        else:
            self.record |= own | {"choices": dict(self.choices)}
            self.mark("queued")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock of the folder while this process trains in it.

        Raises:
            BusyError: another process holds the lock, or has finished the run since this object was made.
        """
        with open(self.folder / LOCK, "a", opener=_open_own) as file:
            for _ in range(LOCK_ATTEMPTS):  # `is_held` of another process takes the lock for a moment
                if _lock(file):
                    break
                time.sleep(0.1)
            else:
                raise BusyError(self.folder, "another process trains in this folder")
            self.record = read_record(self.folder) or self.record  # another process may have changed it
            if self.state in ENDED:
                raise BusyError(self.folder, "another process has finished this run meanwhile")
            for partial in self.folder.rglob(".partial-*"):  # a process was killed while it wrote
                partial.unlink()
            self._begin_session()
            yield
            if self.state in ENDED:
                (self.folder / LOCK).unlink()

    def _begin_session(self) -> None:
        """Record the version, the host and the time of this process; the entries of earlier processes go to `earlier`."""
        before = {key: self.record[key] for key in SESSION_KEYS if key in self.record}
        if before:
            self.record["earlier"] = [*self.record.get("earlier", []), before]
        self.record |= {
            "commit": git_commit(),
            "code": code(),
            "versions": versions(),
            "host": platform.node(),
            "started": _now(),
        }

    def add(self, facts: Mapping[str, Any]) -> None:
        """Write facts about the run to `run.json`."""
        self.record |= facts
        write_json(self.folder / "run.json", self.record)

    def mark(self, state: State, error: str | None = None, gpu_fault: bool = False) -> None:
        """Write the state and the time to `run.json`.

        Args:
            state: new state.
            error: message of the error that ended the run; None removes an earlier message.
            gpu_fault: True if a fault of the GPU ended the run.
        """
        self.record = {key: value for key, value in self.record.items() if key not in ("error", "gpu_fault")}
        self.record |= {"state": state, "changed": _now()} | ({} if error is None else {"error": error})
        self.record |= {"gpu_fault": True} if gpu_fault else {}
        write_json(self.folder / "run.json", self.record)


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read and check `run.json`.

    Args:
        folder: run folder.

    Returns:
        The record of the run; None if the file is missing or cannot be opened.

    Raises:
        InputError: the file is damaged, or is not the record of a run.
    """
    path = folder / "run.json"
    try:
        record = read_json(path)
    except OSError:
        return None
    if not isinstance(record, dict):
        raise InputError(path, "not the record of a run", found=type(record).__name__, expected="an object")
    for key, kind in RECORDED.items():
        if key in record or key in REQUIRED:
            _check_recorded(path, key, record.get(key), kind)
    return record


def _check_recorded(path: Path, key: str, value: Any, kind: Any) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, kind) or not all(isinstance(item, str) for _, item in items):
        expected = TYPES[kind]
        raise InputError(
            f"{path}, {key}", "not the record of a run, or written by an older version of unbraid", expected=expected
        )


def own_choices(folder: Path) -> dict[str, str]:
    """Return the names of the model and the data of a run; empty if the folder has no record, such as a published folder."""
    path = folder / "run.json"
    try:
        record = read_json(path)
    except OSError:
        return {}
    choices: dict[str, str] = record.get("choices", {}) if isinstance(record, dict) else {}
    _check_recorded(path, "choices", choices, dict)
    return choices


def is_held(folder: Path) -> bool:
    """Return whether another process trains in a run folder, on this or on another machine that shares the disk."""
    try:
        with open_regular(folder / LOCK) as file:
            return not _lock(file, fcntl.LOCK_SH)  # a shared lock needs no permission to write
    except FileNotFoundError:
        return False


def _open_own(path: str, flags: int) -> int:
    """Open a file in the folder of an untrusted run. Links are not followed, and a pipe does not block."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def _lock(file: IO[Any], kind: int = fcntl.LOCK_EX) -> bool:
    """Return whether this process gets the lock.

    `lockf` locks belong to one process. Forked workers of a data loader, which can outlive a killed run, do not inherit them.
    """
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # file systems differ in the error
        return False
    return True


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def sweep_name(run: Path) -> str | None:
    """Return the name of the sweep folder that contains a run folder; None if the run is not part of a sweep."""
    return run.parent.name if (run.parent / LEDGER).is_file() else None
