"""What a run folder says of itself."""

import json
import subprocess
import sys
from threading import Timer

import pytest
from omegaconf import OmegaConf

from tests.conftest import files_below
from unbraid.runs.config import versions
from unbraid.runs.errors import InputError
from unbraid.runs.records import BusyError, Run, identity, is_held, own_choices, read_record, run_overrides

CHOICES = {"model": "unet", "data": "musdb"}


def run_of(folder, overrides=(), **config):
    return Run(folder, OmegaConf.create({"seed": 3} | config), list(overrides), CHOICES)


def test_a_run_folder_says_what_is_run_and_how_far_it_is(tmp_path):
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
    with pytest.raises(InputError, match="holds a run already"):
        run_of(tmp_path, seed=4).freeze()
    run.mark("done")
    with pytest.raises(InputError, match="holds a run already"):
        run.freeze()


def test_a_run_that_did_not_end_goes_on_under_its_first_records(tmp_path):
    run_of(tmp_path, ["seed=3"]).freeze()
    again = run_of(tmp_path, ["other=words"], root="elsewhere")
    with pytest.raises(InputError, match="holds a run already"):
        run_of(tmp_path, other=1).freeze()
    again.freeze()
    assert read_record(tmp_path)["overrides"] == ["seed=3"] and OmegaConf.load(tmp_path / "config.yaml").root == "elsewhere"


def test_each_session_of_a_run_is_recorded(tmp_path):
    run = run_of(tmp_path)
    run.freeze()
    for _ in range(2):
        with run.held():
            run.mark("interrupted")
    assert len(run.record["earlier"]) == 1 and set(run.record["earlier"][0]) >= {"commit", "code", "versions", "host"}
    run.mark("failed", "a sentence")
    assert read_record(tmp_path)["error"] == "a sentence"
    run.mark("running")
    assert "error" not in read_record(tmp_path)


HOLD = """
import sys
from pathlib import Path
from unbraid.runs.records import Run
with Run.frozen(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_until_it_is_killed(tmp_path):
    run = run_of(tmp_path)
    run.freeze()
    assert not is_held(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert is_held(tmp_path)
        with pytest.raises(BusyError, match="another process is at this run"), run.held():
            pass
        other.kill()
    assert not is_held(tmp_path)
    (tmp_path / ".partial-1-run.json").write_text("{")
    with run.held():
        assert not (tmp_path / ".partial-1-run.json").exists()


def test_who_asks_whether_a_run_is_held_stands_in_nobodys_way(tmp_path):
    """To ask is to have the lock for a moment, here a long one."""
    run = run_of(tmp_path)
    run.freeze()
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        Timer(0.2, other.kill).start()
        with run.held():
            pass


def test_what_another_process_has_done_meanwhile_is_not_done_again(tmp_path):
    run = run_of(tmp_path)
    run.freeze()
    Run.frozen(tmp_path).mark("done")
    with pytest.raises(BusyError, match="has done this run meanwhile"), run.held():
        pass


@pytest.mark.parametrize("text", ["{", "[]", '{"state": "done"}'])
def test_what_is_no_record_is_said(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError) as raised:
        read_record(tmp_path)
    assert raised.value.where.startswith(str(tmp_path / "run.json"))


def test_a_folder_without_a_run_is_said(tmp_path):
    with pytest.raises(InputError, match=r"has no run\.json, expected the folder of a run"):
        Run.frozen(tmp_path)


def test_how_a_run_is_started_is_not_what_it_is():
    words = ["seed=1", "launcher=local", "launcher.gpus=[0]", "+plan=true", "resume=never", "resumed=1", "~launcher"]
    assert run_overrides(words) == ["seed=1", "resumed=1"]
    started = {"launcher": {}, "plan": True, "resume": "never"}
    one = OmegaConf.create({"seed": 1, "root": "/a", "data": {"cache_dir": "/b"}})
    assert identity(one) == identity(OmegaConf.create({"seed": 1, "root": "/c", "data": {"cache_dir": "/d"}} | started))
    assert identity(one) != identity(OmegaConf.create({"seed": 2, "root": "/a", "data": {"cache_dir": "/b"}}))
