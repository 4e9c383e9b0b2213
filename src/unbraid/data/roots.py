"""Record the folders from which this user has read data, for the safe use of runs that another person has trained.

The config of a run contains the path of its data set. A config from another person could name any folder. A command therefore
reads this folder only if the user has used the folder before, or gives the folder on the command line. All folders from which a
command of this user has read data are recorded in the file `roots.jsonl` in `$XDG_STATE_HOME/unbraid`, by default
`~/.local/state/unbraid`. For a run that the user has trained on this machine, the folder is therefore not needed on the command
line.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path, PurePath
from typing import Any

from unbraid.runs.documents import parse_json, read_regular
from unbraid.runs.errors import InputError

FILE = "roots.jsonl"


def places_in(options: Any) -> list[str]:
    """Return the texts in `options` that may be paths outside the data set: absolute paths, and paths with `..` or `~`.

    `options` may contain mappings, lists, and objects of dataclasses, such as layouts.
    """
    options = vars(options) if is_dataclass(options) else options
    if isinstance(options, str):
        path = PurePath(options)
        return [options] if path.is_absolute() or ".." in path.parts or options.startswith("~") else []
    values = options.values() if isinstance(options, Mapping) else options if isinstance(options, list | tuple) else ()
    return [place for value in values for place in places_in(value)]


def unknown_places(places: Iterable[str]) -> list[str]:
    """Return the paths that are not in `roots.jsonl`: no command of this user has read data from these paths."""
    known = _known()
    return [place for place in places if _absolute(place) not in known]


def remember(places: Iterable[str]) -> None:
    """Record in `roots.jsonl` the paths from which a command of this user has read data."""
    if missing := unknown_places(places):
        try:
            _file().parent.mkdir(parents=True, exist_ok=True)
            with _file().open("a") as file:
                file.write("".join(f"{json.dumps(_absolute(place))}\n" for place in missing))
        except OSError:  # the home folder is read-only: the user has to name the root again
            return


def _known() -> set[str]:
    try:
        lines = read_regular(_file()).splitlines()
    except OSError:
        return set()
    known = set()
    for number, line in enumerate(lines, start=1):
        try:
            known.add(str(parse_json(line, f"{_file()}, line {number}")))
        except InputError:  # the line was truncated by a full disk
            continue
    return known


def _absolute(place: str) -> str:
    return str(Path(place).expanduser().absolute())


def _file() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "unbraid" / FILE
