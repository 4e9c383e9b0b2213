"""Write and read the two files in a run folder that describe the run: `config.yaml` and `run.json`.

`config.yaml` contains the resolved config. `run.json` is the record of the run. The record contains the identity of the run (a
hash of the config) and the state of the run, such as `running` or `done`.

A process that trains in a run folder holds a lock on the file `.lock` in this folder. The kernel releases the lock when the
process ends, also after `kill -9`. If `run.json` contains the state `running` but the lock is free, the run was killed.
"""

import hashlib
import json
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from unbraid.runs import plugins
from unbraid.runs.config import own_config
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write, write_json
from unbraid.runs.locks import LOCK, lock, open_lock
from unbraid.runs.metrics_reader import epochs
from unbraid.runs.source_version import code, git_commit, versions
from unbraid.runs.text import echo

State = Literal["queued", "running", "interrupted", "failed", "pruned", "done"]
ENDED = ("pruned", "done")  # states of runs that are never resumed
LEDGER = "ledger.jsonl"  # file name in the folder of a sweep
LOCK_ATTEMPTS = 5
PATH_KEYS = {"root", "cache_dir"}
# Keys that decide how a run is started and logged. They are not part of its identity.
OUTSIDE = {
    "launcher", "resume", "plan", "memory", "power", "power_from", "sweeper", "search", "logger", "plugins", "plugins_first",
    "tags", "notes",
}  # fmt: skip
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
SESSION_KEYS = ("commit", "code", "versions", "plugins", "host", "started")  # of each process that trains the run


class BusyError(InputError):
    """Report that a run cannot be trained, because another process is training this run or has finished this run."""


def identity(config: DictConfig) -> str:
    """Return the identity of a run: a hash of its config without paths and launch options (such as `launcher=slurm`).

    The same config has the same identity on every machine.

    Args:
        config: composed config of a run.

    Returns:
        The hash, 16 characters long.
    """
    tree: Any = OmegaConf.to_container(config, resolve=True)
    return digest(strip_launch_keys(tree))


def experiment_of(config: DictConfig) -> str:
    """Return a hash of a config without paths, launch options, length of training and the key `test`.

    Args:
        config: composed config of a run.

    Returns:
        The hash, 16 characters long. Runs that differ only in the number of epochs or steps have the same hash.
    """
    unlimited = OmegaConf.merge(config, {"test": None, "trainer": dict.fromkeys(LIMITS)})
    assert isinstance(unlimited, DictConfig)
    return identity(unlimited)


def strip_launch_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Remove paths and launch options from a config. Launch options decide how a run is started and logged.

    Args:
        tree: resolved config as nested dictionaries and lists.

    Returns:
        A copy of the config without the keys of paths and launch options.
    """
    stripped: dict[str, Any] = _without_paths({key: value for key, value in tree.items() if key not in OUTSIDE})
    return stripped


def run_overrides(words: Sequence[str]) -> list[str]:
    """Return the overrides of a command line without the launch options, such as `launcher=slurm` or `plan=true`."""
    return [word for word in words if re.split(r"[=./@]", word.lstrip("+~"))[0] not in OUTSIDE]


def launch_overrides(words: Sequence[str]) -> set[str]:
    """Return the overrides that only decide how a run is started or logged (launch options), such as `launcher=slurm`."""
    return {*words} - {*run_overrides(words)}


def sweep_overrides(words: Sequence[str]) -> list[str]:
    """Return the sorted overrides without launch options and paths, so that the result is the same on all machines."""
    return sorted(word for word in run_overrides(words) if word.lstrip("+~").split("=")[0].split(".")[-1] not in PATH_KEYS)


def variant_name(words: Sequence[str]) -> str:
    """Return the name of a variant (runs that differ only in the seed).

    The name consists of the overrides without seed, paths and launch options. If no override remains, the name is `as it is`.
    """
    return " ".join(word for word in sweep_overrides(words) if not word.startswith("seed=")) or "as it is"


def digest(value: Any) -> str:
    """Return a hash (16 characters) of nested dictionaries, lists and values. The order of keys does not change the hash."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items() if key not in PATH_KEYS}
    return [_without_paths(item) for item in value] if isinstance(value, list) else value


