"""Sweeps from the command line: which runs start, which are skipped, and which errors are printed."""

import json
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.commands.conftest import has_names
from tests.conftest import PROJECT, files_below, only_run
from unbraid.sweeps.ledger import read

AUTOENCODER = [
    "model=deep_ae", "data=digits", "features=pixels", "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=512",
]  # fmt: skip


def states(sweep: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["state"] for path in sorted(sweep.glob("*/run.json"))}


def starts(sweep: Path) -> list[str]:
    return [line["run"] for line in read(sweep)[1:] if line["state"] == "running"]


@pytest.mark.slow
def test_the_same_command_runs_the_remaining_runs(cli, tmp_path):
    words = ["-m", *AUTOENCODER, "seed=0,1"]
    status, out, err = cli(*words, "launcher.cpu_slots=2")
    sweep = only_run(tmp_path / "work")
    done = {"0-seed=0": "done", "1-seed=1": "done"}
    assert status == 0 and err == "" and states(sweep) == done
    folder = sweep.relative_to(tmp_path / "work")
    assert out.startswith(f"sweep   checking 2 runs in {folder}\n")
    assert f"sweep   {folder}: 2 runs, 2 at once on the CPU" in out and "sweep   2 done" in out
    ended = [line for line in read(sweep)[1:] if line["state"] == "done"]
    assert {line["run"] for line in ended} == {*done} and all(
        "mixture" not in line["score"] and line["score"] for line in ended
    )
    assert ended[0]["overrides"] == [*AUTOENCODER, "seed=0"] or ended[0]["overrides"] == [*AUTOENCODER, "seed=1"]
    assert "error" in (sweep / "0-seed=0/log.txt").read_text()  # the table of the run
    assert "scoring" not in (sweep / "0-seed=0/log.txt").read_text()

    failed = sweep / "1-seed=1/run.json"
    failed.write_text(failed.read_text().replace('"done"', '"failed"'))
    (sweep / "1-seed=1/checkpoints/last.ckpt").write_bytes(b"cut")  # as after a full disk
    status, out, _ = cli(*words)
    assert status == 0 and states(sweep) == done and only_run(tmp_path / "work") == sweep
    assert has_names(out, "1 resume=never")
    assert sorted(starts(sweep)) == ["0-seed=0", "1-seed=1", "1-seed=1"]

    lines = (sweep / "ledger.jsonl").read_text().splitlines(keepends=True)
    remaining = [line for line in lines if not ("1-seed=1" in line and '"state": "done"' in line)]
    (sweep / "ledger.jsonl").write_text("".join(remaining))  # as if the sweep had been killed before the last line
    status, out, _ = cli(*words)
    assert status == 0 and "2 runs\n        2 " in out and len(starts(sweep)) == 3
    assert (read(sweep)[-1]["run"], read(sweep)[-1]["state"]) == ("1-seed=1", "done") and read(sweep)[-1]["score"]


