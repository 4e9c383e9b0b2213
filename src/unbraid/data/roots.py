"""Folders of data sets that the user has named, so that the run of somebody else cannot name others.

The config of a run names its data set. A folder that only such a config names is not read until the user has typed it. Every
folder that a command has read data from is kept in `roots.jsonl` in `$XDG_STATE_HOME/unbraid`, by default
`~/.local/state/unbraid`, so whoever has trained a run here types nothing.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from unbraid.runs.documents import parse_json, read_regular
from unbraid.runs.errors import InputError

FILE = "roots.jsonl"


def places_in(options: Any) -> list[str]:
    """Return the texts among the options of a layout that lead out of the root: absolute paths, those with `..` or `~`."""
    if isinstance(options, str):
        path = PurePath(options)
        return [options] if path.is_absolute() or ".." in path.parts or options.startswith("~") else []
    values = options.values() if isinstance(options, Mapping) else options if isinstance(options, list | tuple) else ()
    return [place for value in values for place in places_in(value)]


def unknown_places(places: Iterable[str]) -> list[str]:
    """Return the places that no command of this user has read data from."""
    known = _known()
    return [place for place in places if _spelt(place) not in known]


def remember(places: Iterable[str]) -> None:
    """Keep places that data was read from."""
    if missing := unknown_places(places):
        try:
            _file().parent.mkdir(parents=True, exist_ok=True)
            with _file().open("a") as file:
                file.write("".join(f"{json.dumps(_spelt(place))}\n" for place in missing))
        except OSError:  # a home that cannot be written to: the user types the root again
            return


def _known() -> set[str]:
    try:
        lines = read_regular(_file()).splitlines()
    except OSError:
        return set()
    found = set()
    for number, line in enumerate(lines, start=1):
        try:
            found.add(str(parse_json(line, f"{_file()}, line {number}")))
        except InputError:  # a line that a full disk has cut off
            continue
    return found


def _spelt(place: str) -> str:
    return str(Path(place).expanduser().absolute())


def _file() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "unbraid" / FILE
