"""Readers with planted faults, each of which the fuzz runner must find."""

import os
import time
from pathlib import Path

from tests.fuzz.targets import Target
from unbraid.runs.errors import InputError


def refuse(folder: Path) -> None:
    raise InputError(folder, "refused")


def raise_another(folder: Path) -> None:
    raise KeyError("x")


def hang(folder: Path) -> None:
    try:
        while True:
            time.sleep(1)
    except Exception:
        pass


def use_memory(folder: Path) -> bytes:
    return bytes(1 << 33)


def crash(folder: Path) -> None:
    os._exit(1)


def execute(folder: Path) -> None:
    os.system("true")  # noqa: S605


def leave_marker(folder: Path) -> None:
    Path("MARKER").touch()


def write_outside(folder: Path) -> None:
    (folder.parent / "x").write_text("")


def write_to_the_next_folder(folder: Path) -> None:
    Path(f"{folder}0").write_text("")


def rename_outside(folder: Path) -> None:
    (folder / "x.json").rename(folder.parent / "x.json")


def delete_outside(folder: Path) -> None:
    (folder.parent / "missing").unlink(missing_ok=True)


def make_a_folder_outside(folder: Path) -> None:
    (folder.parent / "made").mkdir(exist_ok=True)


def print_much(folder: Path) -> None:
    raise InputError(folder, "x" * 30_000)


READERS = [
    refuse, raise_another, hang, use_memory, crash, execute, leave_marker, write_outside, write_to_the_next_folder,
    rename_outside, delete_outside, make_a_folder_outside, print_much,
]  # fmt: skip
TARGETS = {reader.__name__: Target(lambda folder: [{"x.json": b"{}"}], ["x.json"], [reader]) for reader in READERS}