@pytest.mark.slow
def test_resume_never_starts_a_new_sweep(cli, tmp_path):
    (tmp_path / "work/outputs/2020-01-01/00-sweep").mkdir(parents=True)
    words = ["-m", *AUTOENCODER, "seed=0,1", "data.batch_size=0", "hydra.sweep.dir=outputs/2020-01-01/00-sweep"]
    assert cli(*words)[0] == 1 and len(starts(tmp_path / "work/outputs/2020-01-01/00-sweep")) == 2
    assert cli(*words[:-1])[0] == 1 and len(starts(tmp_path / "work/outputs/2020-01-01/00-sweep")) == 4
    assert cli(*words[:-1], "resume=never")[0] == 1
    assert len(list((tmp_path / "work").glob("outputs/*/*"))) == 2


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["seed=0,-1"], "1-seed=-1 seed -1"),
        (["seed=0,1", "trainer.accelerator=gpu", "launcher.gpus=[]"], "trainer.accelerator"),
        (["seed=0,1", "trainer.num_nodes=2"], "trainer.num_nodes 2 launcher=local"),
        (["seed=0,1", "launcher.cpu_slots=0"], "launcher.cpu_slots 0"),
        (["seed=0,1", "launcher.slots=2"], "launcher.slots 'launcher.cpu_slots'"),
        (["seed=0,1", "launcher=lokal"], "launcher lokal 'local'"),
        (["seed=0,1", "hydra.sweep.subdir=same"], "hydra.sweep.subdir same"),
        (["seed=0,1", "resume=maybe"], "resume"),
        (["seed=0,1", "resume=auto,never"], "resume=auto resume=never"),
        (["seed=0,1", "launcher.cpu_slots=1,2"], "launcher.cpu_slots=1 launcher.cpu_slots=2"),
        (["seed=range(0)"], "sweep"),
        (["seed=0", "trainer.devices=foo"], "trainer.devices foo auto"),
        (["seed=0", "trainer.devices=null"], "trainer.devices None"),
        (["seed=0", "trainer.num_nodes=null"], "trainer.num_nodes None"),
        (["seed=0", "trainer.num_nodes=two"], "trainer.num_nodes 'two'"),
        (["seed=0", "++hydra.run.dir=here"], "++hydra.run.dir=here hydra.sweep.dir="),
    ],
)
def test_an_invalid_run_starts_no_sweep(refused, tmp_path, words, names):
    assert has_names(refused("-m", *AUTOENCODER, *words), names)
    assert files_below(tmp_path / "work") == [] and not (tmp_path / "work/outputs").exists()


@pytest.mark.parametrize(
    ("word", "names"),
    [("hydra.sweep.dir=there", "hydra.sweep.dir=there hydra.run.dir="), ("launcher=local", "launcher=local -m")],
)
def test_keys_of_sweeps_are_refused_without_a_sweep(refused, tmp_path, word, names):
    assert has_names(refused(*AUTOENCODER, word), names) and files_below(tmp_path / "work") == []


@pytest.mark.parametrize("ledger", ['{"version": 0, "sweep": "x"}', '{"version": 1, "sweep": "x"}', "none", "[1]"])
def test_a_folder_with_another_ledger_is_refused(refused, tmp_path, ledger):
    (tmp_path / "work/sweep").mkdir()
    (tmp_path / "work/sweep/ledger.jsonl").write_text(ledger + "\n")
    assert "ledger.jsonl" in refused("-m", *AUTOENCODER, "seed=0,1", "hydra.sweep.dir=sweep")
    assert (tmp_path / "work/sweep/ledger.jsonl").read_text() == ledger + "\n"


@pytest.mark.slow
def test_a_damaged_ledger_of_another_folder_is_ignored(cli, tmp_path):
    (tmp_path / "work/outputs/a/b").mkdir(parents=True)
    (tmp_path / "work/outputs/a/b/ledger.jsonl").write_text("none\n")
    status, out, _ = cli("-m", *AUTOENCODER, "seed=0", "data.batch_size=0")
    assert status == 1 and "data.batch_size" in out
    (log,) = (tmp_path / "work").glob("outputs/2*/*/0-deep_ae-digits-0/log.txt")
    assert "error: data.batch_size" in log.read_text() and "Traceback" not in log.read_text()


@pytest.mark.slow
def test_a_plan_starts_no_run(cli, tmp_path):
    status, out, err = cli("-m", *AUTOENCODER, "seed=0", "data.batch_size=512,0", "plan=true", "logger=tensorboard")
    assert status == 1 and has_names(err, "error: plan 1-batch_size=0") and "0-batch_size=512" not in err
    row, failed = (line for line in out.splitlines() if "batch_size=" in line)
    assert "data.batch_size" in failed
    parameters, memory, speed, steps = (float(row.split()[i]) for i in (1, 5, 9, 10))
    assert parameters > 0 and memory > 0 and speed > 0 and steps == 2
    assert files_below(tmp_path / "work") == []


