"""Decide whether `train.py` resumes or continues an earlier run, or starts a new run.

With `resume=auto`, `train.py` resumes the latest run in the folder `outputs` for which all of these conditions hold:

- The user has not named a folder with `hydra.run.dir`.
- The run has the same identity (hash of its config, see `records.identity`), and the source code of unbraid has not changed.
- The run is neither done nor pruned (ended early by a hyperparameter search).
- No other process trains in the folder.

If there is no such run, `train.py` continues the latest run of the same experiment, see `records.experiment_of`. That run may
be done, but not pruned. Its `trainer.max_epochs` and `trainer.max_steps` must not be larger than those of the new run.

A run with `hydra.run.dir` and a run of a sweep have a fixed folder. `Run.freeze` resumes them if the folder contains an
unfinished run with the same identity. A run with `hydra.run.dir` also continues the run in its folder. `commands.sweep.settle`
finds the folder of an earlier sweep.
"""

import math
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unbraid.runs.config import config_tree, flat
from unbraid.runs.errors import InputError
from unbraid.runs.files import relative_path
from unbraid.runs.locks import LOCK, is_held
from unbraid.runs.metrics_reader import epochs
from unbraid.runs.records import ENDED, LIMITS, Run, read_record, strip_launch_keys
from unbraid.runs.source_version import code
from unbraid.runs.text import echo

NEVER = "type resume=never to start a new run"


@contextmanager
def settled(run: Run, pinned: bool) -> Iterator[Run]:
    """Choose the folder of a run, and keep other commands from choosing it within the block.

    If the block ends before the run is recorded, a new folder is removed. If the user has named a folder that holds the same
    experiment and cannot be continued, InputError is raised.

    Args:
        run: new run; its empty folder is removed if an earlier run is used.
        pinned: True if the user has named the folder of the run.

    Yields:
        The run in its folder.
    """
    chosen = resumed_or_new(run, pinned)
    if pinned or chosen.record:
        yield chosen
        return
    chosen = replace(chosen, folder=_claimed(chosen.folder))
    try:
        yield chosen
    finally:
        if not (chosen.folder / "run.json").exists():
            (chosen.folder / LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # the folder is not empty
                chosen.folder.rmdir()


def _claimed(folder: Path) -> Path:
    """Return the folder, or one with a number behind its name, in which this process alone has created the lock file."""
    for number in count(1):
        path = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        path.mkdir(parents=True, exist_ok=True)
        if (path / "run.json").exists():
            continue
        with suppress(FileExistsError):
            os.close(os.open(path / LOCK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return path
    raise AssertionError


def resumed_or_new(run: Run, pinned: bool) -> Run:
    """Return the earlier run to resume or to continue. If there is no such run, return the new run.

    If the user has named a folder that contains the same experiment and cannot be continued, InputError is raised.

    Args:
        run: new run; its empty folder is removed if an earlier run is resumed or continued.
        pinned: True if the user has named the run folder on the command line.

    Returns:
        The earlier run with the config of the new run, or the new run.
    """
    if run.config.resume != "auto":
        return run
    if pinned:
        return _continued_in_folder(run)
    earlier = records_of(run.folder.parent.parent.glob("*/*/run.json"), (run.identity, run.experiment))
    for folder, record in earlier:
        if record["identity"] == run.identity and record["state"] not in ENDED and not is_held(folder):
            echo(f"resumes {relative_path(folder)}, which was interrupted; {NEVER}")
            return _taken(run, folder, record)
    for folder, record in earlier:
        if record["identity"] == run.identity or record["state"] == "pruned" or is_held(folder):
            continue
        if reason := obstacle(run, folder):
            echo(f"new run, because {relative_path(folder)} cannot be continued: {reason}")
            break
        return _taken(run, folder, record, continues=True)
    return run


def _taken(run: Run, folder: Path, record: dict[str, Any], continues: bool = False) -> Run:
    """Return the run in the folder of an earlier run, and remove its own folder."""
    with suppress(OSError):  # the folder is missing or not empty
        run.folder.rmdir()
    if continues:
        _announce(run, folder)
    return Run(folder, run.config, run.overrides, run.choices, record, continues)


def _continued_in_folder(run: Run) -> Run:
    """Return the run, marked as continuing if its own folder holds the same experiment with a smaller limit."""
    record = read_record(run.folder)
    if record is None or record.get("experiment") != run.experiment or record["state"] == "pruned":
        return run
    if record["identity"] == run.identity:
        return run
    if reason := obstacle(run, run.folder):
        raise InputError(run.folder, f"the run in this folder cannot be continued: {reason}", hint="Choose another folder")
    _announce(run, run.folder)
    return replace(run, record=record, continues=True)


def _announce(run: Run, folder: Path) -> None:
    limits = ", ".join(f"{key}={value}" for key in LIMITS if (value := run.config.trainer.get(key)) not in (None, -1))
    done = len(epochs(folder))
    echo(f"continues {relative_path(folder)} after {done} epoch{'s' * (done != 1)}, up to {limits or 'no limit'}; {NEVER}")


def obstacle(run: Run, folder: Path) -> str | None:
    """Return the reason why a run cannot continue the run of the same experiment in a folder; None if it can.

    Args:
        run: new run.
        folder: folder of the earlier run.

    Returns:
        The reason, or None.
    """
    new: Any = OmegaConf.to_container(run.config, resolve=True)
    try:
        old = config_tree(folder / "config.yaml")
    except InputError as error:
        return str(error)
    for key in LIMITS:
        before, after = (_number(tree["trainer"].get(key)) for tree in (old, new))
        if after < before:
            return f"its trainer.{key} is larger, {before:g}"
    earlier, later = flat(strip_launch_keys(old)), flat(strip_launch_keys(new))
    for key in sorted({*earlier, *later}, reverse=True):  # optim.scheduler before model.scheduler, which refers to it
        if earlier.get(key) != later.get(key) and key != "test" and key not in (f"trainer.{name}" for name in LIMITS):
            return f"{key} depends on the length of the training, found {earlier.get(key)} and {later.get(key)}"
    return None


def _number(limit: int | None) -> float:
    return math.inf if limit is None or limit < 0 else limit


def records_of(paths: Iterable[Path], wanted: Collection[str]) -> list[tuple[Path, dict[str, Any]]]:
    """Find runs with one of the given identities that were trained with the current source code.

    A `run.json` that is damaged or that an older version of unbraid wrote is skipped.

    Args:
        paths: paths of `run.json` files.
        wanted: identities of runs or of experiments, see `records.identity` and `records.experiment_of`.

    Returns:
        Folder and record of each run, the latest first.
    """
    changed = []
    for path in paths:
        try:
            record = read_record(path.parent) or {}
        except InputError:
            continue
        if {record.get("identity"), record.get("experiment")} & {*wanted} and record.get("code") == code():
            changed.append((record.get("changed", ""), path.parent, record))
    return [(folder, record) for _, folder, record in sorted(changed, key=lambda item: item[:2], reverse=True)]
