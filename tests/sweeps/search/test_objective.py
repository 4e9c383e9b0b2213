"""Tests of the objective of a trial."""

import json

import pytest

from unbraid.runs.errors import InputError
from unbraid.sweeps.search.objective import UndefinedError, objective_of


@pytest.fixture
def run(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,valid/loss,valid/uSDR/vocals,none\n0,3,1,\n1,2,,\n2,2.5,-1,\n3,nan,inf,\n")
    summary = {"vocals": {"NSDR": {"mean": 3.0, "median": 2.0}, "SIR": {"mean": None, "median": None}}}
    (tmp_path / "scores.json").write_text(json.dumps({"protocol": {"tracks": "median"}, "summary": summary}))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "direction", "value"),
    [
        ("valid/loss", "minimize", 2.0), ("valid/uSDR/vocals", "maximize", 1.0), ("valid/loss", "maximize", 3.0),
        ("test/NSDR/vocals", "maximize", 2.0),
    ],
)  # fmt: skip
def test_objective_is_the_best_epoch_or_a_score(run, name, direction, value):
    assert objective_of(run, name, direction) == value


def test_objective_of_an_autoencoder_is_the_mean(run):
    (run / "scores.json").write_text(json.dumps({"protocol": {"kind": "x"}, "summary": {"all": {"error": {"mean": 0.5}}}}))
    assert objective_of(run, "test/error/all", "minimize") == 0.5


@pytest.mark.parametrize(
    ("name", "kind", "file", "hint"),
    [
        ("valid/los", InputError, "metrics.csv", "'valid/loss'"), ("none", UndefinedError, "metrics.csv", ""),
        ("test/NSDR/drums", InputError, "scores.json", "'test/NSDR/vocals'"),
        ("test/SIR/vocals", UndefinedError, "scores.json", ""),
    ],
)  # fmt: skip
def test_missing_and_undefined_objectives_are_errors(run, name, kind, file, hint):
    with pytest.raises(InputError) as raised:
        objective_of(run, name, "maximize")
    assert type(raised.value) is kind and raised.value.where == f"hydra.sweeper.objective={name}"
    assert raised.value.problem.endswith(str(run / file)) and hint in raised.value.hint


def test_a_run_without_epochs_is_an_error(run):
    (run / "metrics.csv").unlink()
    with pytest.raises(InputError):
        objective_of(run, "valid/loss", "maximize")
