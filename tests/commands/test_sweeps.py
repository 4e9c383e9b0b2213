"""Sweeps as a user types them: what runs, what is skipped, what is said."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import PROJECT, files_below, only_run
from unbraid.sweeps.ledger import read

AUTOENCODER = [
    "model=deep_ae", "data=digits", "features=pixels", "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=512",
]  # fmt: skip


def states(sweep: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["state"] for path in sorted(sweep.glob("*/run.json"))}


def starts(sweep: Path) -> list[str]:
    return [line["run"] for line in read(sweep)[1:] if line["state"] == "running"]


def test_the_same_command_again_runs_what_is_not_done(cli, tmp_path):
    words = ["-m", *AUTOENCODER, "seed=0,1"]
    status, out, err = cli(*words, "launcher.cpu_slots=2")
    sweep = only_run(tmp_path / "work")
    done = {"0-deep_ae-digits-0": "done", "1-deep_ae-digits-1": "done"}
    assert status == 0 and err == "" and states(sweep) == done
    assert f"sweep   {sweep.relative_to(tmp_path / 'work')}: 2 runs, 2 at once on the CPU" in out and "sweep   2 done" in out
    ended = [line for line in read(sweep)[1:] if line["state"] == "done"]
    assert {line["run"] for line in ended} == {*done} and all(
        "mixture" not in line["score"] and line["score"] for line in ended
    )
    assert ended[0]["overrides"] == [*AUTOENCODER, "seed=0"] or ended[0]["overrides"] == [*AUTOENCODER, "seed=1"]
    assert "error" in (sweep / "0-deep_ae-digits-0/log.txt").read_text()  # the table that the run has printed
    assert "scoring" not in (sweep / "0-deep_ae-digits-0/log.txt").read_text()

    failed = sweep / "1-deep_ae-digits-1/run.json"
    failed.write_text(failed.read_text().replace('"done"', '"failed"'))
    (sweep / "1-deep_ae-digits-1/checkpoints/last.ckpt").write_bytes(b"cut")  # as by a full disk
    status, out, _ = cli(*words)
    assert status == 0 and states(sweep) == done and only_run(tmp_path / "work") == sweep
    assert "1 done before; resume=never starts anew" in out
    assert sorted(starts(sweep)) == ["0-deep_ae-digits-0", "1-deep_ae-digits-1", "1-deep_ae-digits-1"]

    lines = (sweep / "ledger.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not ("1-deep_ae" in line and '"state": "done"' in line)]
    (sweep / "ledger.jsonl").write_text("".join(kept))  # as if the sweep had been killed before it could note the end
    status, out, _ = cli(*words)
    assert status == 0 and "2 runs\n        2 done before" in out and len(starts(sweep)) == 3
    assert (read(sweep)[-1]["run"], read(sweep)[-1]["state"]) == ("1-deep_ae-digits-1", "done") and read(sweep)[-1]["score"]


def test_a_sweep_starts_anew_where_it_is_told_to(cli, tmp_path):
    (tmp_path / "work/outputs/2020-01-01/00-sweep").mkdir(parents=True)
    words = ["-m", *AUTOENCODER, "seed=0,1", "data.batch_size=0", "hydra.sweep.dir=outputs/2020-01-01/00-sweep"]
    assert cli(*words)[0] == 1 and len(starts(tmp_path / "work/outputs/2020-01-01/00-sweep")) == 2
    assert cli(*words[:-1])[0] == 1 and len(starts(tmp_path / "work/outputs/2020-01-01/00-sweep")) == 4
    assert cli(*words[:-1], "resume=never")[0] == 1
    assert len(list((tmp_path / "work").glob("outputs/*/*"))) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=0,-1"], r"1-deep_ae-digits--1: seed: "),
        (["seed=0,1", "trainer.accelerator=gpu", "launcher.gpus=[]"], "trainer.accelerator=gpu: "),
        (["seed=0,1", "trainer.num_nodes=2"], "trainer.num_nodes=2: "),
        (["seed=0,1", "launcher.cpu_slots=0"], "launcher.cpu_slots: "),
        (["seed=0,1", "launcher.slots=2"], "launcher.slots: there is no such key; did you mean 'cpu_slots'?"),
        (["seed=0,1", "launcher=lokal"], "launcher=lokal: there is no such choice; did you mean 'local'?"),
        (["seed=0,1", "hydra.sweep.subdir=same"], "hydra.sweep.subdir: found same, which is the same for several runs"),
        (["seed=0,1", "resume=maybe"], "resume"),
        (["seed=0,1", "resume=auto,never"], "resume=auto: is how the runs of a sweep are started, the same for all; found"),
        (["seed=0,1", "launcher.cpu_slots=1,2"], "launcher.cpu_slots=1: is how the runs of a sweep are started"),
        (["seed=range(0)"], "the sweep has no runs: one of its overrides sweeps over nothing"),
        (["seed=0", "trainer.devices=foo"], "trainer.devices: found foo, expected auto, how many, or a list of ids"),
        (["seed=0", "trainer.devices=null"], "trainer.devices: found None, expected "),
        (["seed=0", "trainer.num_nodes=null"], "trainer.num_nodes: found None, expected int"),
        (["seed=0", "trainer.num_nodes=two"], "trainer.num_nodes: found 'two', expected int"),
        (
            ["seed=0", "++hydra.run.dir=here"],
            "++hydra.run.dir=here: is for a single run; the folder of a",
        ),
    ],
)
def test_what_is_wrong_with_any_run_is_said_before_one_starts(cli, tmp_path, words, said):
    status, _, err = cli("-m", *AUTOENCODER, *words)
    assert status == 1 and said in err and err.startswith("error: ") and len(err.splitlines()) == 1
    assert files_below(tmp_path / "work") == [] and not (tmp_path / "work/outputs").exists()


def test_the_folder_of_a_sweep_is_of_no_single_run(cli, tmp_path):
    status, _, err = cli(*AUTOENCODER, "hydra.sweep.dir=there")
    assert status == 1 and err == "error: hydra.sweep.dir=there: is for sweeps; the folder of a single run is hydra.run.dir=…\n"
    assert files_below(tmp_path / "work") == []


def test_a_launcher_without_a_sweep_is_said(cli, tmp_path):
    status, _, err = cli(*AUTOENCODER, "launcher=local")
    assert status == 1 and err == "error: launcher=local: is for sweeps, of one run too; add -m, as in: python train.py -m …\n"
    assert files_below(tmp_path / "work") == []


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ('{"version": 0, "sweep": "x"}', "ledger.jsonl: "),
        ('{"version": 1, "sweep": "x"}', "ledger.jsonl: "),
        ("none", "ledger.jsonl: not the ledger of a sweep"),
        ("[1]", "ledger.jsonl: not the ledger of a sweep"),
    ],
)
def test_a_folder_with_another_ledger_is_refused(cli, tmp_path, ledger, said):
    (tmp_path / "work/sweep").mkdir()
    (tmp_path / "work/sweep/ledger.jsonl").write_text(ledger + "\n")
    status, _, err = cli("-m", *AUTOENCODER, "seed=0,1", "hydra.sweep.dir=sweep")
    assert status == 1 and said in err and (tmp_path / "work/sweep/ledger.jsonl").read_text() == ledger + "\n"


def test_another_folder_with_another_ledger_is_no_hindrance(cli, tmp_path):
    (tmp_path / "work/outputs/a/b").mkdir(parents=True)
    (tmp_path / "work/outputs/a/b/ledger.jsonl").write_text("none\n")
    status, out, _ = cli("-m", *AUTOENCODER, "seed=0", "data.batch_size=0")
    assert status == 1 and ": data.batch_size" in out
    (log,) = (tmp_path / "work").glob("outputs/2*/*/0-deep_ae-digits-0/log.txt")
    assert "error: data.batch_size" in log.read_text() and "Traceback" not in log.read_text()


def test_a_plan_says_what_runs_would_take_and_starts_none(cli, tmp_path):
    status, out, err = cli("-m", *AUTOENCODER, "seed=0", "data.batch_size=512,0", "plan=true", "logger=tensorboard")
    assert status == 1 and err == "error: cannot be run: 1-deep_ae-digits-0\n"
    row, refused = (line for line in out.splitlines() if "deep_ae" in line)
    assert "data.batch_size" in refused
    parameters, memory, speed, steps = (float(row.split()[i]) for i in (1, 3, 7, 8))
    assert parameters > 0 and memory > 0 and speed > 0 and steps == 2
    assert files_below(tmp_path / "work") == []


def test_a_run_that_was_cut_off_goes_on_in_its_folder(cli, tmp_path):
    words = [*AUTOENCODER, "trainer.max_epochs=3"]
    assert cli(*words)[0] == 0
    run = only_run(tmp_path / "work")
    record = run / "run.json"
    record.write_text(record.read_text().replace('"done"', '"running"'))  # as a kill leaves it
    whole = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    status, out, _ = cli(*words)
    assert status == 0 and only_run(tmp_path / "work") == run and json.loads(record.read_text())["state"] == "done"
    assert f"resumes {run.relative_to(tmp_path / 'work')}," in out
    again = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(whole[name], again[name]) for name in whole)

    record.write_text(record.read_text().replace('"done"', '"interrupted"'))
    for other in ([*words, "resume=never"], [*words, "seed=1"]):
        assert cli(*other)[0] == 0
    record.write_text(record.read_text().replace('"code": "', '"code": "other-'))  # the source has changed since
    time.sleep(1)  # the names of folders are made of seconds
    assert cli(*words)[0] == 0
    assert len(list((tmp_path / "work").glob("outputs/*/*"))) == 4


@pytest.mark.parametrize("text", ['{"state": "done", "commit": "x"}', "none", "[]"])
def test_what_is_no_record_of_a_run_is_no_hindrance(cli, tmp_path, text):
    (tmp_path / "work/outputs/a/b").mkdir(parents=True)
    (tmp_path / "work/outputs/a/b/run.json").write_text(text)
    status, _, err = cli(*AUTOENCODER, "data.batch_size=0")
    assert status == 1 and err.startswith("error: data.batch_size") and err.count("\n") == 1


def bench(tmp_path: Path, *words: str) -> dict[str, Any]:
    script = [sys.executable, PROJECT / "scripts/bench/sweep.py", *words]
    result = subprocess.run(script, cwd=tmp_path, check=True, capture_output=True, text=True)
    return dict(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_twelve_runs_survive_kills_of_the_sweep_and_of_single_runs(tmp_path):
    found = bench(tmp_path, "only=sweep", "jobs=12")
    assert found["kills_survived"] >= 5 and found["jobs_started_again"] == 0 and found["jobs_equal"] == 12


@pytest.mark.slow
def test_a_run_that_is_killed_at_twenty_random_moments_ends_bit_for_bit_as_one_that_is_not(tmp_path):
    assert bench(tmp_path, "only=run", "rounds=20")["rounds_equal"] == 20
