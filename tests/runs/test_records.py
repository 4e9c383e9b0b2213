"""Tests of the records of a run folder and of its lock."""

import json
import subprocess
import sys
from threading import Timer

import pytest
from omegaconf import OmegaConf

from tests.conftest import files_below
from unbraid.runs.errors import InputError
from unbraid.runs.locks import is_held
from unbraid.runs.records import BusyError, Run, identity, own_choices, read_record, run_overrides
from unbraid.runs.source_version import versions

CHOICES = {"model": "unet", "data": "musdb"}


def run_of(folder, overrides=(), **config):
    return Run(folder, OmegaConf.create({"seed": 3} | config), list(overrides), CHOICES)


def test_a_run_folder_holds_config_and_state(tmp_path):
    run = run_of(tmp_path / "run", ["seed=3"], twice="${seed}")
    run.freeze()
    assert OmegaConf.load(run.folder / "config.yaml") == {"seed": 3, "twice": 3}
    assert read_record(run.folder)["state"] == "queued"
    with run.held():
        run.mark("running")
        run.mark("done")
    record = json.loads((run.folder / "run.json").read_text())
    assert record["overrides"] == ["seed=3"] and record["state"] == "done" and record["versions"] == versions()
    assert own_choices(run.folder) == CHOICES and own_choices(tmp_path) == {}
    assert len(record["identity"]) == 16 and {"commit", "code", "host", "started", "changed"} <= set(record)
    assert files_below(run.folder) == ["config.yaml", "run.json"]


def test_a_run_is_never_overwritten(tmp_path):
    run = run_of(tmp_path)
    run.freeze()
    with pytest.raises(InputError) as of_another_config:
        run_of(tmp_path, seed=4).freeze()
    run.mark("done")
    with pytest.raises(InputError) as of_an_ended_run:
        run.freeze()
    assert of_another_config.value.where == of_an_ended_run.value.where == str(tmp_path)


def test_an_unfinished_run_keeps_its_first_record(tmp_path):
    run_of(tmp_path, ["seed=3"]).freeze()
    again = run_of(tmp_path, ["other=words"], root="elsewhere")
    again.freeze()
    assert read_record(tmp_path)["overrides"] == ["seed=3"] and OmegaConf.load(tmp_path / "config.yaml").root == "elsewhere"


def test_each_session_of_a_run_is_recorded(tmp_path):
    run = run_of(tmp_path)
    run.freeze()
    for _ in range(2):
        with run.held():
            run.mark("interrupted")
    assert len(run.record["earlier"]) == 1 and set(run.record["earlier"][0]) >= {"commit", "code", "versions", "host"}
    run.mark("failed", "a sentence", gpu_fault=True)
    assert read_record(tmp_path)["error"] == "a sentence" and read_record(tmp_path)["gpu_fault"]
    run.mark("running")
    assert not {"error", "gpu_fault"} & read_record(tmp_path).keys()


HOLD = """
import sys
from pathlib import Path
from unbraid.runs.records import Run
with Run.frozen(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_trains_until_it_is_killed(tmp_path):
    run = run_of(tmp_path)
    run.freeze()
    assert not is_held(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert is_held(tmp_path)
        with pytest.raises(BusyError), run.held():
            pass
        other.kill()
    assert not is_held(tmp_path)
    (tmp_path / ".partial-1-run.json").write_text("{")
    with run.held():
        assert not (tmp_path / ".partial-1-run.json").exists()


def test_training_waits_for_a_lock_of_is_held(tmp_path):
    """`is_held` takes the lock for a moment. Here another process holds it for 0.2 s."""
    run = run_of(tmp_path)
    run.freeze()
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        Timer(0.2, other.kill).start()
        with run.held():
            pass


def test_a_run_that_another_process_finished_is_refused(tmp_path):
    run = run_of(tmp_path)
    run.freeze()
    Run.frozen(tmp_path).mark("done")
    with pytest.raises(BusyError), run.held():
        pass


@pytest.mark.parametrize("text", ["{", "[]", '{"state": "done"}'])
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError) as raised:
        read_record(tmp_path)
    assert raised.value.where.startswith(str(tmp_path / "run.json"))


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError) as raised:
        Run.frozen(tmp_path)
    assert raised.value.where == str(tmp_path)


def test_launch_options_do_not_change_the_identity():
    words = ["seed=1", "launcher=local", "launcher.gpus=[0]", "+plan=true", "resume=never", "resumed=1", "~launcher"]
    assert run_overrides(words) == ["seed=1", "resumed=1"]
    started = {"launcher": {}, "plan": True, "resume": "never"}
    one = OmegaConf.create({"seed": 1, "root": "/a", "data": {"cache_dir": "/b"}})
    assert identity(one) == identity(OmegaConf.create({"seed": 1, "root": "/c", "data": {"cache_dir": "/d"}} | started))
    assert identity(one) != identity(OmegaConf.create({"seed": 2, "root": "/a", "data": {"cache_dir": "/b"}}))
