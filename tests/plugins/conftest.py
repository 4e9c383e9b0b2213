"""Fixtures with the package `mypkg`, and one run that was trained with it."""

import os
import sys
from importlib import invalidate_caches

import pytest

from tests.conftest import load_script
from tests.plugins.package import write
from unbraid.runs.plugins import VARIABLE

SMALL = ["trainer.max_epochs=1", "data.batch_size=2", "data.chunks_per_track=2", "trainer.accelerator=cpu"]
ALL = [
    "model=mine", "data=mine", "augmentation=mine", "optim=mine", "callbacks=mine", "logger=[mine,rows]", "protocol=mine",
    "phase=mine",
]  # fmt: skip


def forget(*names):
    """Remove packages from the modules that Python has imported."""
    for module in [module for module in sys.modules if module.split(".")[0] in names]:
        del sys.modules[module]
    invalidate_caches()


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    yield
    forget("mypkg", "other", "broken", "bare")


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """Return a folder with the package `mypkg`, which tests must not change."""
    folder = tmp_path_factory.mktemp("packages")
    write(folder)
    return folder


@pytest.fixture
def on_path(monkeypatch):
    """Return a function that puts a folder on the path of this process and of its child processes."""

    def add(folder):
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))

    return add


@pytest.fixture
def mypkg(installed, on_path):
    """Put the package `mypkg` on the path, and return its folder."""
    on_path(installed)
    return installed / "mypkg"


@pytest.fixture(scope="session")
def run(installed, tmp_path_factory, songs):
    """Return the folder of a run with one class of each kind; tests must not change it."""
    place = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.syspath_prepend(str(installed))
        patch.chdir(place)
        words = ["plugins=[mypkg]", *ALL, *SMALL, f"data.root={songs}", f"hydra.run.dir={place / 'run'}"]
        patch.setattr(sys, "argv", ["train.py", *words])
        load_script("train.py")()
    forget("mypkg")
    return place / "run"
