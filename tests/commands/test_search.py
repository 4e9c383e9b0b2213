"""`sweeper=optuna` finds the best choice, runs each trial once after any interruption, and prunes poor trials."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.commands.conftest import has_names
from tests.conftest import PROJECT, load_script
from unbraid.commands.train import train_frozen
from unbraid.evaluation.reconstruction import Reconstructions
from unbraid.runs.errors import InputError
from unbraid.runs.records import read_record
from unbraid.sweeps.launchers import Local
from unbraid.sweeps.ledger import read

SEARCH = ["-m", "sweeper=optuna", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra:job.num}"]
DIGITS = ["data=digits", "data.size=8", "trainer.accelerator=cpu"]
PCA = [*SEARCH, *DIGITS, "model=pca", "hydra.sweeper.objective=test/error/images", "hydra.sweeper.sampler=grid"]
AE = [*SEARCH, *DIGITS, "model=ae", "model.net.code=2", "data.batch_size=512", "hydra.sweeper.sampler=grid"]
RATES = "optim.optimizer.lr=1e-2,1e-7"


def run_here(self, jobs, watch):
    """Replace `Local.run`: run the jobs in this process one after the other, which saves the imports of new processes."""
    for job in jobs:
        watch.started(job, "here")
        with suppress(InputError):
            train_frozen(job.folder)
        watch.ended(job, *job.ending())


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(Local, "run", run_here)
    monkeypatch.setattr(Reconstructions, "_draw", lambda *_: None)  # pictures take most of the time


@pytest.fixture
def sweep(tmp_path):
    return tmp_path / "work/sweep"


def table(sweep):
    with (sweep / "search.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def states(sweep):
    return [read_record(folder)["state"] for folder in sorted(path.parent for path in sweep.glob("*/run.json"))]


def epochs(run):
    return len((run / "metrics.csv").read_text().splitlines()) - 1


def runs_begun(sweep):
    return [line["run"] for line in read(sweep)[1:] if line["state"] == "running"]


@pytest.mark.slow
def test_the_best_choice_is_found_again(cli, here, sweep):
    words = [*PCA, "model.net.code=2,24", "hydra.sweeper.n_jobs=2"]
    status, out, err = cli(*words)
    assert status == 0, err
    errors = [json.loads((sweep / f"{n}/scores.json").read_text())["summary"]["images"]["error"]["mean"] for n in (0, 1)]
    assert [float(row["value"]) for row in table(sweep)] == errors and errors[1] < errors[0]
    assert (
        f"best    test/error/images {errors[1]:.6g} in trial 1\n        model.net.code=24\nrun     sweep/1\ntrials  2 done"
        in out
    )
    status, again, err = cli(*words)
    assert status == 0 and again.strip() == out[out.index("best  ") :].strip()
    assert runs_begun(sweep) == ["0", "1"]


@pytest.mark.slow
def test_a_search_continues_and_another_is_refused(cli, here, sweep):
    words = [*PCA, "model.net.code=2,3,4"]
    for trials in (1, 2):
        assert cli(*words, f"hydra.sweeper.n_trials={trials}")[0] == 0
    assert runs_begun(sweep) == ["0", "1"]
    status, _, err = cli(*PCA, "model.net.code=2,5")
    assert status == 1 and f"{sweep}/study.journal" in err
    assert states(sweep) == ["done", "done"]


@pytest.mark.slow
def test_a_pruned_run_ends_early(cli, here, sweep):
    words = [*AE, "optim.optimizer.lr=1e-2,1e-7,2e-2", "trainer.max_epochs=4", "hydra.sweeper.pruner=median"]
    words += ["hydra.sweeper.startup_trials=1", "hydra.sweeper.warmup_epochs=1"]
    status, out, err = cli(*words)
    assert status == 0, err
    assert states(sweep) == ["done", "pruned", "done"] and [epochs(sweep / n) for n in "012"] == [4, 2, 4]
    assert not (sweep / "1/scores.json").exists() and "trials  2 done, 1 pruned" in out
    assert [row["state"] for row in table(sweep)] == states(sweep) and read(sweep)[4]["state"] == "pruned"
    assert cli(*words)[0] == 0 and runs_begun(sweep) == [*"012"]
    # as if the run had been killed after its last checkpoint
    record = json.loads((sweep / "1/run.json").read_text())
    (sweep / "1/run.json").write_text(json.dumps(record | {"state": "running"}))
    train_frozen(sweep / "1")
    assert states(sweep) == ["done", "pruned", "done"] and epochs(sweep / "1") == 2


@pytest.mark.slow
def test_a_failed_trial_is_repeated(cli, here, sweep):
    words = [*AE, "optim.optimizer.lr=1e30,1e-2", "trainer.max_epochs=1"]
    for _ in range(2):
        status, out, err = cli(*words)
        assert status == 1 and has_names(err.splitlines()[-1], "error: 0")
        assert states(sweep) == ["failed", "done"] and "trials  1 failed, 1 done" in out and "in trial 1" in out
    assert runs_begun(sweep) == ["0", "1", "0"] and "loss" in table(sweep)[0]["error"]


@pytest.mark.parametrize("objective", ["valid/los", "test/NSDR/vocals"])
def test_an_unknown_objective_ends_the_search(cli, here, sweep, objective):
    status, _, err = cli(*AE, RATES, "trainer.max_epochs=2", f"hydra.sweeper.objective={objective}")
    assert status == 1 and has_names(err, f"error: hydra.sweeper.objective {objective}")
    assert len(states(sweep)) == 1
    assert objective != "valid/los" or epochs(sweep / "0") == 1


@pytest.mark.slow
def test_a_condition_avoids_invalid_combinations(cli, here, sweep):
    words = [*AE, "model=ae,pca", "model.net.tied=false", "trainer.max_epochs=1"]  # pca has nothing to tie
    status, out, err = cli(*words)
    assert status == 1 and has_names(err.splitlines()[-1], "error: trial 1")
    assert has_names(out, "trial 1: model=pca model.net.tied")
    assert [row["state"] for row in table(sweep)] == ["done", "failed"]
    condition = 'hydra.sweeper.conditions=["model.net.tied if model=ae"]'
    status, _, err = cli(*words, "model.net.tied=true,false", "hydra.sweep.dir=other", condition)
    assert status == 0, err
    rows = table(sweep.with_name("other"))
    assert [(row["model"], row["model.net.tied"]) for row in rows] == [("ae", "True"), ("ae", "False"), ("pca", "")]


def test_an_error_of_all_trials_starts_no_study(cli, sweep):
    status, _, err = cli(*PCA, "model=pca,ae", "model.net.code=2", "model.net.tied=false")
    assert status == 1 and has_names(err, "error: model.net.tied code")
    assert not sweep.exists()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["hydra.sweeper.sampler=tpee"], "hydra.sweeper.sampler tpee 'tpe'"),
        (["hydra.sweeper.pruner=hope"], "hydra.sweeper.pruner hope 'none'"),
        (["hydra.sweeper.trial=3"], "hydra.sweeper.trial 'n_trials'"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials 0"),
        (["optim.optimizer.lr=interval(0,1)"], "optim.optimizer.lr"),
        (["model.net.codes=3"], "model.net.codes 'model.net.code'"),
        (['hydra.sweeper.conditions=["seed if model=ae"]'], "hydra.sweeper.conditions seed optim.optimizer.lr"),
        (["launcher.gpus=[0,0]"], "launcher.gpus [0, 0]"),
    ],
)
def test_an_invalid_search_is_refused(refused, here, sweep, words, names):
    assert has_names(refused(*AE, RATES, *words), names) and not [*sweep.glob("*/run.json")]


@pytest.mark.parametrize(
    ("script", "words", "names"),
    [
        ("train.py", PCA, ""),
        ("train.py", ["sweeper=optuna", *DIGITS, "model=pca"], "sweeper=optuna -m"),
        ("scripts/evaluate.py", ["-m", "sweeper=optuna", "oracle=irm,ibm"], "sweeper=optuna train.py"),
    ],
)
def test_a_search_needs_a_space_and_a_sweep(refused, sweep, script, words, names):
    assert has_names(refused(*words, script=script), names) and not sweep.exists()


def test_a_missing_package_is_named(refused, sweep, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("unbraid.sweeps.search.") and not name.endswith("options")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert has_names(refused(*PCA, "model.net.code=2,3"), "optuna unbraid[optuna]")


def test_a_plan_of_a_search_starts_no_trial(cli, sweep, monkeypatch):
    planned = []
    monkeypatch.setattr("unbraid.commands.sweep.plan", planned.extend)
    status, _, err = cli(*PCA, "model.net.code=2,3", "plan=true")
    assert status == 0, err
    assert [run.config.model.net.code for run in planned] == [2] and not sweep.exists()


def wait_for(condition, process, seconds=240):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return result


@pytest.mark.slow
def test_a_search_resumes_after_kills(cli, here, sweep):
    words = [*AE, "optim.optimizer.lr=1e-2,1e-3", "trainer.max_epochs=100", "callbacks.early_stopping=null"]
    process = subprocess.Popen([sys.executable, str(PROJECT / "train.py"), *words])
    command = psutil.Process(process.pid)
    wait_for(lambda: (sweep / "0/checkpoints/last.ckpt").exists(), process)
    (run,) = command.children()
    run.kill()
    wait_for(lambda: (sweep / "search.csv").exists(), process)
    assert table(sweep)[0]["error"]
    command.suspend()  # it must not start another run
    orphans = command.children()
    process.kill()
    psutil.wait_procs([command, *orphans], timeout=60)
    status, out, err = cli(*words)
    assert status == 0, err
    assert states(sweep) == ["done", "done"] and [epochs(sweep / n) for n in "01"] == [100, 100]
    assert "checkpoints/last.ckpt" in out and "trials  2 done" in out
    assert len(read_record(sweep / "0")["earlier"]) == 1


def search_here(commands: Path) -> None:
    """Search in this process when both commands have started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Local, "run", run_here)
        patch.setattr(Reconstructions, "_draw", lambda *_: None)
        (commands / str(os.getpid())).touch()
        while len([*commands.iterdir()]) < 2:
            time.sleep(0.01)
        load_script("train.py")()


@pytest.mark.slow
def test_two_commands_at_once_share_the_trials(sweep, tmp_path):
    (commands := tmp_path / "commands").mkdir()
    sweep.parent.mkdir()
    code = f"from pathlib import Path; from tests.commands.test_search import search_here; search_here(Path({str(commands)!r}))"
    words = [*PCA, "model.net.code=2,3,4,5,6,7"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path])}
    settings: dict[str, Any] = {"cwd": sweep.parent, "env": environment, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code, *words], **settings) for _ in range(2)]
    outs = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    trials = [re.findall(r"^trial (\d):", out, re.MULTILINE) for out in outs]
    assert sorted(trials[0] + trials[1]) == [*"012345"]
    assert not any("earlier" in read_record(sweep / number) for number in "012345")
    assert states(sweep) == ["done"] * 6 and [row["state"] for row in table(sweep)] == ["done"] * 6
