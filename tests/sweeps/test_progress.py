"""Tests of the progress table of a sweep."""

import json
import math

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from unbraid.runs.records import Run
from unbraid.sweeps.launchers.jobs import Job
from unbraid.sweeps.launchers.processes import duration
from unbraid.sweeps.ledger import Ledger, read
from unbraid.sweeps.progress import ProgressTable, main_score, progress

CONFIG = OmegaConf.create({"trainer": {"max_epochs": 10, "max_steps": -1}})
METRICS = "epoch,step,seconds,train/loss,valid/loss\n0,5,2.0,9.0,4.0\n1,10,2.0,8.0,3.0\n2,15,2.0,7.0,3.5\n"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, ("epoch 3, 30%", "3.5", "3", "14 s")),
        ({"max_steps": 20}, ("epoch 3, 75%", "3.5", "3", "2 s")),
        ({"max_epochs": None, "max_steps": 60}, ("epoch 3, 25%", "3.5", "3", "18 s")),
        ({"max_epochs": -1}, ("epoch 3, 100%", "3.5", "3", "0 s")),
    ],
)
def test_progress_of_a_run(tmp_path, limits, expected):
    (tmp_path / "metrics.csv").write_text(METRICS)
    assert progress(tmp_path, OmegaConf.merge(CONFIG, {"trainer": limits})) == expected


def test_training_loss_without_validation(tmp_path):
    assert progress(tmp_path, CONFIG) == ("", "", "", "")
    (tmp_path / "metrics.csv").write_text("epoch,step,seconds,train/loss,valid/loss\n0,5,2.0,9.0,\n")
    assert progress(tmp_path, CONFIG)[1:3] == ("9", "9")


def test_main_score_is_the_first_defined_score(tmp_path):
    assert main_score(tmp_path) == {}
    summary = {"vocals": {"SDR": {"median": None}, "SIR": {"median": 2.0}}, "drums": {"SDR": {"median": 1.0}}}
    (tmp_path / "scores.json").write_text(json.dumps({"summary": summary, "protocol": {"tracks": "median"}}))
    assert main_score(tmp_path) == {"vocals SIR": 2.0}


def test_durations_as_text():
    assert [duration(s) for s in (0.4, 59, 61, 3600, math.inf)] == ["0 s", "59 s", "1 min 01 s", "1 h 00 min", "no limit"]


def test_running_jobs_come_first_in_the_table(tmp_path):
    jobs = [Job(number, tmp_path / f"{number}-run", 1, 1, None) for number in range(4)]
    ledger = Ledger(tmp_path, "x")
    ledger.open()
    with ProgressTable([(job, Run(job.folder, CONFIG, [], {})) for job in jobs], ledger) as table:
        for job in jobs[:3]:
            table.started(job, "gpu 1")
        table.ended(jobs[0], "failed", "for a reason")
        console = Console(width=120, record=True)
        console.print(table._table())
    rows = [line.split() for line in console.export_text().splitlines()[1:]]
    assert [row[:2] for row in rows] == [["1-run", "running"], ["2-run", "running"], ["1", "waiting"], ["0-run", "failed"]]
    assert [(line["run"], line["state"]) for line in read(tmp_path)[1:]] == [
        ("0-run", "running"), ("1-run", "running"), ("2-run", "running"), ("0-run", "failed"),
    ]  # fmt: skip


def test_lines_name_resumed_runs_and_offline_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a notebook, whose output is not a terminal
    jobs = [Job(number, tmp_path / f"{number}-run", 1, 1, None) for number in range(2)]
    (tmp_path / "1-run/checkpoints").mkdir(parents=True)
    (tmp_path / "1-run/checkpoints/last.ckpt").touch()
    (tmp_path / "1-run/wandb/offline-run-1").mkdir(parents=True)
    ledger = Ledger(tmp_path, "x")
    ledger.open()
    with ProgressTable([(job, Run(job.folder, CONFIG, [], {})) for job in jobs], ledger) as table:
        for job in jobs:
            table.started(job, "gpu 1")
    first, second, _, last = capsys.readouterr().out.splitlines()
    assert (first.split()[:2], second.split()[:2]) == (["started", "0-run"], ["resumed", "1-run"])
    assert last.split()[:2] == ["wandb", "1"] and last.endswith(f"wandb sync {tmp_path}/*/wandb/offline-run-*")
