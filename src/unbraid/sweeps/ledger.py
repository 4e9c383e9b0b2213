"""Read and write the ledger of a sweep: the file `ledger.jsonl`, with one line for each start or end of a run.

Several commands or machines that work on the same sweep write to the same ledger.
"""

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
from unbraid.runs.files import atomic_write, os_error
from unbraid.runs.records import LEDGER

VERSION = 1
OTHER_FOLDER = "Choose another hydra.sweep.dir."
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Ledger:
    """Write the ledger of a sweep: the file `ledger.jsonl` in the sweep folder.

    Args:
        folder: sweep folder.
        sweep: identity of the sweep: a hash of its config.
    """

    folder: Path
    sweep: str

    def open(self) -> None:
        """Make the ledger file, if it is missing. Otherwise check that the existing file belongs to this sweep.

        Raises:
            InputError: the existing ledger file belongs to another sweep, or has another format version.
        """
        path = self.folder / LEDGER
        lines = read(self.folder)
        if not lines:
            self._make(path)
        elif lines[0].get("version") != VERSION:
            version = lines[0].get("version")
            problem = "the format version of the file is not supported"
            raise InputError(path, problem, found=version, expected=str(VERSION), hint=OTHER_FOLDER)
        elif lines[0].get("sweep") != self.sweep:
            raise InputError(path, "the file belongs to another sweep", hint=OTHER_FOLDER)

    def _make(self, path: Path) -> None:
        """Make the ledger file with its first line. If another command has just made the file, check the existing file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_write(path, new=True) as partial:
                partial.write_text(json.dumps({"version": VERSION, "sweep": self.sweep}) + "\n")
        except FileExistsError:
            if path.is_symlink():  # a link to a missing file
                raise InputError(path, found="a symbolic link", expected="a regular file") from None
            self.open()

    def record(self, run: Path, record: dict[str, Any], **more: Any) -> None:
        """Append one event of a run, such as its start, to the ledger.

        Args:
            run: run folder.
            record: content of `run.json`. The entries `identity`, `overrides`, `state` and `error` are copied to the ledger.
            **more: more values for the line of the ledger, by name.
        """
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "host": platform.node(), "run": run.name}
        line |= {key: record[key] for key in ("identity", "overrides", "state", "error") if key in record}
        _append(self.folder / LEDGER, json.dumps(line | more) + "\n")


def _append(path: Path, line: str) -> None:
    """Append a line to a file with one write call, so that the lines of several processes do not mix.

    A full disk raises OSError with the path of the file.
    """
    try:
        with path.open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            starts_line = file.read(1) in (b"", b"\n")  # false if a full disk has truncated the last line
            text = (line if starts_line else f"\n{line}").encode()
            if file.write(text) < len(text):
                raise os_error(ENOSPC, path)
    except OSError as error:
        raise os_error(error.errno or 0, path) from error


def read(folder: Path) -> list[dict[str, Any]]:
    """Read the ledger of a sweep.

    The first line of the ledger contains the format version and the identity (a hash) of the sweep. Damaged lines are skipped,
    because a full disk can truncate a line.

    Args:
        folder: sweep folder.

    Returns:
        The valid lines of the ledger as mappings; an empty list if the ledger is missing.

    Raises:
        InputError: the ledger is not a regular file, is larger than 64 MiB, or does not begin with the line that contains
            version and identity.
    """
    path = folder / LEDGER
    try:
        lines = read_regular(path, MAX_BYTES).splitlines()
    except FileNotFoundError:
        return []
    valid = [line for number, text in enumerate(lines, start=1) if (line := _parsed(text, f"{path}, line {number}"))]
    if not valid or not {"version", "sweep"} <= {*valid[0]}:
        expected = "a first line with the keys 'version' and 'sweep'"
        raise InputError(path, "the file does not list the runs of a sweep", expected=expected, hint=OTHER_FOLDER)
    return [valid[0], *(line for line in valid[1:] if isinstance(line.get("run"), str) and isinstance(line.get("state"), str))]


def _parsed(text: bytes, where: str) -> dict[str, Any] | None:
    """Return the mapping in a line of the ledger (JSON); None if the line is damaged."""
    try:
        line = parse_json(text, where)
    except InputError:
        return None
    return line if isinstance(line, dict) else None


def sweep_of(folder: Path) -> str | None:
    """Return the identity (a hash) of the sweep in a folder; None if the ledger is missing or invalid."""
    try:
        lines = read(folder)
    except InputError:
        return None
    return str(lines[0]["sweep"]) if lines else None
