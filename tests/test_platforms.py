"""Modules import neither `fcntl` nor `resource`, which Windows lacks, nor torchaudio, before a function needs them."""

import ast
import os
import subprocess
import sys

import pytest

from tests.test_imports import PROJECT, SOURCE

FILES = sorted(path for folder in (SOURCE, SOURCE.parent / "hydra_plugins") for path in folder.rglob("*.py"))
LATE = {"fcntl", "resource", "pwd", "grp", "termios", "torchaudio"}
# Windows has neither these modules nor these signals and flags. Lightning and psutil are imported before they are removed.
WITHOUT = """
import os, signal, sys
import psutil, pytorch_lightning
from importlib import import_module
for name in ("fcntl", "resource", "torchaudio"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGUSR1", "SIGKILL"):
    delattr(signal, name)
for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY"):
    delattr(os, name)
for name in sys.argv[1:]:
    import_module(name)
from unbraid.inference.loading import load
from unbraid.runs.documents import open_regular
with open_regular(__import__("pathlib").Path(load.__code__.co_filename)) as file:
    assert file.read()
"""


def early_imports(tree: ast.AST) -> set[str]:
    """Return the modules that a file imports outside of functions."""
    names = set[str]()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names |= early_imports(node)
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(SOURCE.parent)))
def test_modules_import_platform_modules_late(file):
    assert early_imports(ast.parse(file.read_text())).isdisjoint(LATE)


def test_early_imports_are_found():
    tree = ast.parse("try:\n    import fcntl\nexcept ImportError:\n    pass\ndef f():\n    import resource\n")
    assert early_imports(tree) == {"fcntl"}


def test_modules_are_imported_without_posix_and_torchaudio():
    optional = {
        "inference.web",
        "sweeps.launchers.ray",
        "sweeps.search",
        "inference.export",
        "commands.dashboard",
        "commands.app",
    }
    names = [str(path.relative_to(SOURCE).with_suffix("")).replace(os.sep, ".") for path in FILES if SOURCE in path.parents]
    names = [name for name in names if not name.startswith(tuple(optional)) and not name.endswith(("__init__", "wandb_page"))]
    words = [sys.executable, "-c", WITHOUT, *(f"unbraid.{name}" for name in names)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
