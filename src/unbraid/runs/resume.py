"""Decide whether a single run resumes an earlier run.

`train.py` with `resume=auto` resumes the latest run folder below the folder of outputs if all of these conditions hold:

- The user has not named a folder with `hydra.run.dir`.
- The resolved config has the same identity, see `records.identity`, and the source code of unbraid has not changed.
- The run has neither ended nor been pruned.
- No other process trains in the folder.

A run with `hydra.run.dir` and a run of a sweep have a fixed folder. `Run.freeze` resumes them if that folder holds an
unfinished run of the same identity. `commands.sweep.settle` finds the folder of an earlier sweep.
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
    """Choose between a new run and the earlier run that it resumes.

    Args:
        run: new run; its empty folder is removed if an earlier run is resumed.
        pinned: True if the user has named the folder of the run.

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
    """Find the runs that have not ended and have the wanted identity and the current source code.

    Files that are not the record of a run, or are of an older version, are skipped.

    Args:
        paths: paths of `run.json` files.
        wanted: identity of the run.

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
