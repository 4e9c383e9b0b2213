"""The ledger of a sweep: `ledger.jsonl`, a line for all that happens to its runs, from whichever command and machine."""

import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unbraid.errors import InputError
from unbraid.files import written_whole

VERSION = 1
NAME = "ledger.jsonl"


@dataclass(frozen=True)
class Ledger:
    """Of a sweep folder.

    Args:
        folder: of the sweep.
        sweep: its identity.
    """

    folder: Path
    sweep: str

    def open(self) -> None:
        """Begin it, or see that it is that of the same sweep.

        Raises:
            InputError: it belongs to another sweep, or was written by another version.
        """
        path = self.folder / NAME
        found = read(self.folder)
        if not found:
            self.folder.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as partial:
                partial.write_text(json.dumps({"version": VERSION, "sweep": self.sweep}) + "\n")
        elif found[0].get("version") != VERSION:
            raise InputError(
                f"{path}: is of version {found[0].get('version')}, expected {VERSION}; choose another hydra.sweep.dir"
            )
        elif found[0].get("sweep") != self.sweep:
            raise InputError(f"{path}: belongs to another sweep; choose another hydra.sweep.dir")

    def note(self, run: Path, record: dict[str, Any], **more: Any) -> None:
        """One event, with what the record of the run says of it."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "host": platform.node(), "run": run.name}
        line |= {key: record[key] for key in ("identity", "overrides", "state", "error") if key in record}
        descriptor = os.open(self.folder / NAME, os.O_WRONLY | os.O_APPEND)
        try:  # one call, so that lines of several processes do not mix
            os.write(descriptor, (json.dumps(line | more) + "\n").encode())
        finally:
            os.close(descriptor)


def read(folder: Path) -> list[dict[str, Any]]:
    """All lines, the first of which says what they are, less those that a full disk has cut off; empty without a ledger."""
    try:
        lines = (folder / NAME).read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    if not found or not isinstance(found[0], dict) or not {"version", "sweep"} <= {*found[0]}:
        raise InputError(f"{folder / NAME}: is no ledger of a sweep; choose another hydra.sweep.dir")
    return found


def sweep_name(run: Path) -> str | None:
    """Of the sweep that a run folder lies in; None where it lies in none."""
    return run.parent.name if (run.parent / NAME).is_file() else None


def sweep_of(folder: Path) -> str | None:
    """The identity of the sweep that a folder holds; None where it holds none that can be read."""
    try:
        found = read(folder)
    except InputError:
        return None
    return str(found[0]["sweep"]) if found else None
