"""The ledger of a sweep: `ledger.jsonl`, a line for all that happens to its runs, from whichever command and machine."""

import json
import os
import platform
import time
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import Any

from unbraid.runs.documents import parse_json, read_regular
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.records import LEDGER

VERSION = 1
MAX_BYTES = 64 << 20


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
        path = self.folder / LEDGER
        found = read(self.folder)
        if not found:
            self._begin(path)
        elif found[0].get("version") != VERSION:
            raise InputError(
                f"{path}: is of version {found[0].get('version')}, expected {VERSION}; choose another hydra.sweep.dir"
            )
        elif found[0].get("sweep") != self.sweep:
            raise InputError(f"{path}: belongs to another sweep; choose another hydra.sweep.dir")

    def _begin(self, path: Path) -> None:
        """With its first line in it from the first moment, and only once: two commands may come here together."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_write(path, new=True) as partial:
                partial.write_text(json.dumps({"version": VERSION, "sweep": self.sweep}) + "\n")
        except FileExistsError:
            if path.is_symlink():  # to a file that is not there
                raise InputError(path, found="a link", expected="a regular file") from None
            self.open()

    def record(self, run: Path, record: dict[str, Any], **more: Any) -> None:
        """One event, with what the record of the run says of it."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "host": platform.node(), "run": run.name}
        line |= {key: record[key] for key in ("identity", "overrides", "state", "error") if key in record}
        _append(self.folder / LEDGER, json.dumps(line | more) + "\n")


def _append(path: Path, line: str) -> None:
    """In one call, so that lines of several processes do not mix; OSError that names the file where the disk is full."""
    try:
        with path.open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            text = (
                line if file.read(1) in (b"", b"\n") else f"\n{line}"
            ).encode()  # a full disk had room for a part of the last one
            if file.write(text) < len(text):
                raise OSError(ENOSPC, os.strerror(ENOSPC))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def read(folder: Path) -> list[dict[str, Any]]:
    """Return all lines, the first of which names version and sweep. An empty list without a ledger.

    Damaged lines are left out: a full disk cuts lines off, and one bad line must not stop the sweeps of a folder.

    Raises:
        InputError: the file is not regular, is larger than 64 MiB, or its first good line is not the first of a ledger.
    """
    path = folder / LEDGER
    try:
        lines = read_regular(path, MAX_BYTES).splitlines()
    except FileNotFoundError:
        return []
    found = [line for number, text in enumerate(lines, start=1) if (line := _parsed(text, f"{path}, line {number}"))]
    if not found or not {"version", "sweep"} <= {*found[0]}:
        hint = "Choose another hydra.sweep.dir"
        raise InputError(path, "not the ledger of a sweep", expected="a first line with version and sweep", hint=hint)
    return [found[0], *(line for line in found[1:] if isinstance(line.get("run"), str) and isinstance(line.get("state"), str))]


def _parsed(text: bytes, where: str) -> dict[str, Any] | None:
    """Return the object of a line, None if the line is damaged."""
    try:
        line = parse_json(text, where)
    except InputError:
        return None
    return line if isinstance(line, dict) else None


def sweep_of(folder: Path) -> str | None:
    """The identity of the sweep that a folder holds; None where it holds none that can be read."""
    try:
        found = read(folder)
    except InputError:
        return None
    return str(found[0]["sweep"]) if found else None
