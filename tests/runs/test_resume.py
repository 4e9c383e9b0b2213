"""Tests of the decision to resume an earlier run."""

import pytest
from omegaconf import OmegaConf

from unbraid.runs import resume
from unbraid.runs.records import Run
from unbraid.runs.resume import resumed_or_new


@pytest.fixture
def runs(tmp_path):
    """Return an interrupted run and a new run of the same config."""
    config = OmegaConf.create({"seed": 3, "resume": "auto"})
    earlier, new = (Run(tmp_path / "day" / name, config, [], {}) for name in ("earlier", "new"))
    earlier.freeze()
    with earlier.held():
        earlier.mark("interrupted")
    new.folder.mkdir()
    return earlier, new


def test_an_interrupted_run_is_resumed(runs):
    earlier, new = runs
    resumed = resumed_or_new(new, pinned=False)
    assert (resumed.folder, resumed.state) == (earlier.folder, "interrupted") and not new.folder.exists()


def test_the_latest_of_several_interrupted_runs_is_resumed(runs):
    earlier, new = runs
    later = Run(earlier.folder.with_name("later"), earlier.config, [], {})
    later.freeze()
    with later.held():
        later.mark("interrupted")
    assert resumed_or_new(new, pinned=False).folder == later.folder


def test_a_named_folder_is_not_replaced(runs):
    assert resumed_or_new(runs[1], pinned=True) is runs[1]


def test_resume_never_starts_a_new_run(runs):
    runs[1].config.resume = "never"
    assert resumed_or_new(runs[1], pinned=False) is runs[1]


def test_a_run_in_another_process_is_not_resumed(runs, monkeypatch):
    monkeypatch.setattr(resume, "is_held", lambda folder: True)
    assert resumed_or_new(runs[1], pinned=False) is runs[1]


@pytest.mark.parametrize("state", ["done", "pruned"])
def test_an_ended_run_is_not_resumed(runs, state):
    runs[0].mark(state)
    assert resumed_or_new(runs[1], pinned=False) is runs[1]