@dataclass
class Run:
    """Represent one training run: its folder, its config, and its record in `run.json`.

    Args:
        folder: run folder. The method `freeze` creates a missing folder.
        config: config of the run.
        overrides: overrides of the command line, without launch options.
        choices: dictionary from config group (`model` and `data`) to the name of the choice, such as `unet`.
        record: content of `run.json`; empty before `freeze`.
        continues: True to train the run in the folder for more epochs or steps than before.
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
        """Read the run in a folder that already contains `config.yaml` and `run.json`.

        Args:
            folder: run folder.

        Returns:
            The run with the config and the record from the folder.

        Raises:
            InputError: the folder lacks a valid `run.json` or `config.yaml`.
        """
        record = read_record(folder)
        if record is None:
            raise InputError(folder, "run.json is missing", expected="the folder of a run")
        return cls(folder, own_config(folder), record["overrides"], record["choices"], record)

    @property
    def identity(self) -> str:
        """Return the hash that identifies the config of the run, see the function `identity`."""
        return identity(self.config)

    @property
    def state(self) -> State | None:
        """Return the state of the run, such as `done`; None before the first call of `freeze`."""
        state: State | None = self.record.get("state")
        return state

    def freeze(self) -> None:
        """Write `config.yaml` and `run.json` into the run folder.

        If the folder contains an unfinished run with the same identity (hash of the config), this earlier run is resumed, and
        the existing `run.json` is kept.

        If `continues` is True, the folder contains an earlier run, which is trained for more epochs or steps. The record of the
        earlier run is kept, and the file `scores.json` is renamed to `scores-<epochs>-epochs.json`.

        Raises:
            InputError: `continues` is False, and the folder contains the run of another config or a run that has ended. Nothing
                is written.
        """
        own = {"identity": self.identity, "experiment": self.experiment, "overrides": list(self.overrides)}
        earlier = read_record(self.folder)
        if earlier and not self.continues and (earlier["identity"] != own["identity"] or earlier["state"] in ENDED):
            hint = "Choose another hydra.run.dir or remove the folder."
            raise InputError(self.folder, "the folder already contains a finished run, or a run with another config", hint=hint)
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
            self.record |= own | {"choices": dict(self.choices)} | ({} if earlier else self._plugins())
            self.mark("queued")

    def _plugins(self) -> dict[str, Any]:
        """Return the plugins that the config uses, as a dictionary with the key `plugins`; empty without plugins."""
        needed = plugins.used(OmegaConf.to_container(self.config, resolve=True))
        return {"plugins": needed} if needed else {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock of the run folder inside the `with` block, so that no other process trains the run.

        Raises:
            BusyError: another process holds the lock, or has finished the run since this object was created.
        """
        with open_lock(self.folder) as file:
            for _ in range(LOCK_ATTEMPTS):  # `is_held` of another process takes the lock for a moment
                if lock(file, self.folder / LOCK):
                    break
                time.sleep(0.1)
            else:
                hint = "Wait until it has finished, or choose another hydra.run.dir"
                raise BusyError(self.folder, "another process is training in this run folder", hint=hint)
            self.record = read_record(self.folder) or self.record  # another process may have changed it
            if self.state in ENDED:
                raise BusyError(self.folder, "another process has already finished the run in this folder")
            for partial in self.folder.rglob(".partial-*"):  # a process was killed while it wrote
                partial.unlink()
            self._begin_session()
            yield
            if self.state in ENDED:
                (self.folder / LOCK).unlink()

    def _begin_session(self) -> None:
        """Write facts about this process to `run.json`: versions, host and start time.

        The facts about an earlier process of the run are moved to the key `earlier`.
        """
        before = {key: self.record[key] for key in SESSION_KEYS if key in self.record}
        needed = self._plugins()
        for change in plugins.changes(before.get("plugins"), needed.get("plugins", {})):
            echo(change, flush=True)
        if "started" in before:
            self.record["earlier"] = [*self.record.get("earlier", []), before]
        self.record |= needed | {
            "commit": git_commit(),
            "code": code(),
            "versions": versions(),
            "host": platform.node(),
            "started": _now(),
        }

    def add(self, facts: Mapping[str, Any]) -> None:
        """Add values, such as the number of parameters of the model, to `run.json`."""
        self.record |= facts
        write_json(self.folder / "run.json", self.record)

    def mark(self, state: State, error: str | None = None, gpu_fault: bool = False) -> None:
        """Write a new state and the current time to `run.json`.

        Args:
            state: new state.
            error: message of the error that ended the run; None if no error ended the run.
            gpu_fault: True if a fault of the GPU ended the run.
        """
        self.record = {key: value for key, value in self.record.items() if key not in ("error", "gpu_fault")}
        self.record |= {"state": state, "changed": _now()} | ({} if error is None else {"error": error})
        self.record |= {"gpu_fault": True} if gpu_fault else {}
        write_json(self.folder / "run.json", self.record)


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read and check `run.json`, the record of a run.

    Args:
        folder: run folder.

    Returns:
        The record of the run; None if the file is missing or cannot be opened.

    Raises:
        InputError: the file is damaged, or does not contain the record of a run.
    """
    path = folder / "run.json"
    try:
        record = read_json(path)
    except OSError:
        return None
    if not isinstance(record, dict):
        raise InputError(path, "the file is not the record of a run", found=type(record).__name__, expected="a JSON object")
    for key, kind in RECORDED.items():
        if key in record or key in REQUIRED:
            _check_recorded(path, key, record.get(key), kind)
    return record


def _check_recorded(path: Path, key: str, value: Any, kind: Any) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, kind) or not all(isinstance(item, str) for _, item in items):
        expected = TYPES[kind]
        raise InputError(
            f"{path}, {key}", "the record of the run is damaged, or an older version of unbraid wrote it", expected=expected
        )


def own_choices(folder: Path) -> dict[str, str]:
    """Return the names of the model and the data set of a run, as a dictionary with the keys `model` and `data`.

    The dictionary is empty if `run.json` is missing in the folder, as in a published folder.
    """
    path = folder / "run.json"
    try:
        record = read_json(path)
    except OSError:
        return {}
    choices: dict[str, str] = record.get("choices", {}) if isinstance(record, dict) else {}
    _check_recorded(path, "choices", choices, dict)
    return choices


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
