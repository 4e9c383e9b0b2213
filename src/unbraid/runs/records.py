"""What a run folder says of itself: `config.yaml`, what is run, `run.json`, how far it has come, and what it has measured.

Whoever trains in a folder holds its lock, which the kernel lets go however the process ends. So a record that says `running`
while nobody holds the lock is that of a run that was killed.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal

from omegaconf import DictConfig, OmegaConf

from unbraid.runs.config import own_config, versions, write_json
from unbraid.runs.documents import open_regular, read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write

State = Literal["queued", "running", "interrupted", "failed", "pruned", "done"]
ENDED = ("pruned", "done")  # nothing is left to do
LOCK = ".lock"
LEDGER = "ledger.jsonl"  # of a sweep, in its folder
TRIES = 5
PATH_KEYS = {"root", "cache_dir"}
# How a run is started and followed, not what it is.
OUTSIDE = {"launcher", "resume", "plan", "power", "power_from", "sweeper", "search", "logger"}
# Keys of a record that are read, and the type of each.
RECORDED: dict[str, Any] = {
    "identity": str,
    "overrides": list,
    "choices": dict,
    "state": str,
    "error": str,
    "changed": str,
    "code": str,
}
TYPES = {str: "a text", list: "a list of texts", dict: "texts by key"}
REQUIRED = ("identity", "overrides", "choices", "state")
CARRIED = ("commit", "code", "versions", "host", "started")  # of each session of a run
# A path begins at the start or after one of these; `://` is that of an address.
BEGINS = r"""(?<![^\s=:,(\[{'"])(?!(?<=:)//)(?:file:|~[^/\s,]*|\.\.?)?/"""
PLACE = re.compile(rf"{BEGINS}/*(?:(?:(?!{BEGINS}).)*(?!{BEGINS})/(?=[^\s/,)\]}}'\"]))?", re.DOTALL)
USER = re.compile(r"(?<=://)[^/?#\s]*@")


class BusyError(InputError):
    """Another process is at the run."""


def identity(config: DictConfig) -> str:
    """A hash of the resolved config without paths and without how it is started: the same on every machine."""
    tree: Any = OmegaConf.to_container(config, resolve=True)
    return digest(strip_launch_keys(tree))


def strip_launch_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of values without paths and without how a run is started."""
    kept: dict[str, Any] = _without_paths({key: value for key, value in tree.items() if key not in OUTSIDE})
    return kept


def redact_paths(value: Any) -> Any:
    """A tree in which of each path that begins at the root, at home, here or above only the last name is left.

    Wherever in a string: in lists, quoted, after a key. What stands between a path and the next one counts as its own up to the
    last slash, for names may hold anything. Addresses lose the user's name and password.
    """
    if isinstance(value, Mapping):
        return {redact_paths(key): redact_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_paths(item) for item in value]
    return PLACE.sub("…/", USER.sub("", value)) if isinstance(value, str) else value


def run_overrides(words: Sequence[str]) -> list[str]:
    """Those overrides that say what a run is."""
    return [word for word in words if re.split(r"[=./@]", word.lstrip("+~"))[0] not in OUTSIDE]


def launch_overrides(words: Sequence[str]) -> set[str]:
    """The others: those that say how a run is started."""
    return {*words} - {*run_overrides(words)}


def sweep_overrides(words: Sequence[str]) -> list[str]:
    """Those of them that are no paths, in an order of their own: the same on every machine."""
    return sorted(word for word in run_overrides(words) if word.lstrip("+~").split("=")[0].split(".")[-1] not in PATH_KEYS)


def arm(words: Sequence[str]) -> str:
    """What runs that differ by their seed have in common, as it was typed, without paths."""
    return " ".join(word for word in sweep_overrides(words) if not word.startswith("seed=")) or "as it is"


def digest(value: Any) -> str:
    """Of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items() if key not in PATH_KEYS}
    return [_without_paths(item) for item in value] if isinstance(value, list) else value


@dataclass
class Run:
    """A run folder.

    Args:
        folder: of the run; made if missing.
        config: of the run.
        overrides: as typed.
        choices: which model and which data, by name.
    """

    folder: Path
    config: DictConfig
    overrides: Sequence[str]
    choices: Mapping[str, str]
    record: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def frozen(cls, folder: Path) -> "Run":
        """The run that a folder holds; InputError where it holds none."""
        record = read_record(folder)
        if record is None:
            raise InputError(f"{folder}: has no run.json, expected the folder of a run")
        return cls(folder, own_config(folder), record["overrides"], record["choices"], record)

    @property
    def identity(self) -> str:
        """Of the config."""
        return identity(self.config)

    @property
    def state(self) -> State | None:
        """As recorded; None before there is a record."""
        found: State | None = self.record.get("state")
        return found

    def freeze(self) -> None:
        """Write the records, or find those of the same run, which is not done: then it will go on.

        Raises:
            InputError: the folder holds another run, or one that is done; neither is ever overwritten.
        """
        own = self.identity
        if there := read_record(self.folder):
            if there["identity"] != own or there["state"] in ENDED:
                raise InputError(f"{self.folder}: holds a run already; choose another hydra.run.dir or remove it")
            self.record = there
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / "config.yaml") as partial:  # the paths may be others than before
            partial.write_text(OmegaConf.to_yaml(self.config, resolve=True))
        if not there:
            self.record = {"identity": own, "overrides": list(self.overrides), "choices": dict(self.choices)}
            self.mark("queued")

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this process trains in the folder; `BusyError` where another one does, or has come to the end of it."""
        with open(self.folder / LOCK, "a", opener=_open_own) as file:
            for _ in range(TRIES):  # who only asks whether it is held has it for a moment
                if _lock(file):
                    break
                time.sleep(0.1)
            else:
                raise BusyError(f"{self.folder}: another process is at this run")
            self.record = read_record(self.folder) or self.record  # another process may have been at it a moment ago
            if self.state in ENDED:
                raise BusyError(f"{self.folder}: another process has done this run meanwhile")
            for partial in self.folder.rglob(".partial-*"):  # of a process that was killed
                partial.unlink()
            self._begin_session()
            yield
            if self.state in ENDED:  # nobody will want it any more
                (self.folder / LOCK).unlink()

    def _begin_session(self) -> None:
        """The record of the process that goes on now; those of processes before it are kept."""
        before = {key: self.record[key] for key in CARRIED if key in self.record}
        if before:
            self.record["earlier"] = [*self.record.get("earlier", []), before]
        self.record |= {
            "commit": _commit(),
            "code": code(),
            "versions": versions(),
            "host": platform.node(),
            "started": _now(),
        }

    def mark(self, state: State, error: str | None = None, gpu_fault: bool = False) -> None:
        """Record the state with the time, and the sentence that a run has failed with."""
        self.record = {key: value for key, value in self.record.items() if key not in ("error", "gpu_fault")}
        self.record |= {"state": state, "changed": _now()} | ({} if error is None else {"error": error})
        self.record |= {"gpu_fault": True} if gpu_fault else {}
        write_json(self.folder / "run.json", self.record)


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a run, None if the folder has no `run.json` that can be opened.

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
        raise InputError(f"{path}, {key}", "not the record of a run, or of an older unbraid", expected=expected)


def own_choices(folder: Path) -> dict[str, str]:
    """Return the names of the model and the data of a run; nothing if the folder has no such record, as a published one."""
    path = folder / "run.json"
    try:
        record = read_json(path)
    except OSError:
        return {}
    choices: dict[str, str] = record.get("choices", {}) if isinstance(record, dict) else {}
    _check_recorded(path, "choices", choices, dict)
    return choices


def is_held(folder: Path) -> bool:
    """Whether another process trains in the folder, on whichever machine."""
    try:
        with open_regular(folder / LOCK) as file:
            return not _lock(file, fcntl.LOCK_SH)  # needs no right to write
    except FileNotFoundError:
        return False


def _open_own(path: str, flags: int) -> int:
    """Open a file of a run, which may be a stranger's: a link is not followed, and nobody waits at a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def _lock(file: IO[Any], kind: int = fcntl.LOCK_EX) -> bool:
    """Whether this process has it from now on. Forked workers of a loader do not inherit this kind, and outlive a kill."""
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # whichever a file system says
        return False
    return True


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


@cache
def code() -> str:
    """A hash of the package's own source, committed or not."""
    package = Path(__file__).parents[1]
    files = sorted(package.rglob("*.py"))
    return digest({str(path.relative_to(package)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})


def _commit() -> str | None:
    """The project's commit, with `+changes` where the working tree differs; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # many runs ask at once
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = [*git, "status", "--porcelain", "-uno"]
        changes = subprocess.run(status, capture_output=True, text=True, check=True, env=quiet).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changes else commit


def sweep_name(run: Path) -> str | None:
    """Return the name of the sweep that a run folder is part of, or None."""
    return run.parent.name if (run.parent / LEDGER).is_file() else None
