"""Fixtures of the fault tests: a faulty disk, commands in processes of their own, and undisturbed results to compare with."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import PROJECT, make_run
from tests.faults import Disk

# A small network whose estimates depend on the input.
SMALL = [
    "model=unet", "model.separator.net.channels=[2,2,4]", "model.separator.stft.n_fft=256",
    "model.separator.stft.hop_length=192", "model.separator.chunk_seconds=1.0", "targets=all",
]  # fmt: skip


@pytest.fixture(scope="session")
def disk(tmp_path_factory):
    """Return a disk whose faults a test selects."""
    return Disk(tmp_path_factory.mktemp("library"))


def command(script, *words):
    """Return the command line of a script."""
    return [sys.executable, PROJECT / script, *map(str, words)]


@pytest.fixture(scope="session")
def separator(tmp_path_factory, songs):
    """Return the folder of a run with an untrained separator and a data set; tests must not change it."""
    return make_run(tmp_path_factory.mktemp("separator") / "run", *SMALL, "data=musdb", f"data.root={songs}")


@pytest.fixture
def process(tmp_path):
    """Return options of `subprocess` for a command in a folder of the test."""
    (tmp_path / "work").mkdir()
    return {"cwd": tmp_path / "work"}


def scores_of(path):
    """Return the scores in a file, without facts about the moment and the machine."""
    scores = json.loads(path.read_text())
    return {key: scores[key] for key in ("protocol", "summary", "tracks")}


@pytest.fixture(scope="session")
def scored(separator, songs, tmp_path_factory):
    """Return the scores of the separator by an undisturbed command, and the words of the command without its output."""
    folder = tmp_path_factory.mktemp("scored")
    words = [f"run={separator}", f"data.root={songs}", "trainer.accelerator=cpu"]
    environment = os.environ | {"UNBRAID_CACHE": str(tmp_path_factory.getbasetemp() / "cache")}
    subprocess.run(
        command("scripts/evaluate.py", *words, f"output={folder}"), check=True, capture_output=True, env=environment, cwd=folder
    )
    (path,) = folder.rglob("scores.json")
    return scores_of(path), words
