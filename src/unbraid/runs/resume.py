"""Decide whether `train.py` resumes an earlier run or starts a new run.

With `resume=auto`, `train.py` resumes the latest run in the folder `outputs` for which all of these conditions hold:

- The user has not named a folder with `hydra.run.dir`.
- The run has the same identity (hash of its config, see `records.identity`), and the source code of unbraid has not changed.
- The run is neither done nor pruned (ended early by a hyperparameter search).
- No other process trains in the folder.

A run with `hydra.run.dir` and a run of a sweep have a fixed folder. `Run.freeze` resumes them if the folder contains an
unfinished run with the same identity. `commands.sweep.settle` finds the folder of an earlier sweep.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from unbraid.runs.errors import InputError
from unbraid.runs.files import relative_path
from unbraid.runs.records import ENDED, Run, is_held, read_record
from unbraid.runs.source_version import code
from unbraid.runs.text import echo


def resumed_or_new(run: Run, pinned: bool) -> Run:
    """Return the interrupted earlier run to resume. If no earlier run can be resumed, return the new run.

    Args:
        run: new run; its empty folder is removed if an earlier run is resumed.
        pinned: True if the user has named the run folder on the command line.

    Returns:
        The earlier run with the config of the new run, or the new run.
    """
    if run.config.resume != "auto" or pinned:
        return run
    folders = unfinished(run.folder.parent.parent.glob("*/*/run.json"), run.identity)
    folder = next((folder for folder in folders if not is_held(folder)), None)
    if folder is None:
        return run
    echo(f"resumes {relative_path(folder)}, which was interrupted; type resume=never to start a new run")
    with suppress(OSError):  # the folder is missing or not empty
        run.folder.rmdir()
    return Run(folder, run.config, run.overrides, run.choices, read_record(folder) or {})


def unfinished(paths: Iterable[Path], wanted: str) -> list[Path]:
    """Find unfinished runs with a given identity that were trained with the current source code.

    A `run.json` that is damaged or that an older version of unbraid wrote is skipped.

    Args:
        paths: paths of `run.json` files.
        wanted: identity of the run, a hash of its config, see `records.identity`.

    Returns:
        The run folders, the latest first.
    """
    changed = []
    for path in paths:
        try:
            record = read_record(path.parent) or {}
        except InputError:
            continue
        if record.get("identity") == wanted and record["state"] not in ENDED and record.get("code") == code():
            changed.append((record.get("changed", ""), path.parent))
    return [folder for _, folder in sorted(changed, reverse=True)]