def test_an_interrupted_run_resumes_in_its_folder(cli, tmp_path):
    words = [*AUTOENCODER, "trainer.max_epochs=3"]
    assert cli(*words)[0] == 0
    run = only_run(tmp_path / "work")
    record = run / "run.json"
    record.write_text(record.read_text().replace('"done"', '"running"'))  # as after a kill
    whole = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    status, out, _ = cli(*words)
    assert status == 0 and only_run(tmp_path / "work") == run and json.loads(record.read_text())["state"] == "done"
    assert has_names(out, f"{run.relative_to(tmp_path / 'work')} resume=never")
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
def test_an_invalid_record_of_another_run_is_ignored(refused, tmp_path, text):
    (tmp_path / "work/outputs/a/b").mkdir(parents=True)
    (tmp_path / "work/outputs/a/b/run.json").write_text(text)
    assert has_names(refused(*AUTOENCODER, "data.batch_size=0"), "data.batch_size 0")


def bench(tmp_path: Path, *words: str) -> dict[str, Any]:
    script = [sys.executable, PROJECT / "scripts/bench/sweep.py", *words]
    result = subprocess.run(script, cwd=tmp_path, check=True, capture_output=True, text=True)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def test_sigterm_stops_the_runs_of_a_sweep(tmp_path):
    """Each run writes a checkpoint, the ledger has its state, and the exit status is that of the signal."""
    words = [
        "-m",
        *AUTOENCODER,
        "seed=0",
        "trainer.max_epochs=100000",
        "callbacks.early_stopping=null",
        "hydra.sweep.dir=sweep",
    ]
    sweep = subprocess.Popen([sys.executable, PROJECT / "train.py", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    run, deadline = tmp_path / "sweep/0-deep_ae-digits-0", time.monotonic() + 120
    while not (run / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    sweep.send_signal(signal.SIGTERM)
    _, err = sweep.communicate(timeout=180)
    assert (
        sweep.returncode == 128 + signal.SIGTERM
        and err.splitlines()[-1] == "stopped by SIGTERM. The same command resumes the sweep"
    )
    assert states(tmp_path / "sweep") == {run.name: "interrupted"} and read(tmp_path / "sweep")[-1]["state"] == "interrupted"
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["resumption"]["complete"]


def test_names_of_runs_have_the_swept_values(cli, tmp_path):
    words = ["-m", *AUTOENCODER, "model.net.code=2,3", "hydra.sweep.dir=sweep", "data.batch_size=0"]
    assert cli(*words)[0] == 1 and {*states(tmp_path / "work/sweep")} == {"0-code=2", "1-code=3"}
    assert cli(*words[:-2], "data.batch_size=0", "name=mine", "hydra.sweep.dir=typed")[0] == 1
    assert {*states(tmp_path / "work/typed")} == {"0-mine", "1-mine"}


def test_sweeps_of_the_same_second_get_two_folders(cli, tmp_path, monkeypatch):
    clock = SimpleNamespace(now=lambda: datetime(2020, 1, 1, 10))
    monkeypatch.setattr("hydra.core.utils.datetime", clock)
    for seed in (0, 1):
        assert cli("-m", *AUTOENCODER, f"seed={seed}", "data.batch_size=0")[0] == 1
    assert cli("-m", *AUTOENCODER, "seed=0,-1")[0] == 1  # leaves no folder
    names = [path.name for path in (tmp_path / "work/outputs/2020-01-01").iterdir()]
    assert sorted(names) == ["10-00-00-sweep", "10-00-00-sweep-2"]


@pytest.mark.slow
def test_twelve_runs_survive_kills(tmp_path):
    result = bench(tmp_path, "only=sweep", "jobs=12")
    assert result["kills_survived"] >= 3 and result["jobs_started_again"] == 0 and result["jobs_equal"] == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "rounds"),
    [("unet", 20), *((f"{name}_small", 2) for name in ("bs_roformer", "mel_band_roformer", "scnet", "mdx23c", "htdemucs"))],
)
def test_a_killed_run_gives_the_same_weights(tmp_path, model, rounds):
    result = bench(tmp_path, "only=run", f"rounds={rounds}", f"model={model}")
    assert result["rounds_equal"] == rounds and result["rounds_killed"] >= 1
