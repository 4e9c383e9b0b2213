"""Decide whether `train.py` resumes an interrupted run, trains a finished run further, or starts a new run.

With `resume=auto`, `train.py` resumes the latest run in the folder `outputs` for which all of these conditions hold:

- The user has not named a folder with `hydra.run.dir`.
- The run has the same identity (hash of its config, see `records.identity`), and the source code of unbraid has not changed.
- The run is neither done nor pruned (ended early by a hyperparameter search).
- No other process trains in the folder.

If no run satisfies these conditions, `train.py` continues an earlier run, that is, trains the earlier run for more epochs or
steps. The earlier run must differ only in the length of training (see `records.experiment_of`), and must not be pruned. The
values of `trainer.max_epochs` and `trainer.max_steps` must not be larger in the earlier run than in the new run.

If the user names a folder with `hydra.run.dir`, only the run in this folder can be resumed or continued. For a sweep,
`commands.sweep_folder.settle` finds the folder of the earlier sweep, and `Run.freeze` resumes the unfinished runs in it.
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
    """Choose the folder of a run. Inside the `with` block, no other command can choose the same folder.

    A new folder is removed if the folder does not contain `run.json` at the end of the block. InputError is raised if the
    command line names the folder of an earlier run that cannot be continued, see `obstacle`.

    Args:
        run: new run. The empty folder of the new run is removed if an earlier run is resumed or continued.
        pinned: True if the command line contains the path of the run folder.

    Yields:
        The run with its final folder.
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
    """Reserve a new run folder with a lock file, and return the folder.

    If another process has reserved the folder, a number is appended to the name of the folder.
    """
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
    """Return the earlier run that is resumed or continued. If no earlier run is suitable, return the new run.

    InputError is raised if the command line names the folder of an earlier run that cannot be continued, see `obstacle`.

    Args:
        run: new run. The empty folder of the new run is removed if an earlier run is used.
        pinned: True if the command line contains the path of the run folder.

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
            echo(f"new run, because {relative_path(folder)} cannot be trained further: {reason}")
            break
        return _taken(run, folder, record, continues=True)
    return run


def _taken(run: Run, folder: Path, record: dict[str, Any], continues: bool = False) -> Run:
    """Return a copy of the new run with the folder of an earlier run, and remove the empty folder of the new run."""
    with suppress(OSError):  # the folder is missing or not empty
        run.folder.rmdir()
    if continues:
        _announce(run, folder)
    return Run(folder, run.config, run.overrides, run.choices, record, continues)


def _continued_in_folder(run: Run) -> Run:
    """Return the new run. If its folder contains a shorter run of the same experiment, set `continues` in the returned run.

    If the shorter run cannot be continued, InputError is raised.
    """
    record = read_record(run.folder)
    if record is None or record.get("experiment") != run.experiment or record["state"] == "pruned":
        return run
    if record["identity"] == run.identity:
        return run
    if reason := obstacle(run, run.folder):
        raise InputError(
            run.folder, f"the run in this folder cannot be trained further: {reason}", hint="Choose another folder"
        )
    _announce(run, run.folder)
    return replace(run, record=record, continues=True)


def _announce(run: Run, folder: Path) -> None:
    limits = ", ".join(f"{key}={value}" for key in LIMITS if (value := run.config.trainer.get(key)) not in (None, -1))
    done = len(epochs(folder))
    echo(f"continues {relative_path(folder)} after {done} epoch{'s' * (done != 1)}, up to {limits or 'no limit'}; {NEVER}")


def obstacle(run: Run, folder: Path) -> str | None:
    """Return the reason why an earlier run cannot be continued (trained for more epochs or steps); None if it can be continued.

    Args:
        run: new run.
        folder: folder of the earlier run.

    Returns:
        The reason as text for an error message, or None.
    """
    new: Any = OmegaConf.to_container(run.config, resolve=True)
    try:
        old = config_tree(folder / "config.yaml")
    except InputError as error:
        return str(error)
    for key in LIMITS:
        before, after = (_number(tree["trainer"].get(key)) for tree in (old, new))
        if after < before:
            return f"its trainer.{key}={before:g} is larger than in the new run"
    earlier, later = flat(strip_launch_keys(old)), flat(strip_launch_keys(new))
    for key in sorted({*earlier, *later}, reverse=True):  # optim.scheduler before model.scheduler, which refers to it
        if earlier.get(key) != later.get(key) and key != "test" and key not in (f"trainer.{name}" for name in LIMITS):
            return f"{key} depends on the length of the training, found {earlier.get(key)} and {later.get(key)}"
    return None


def _number(limit: int | None) -> float:
    return math.inf if limit is None or limit < 0 else limit


def records_of(paths: Iterable[Path], wanted: Collection[str]) -> list[tuple[Path, dict[str, Any]]]:
    """Find the runs that have one of the wanted hashes and were trained with the current source code.

    Invalid `run.json` files, such as files of an older version of unbraid, are skipped.

    Args:
        paths: paths of `run.json` files.
        wanted: hashes from `records.identity` or `records.experiment_of`.

    Returns:
        Pairs of the run folder and the record of each run. The latest run comes first.
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
