"""Identify the source code with which a run is trained: hashes, git commit and versions of packages."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "torch",
    "torchaudio",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "av",
    "soundfile",
    "soxr",
    "unbraid",
)
OPTIONAL = "torchaudio"  # few models need it


@cache
def code() -> str:
    """Return a hash of the Python files of the running unbraid, including changes that are not committed to git."""
    return source_hash([Path(__file__).parents[1]])


def source_hash(places: Iterable[Path]) -> str:
    """Return a hash of Python files, 16 characters long.

    Args:
        places: Python files, or folders that contain Python files.

    Returns:
        The hash. The same files in another folder have the same hash.
    """
    total = hashlib.sha256()
    for place in places:
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            name = path.relative_to(place if place.is_dir() else place.parent)
            total.update(str(name).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def git_commit() -> str | None:
    """Return the git commit of unbraid, followed by `+changes` if tracked files have changed; None outside a git repository."""
    git = ["git", "-C", str(Path(__file__).parent)]
    without_locks = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # many runs may call git at the same time
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = [*git, "status", "--porcelain", "-uno"]
        changes = subprocess.run(status, capture_output=True, text=True, check=True, env=without_locks).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changes else commit


def versions() -> dict[str, str]:
    """Return a dictionary from name to version, for Python and for the packages on which results may depend."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            if name != OPTIONAL:
                raise
    return found
