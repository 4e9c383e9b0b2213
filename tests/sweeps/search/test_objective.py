"""The objective of a trial is what its folder says."""

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
def test_it_is_the_best_epoch_or_the_statistic_of_the_protocol(run, name, direction, value):
    assert objective_of(run, name, direction) == value


def test_an_autoencoder_has_a_mean_only(run):
    (run / "scores.json").write_text(json.dumps({"protocol": {"kind": "x"}, "summary": {"all": {"error": {"mean": 0.5}}}}))
    assert objective_of(run, "test/error/all", "minimize") == 0.5


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("valid/los", InputError, "=valid/los: is no column of {}/metrics.csv; did you mean 'valid/loss'? known: epoch, "),
        ("none", UndefinedError, "objective=none: has no value in any epoch of {}/metrics.csv"),
        ("test/NSDR/drums", InputError, "is no score of {}/scores.json; did you mean 'test/NSDR/vocals'? known: test/NSDR"),
        ("test/SIR/vocals", UndefinedError, "objective=test/SIR/vocals: is undefined in {}/scores.json"),
    ],
)  # fmt: skip
def test_one_that_is_not_there_is_said(run, name, kind, sentence):
    with pytest.raises(InputError) as caught:
        objective_of(run, name, "maximize")
    assert sentence.format(run) in str(caught.value) and type(caught.value) is kind


def test_a_run_without_an_epoch_has_none(run):
    (run / "metrics.csv").unlink()
    with pytest.raises(InputError, match=r"is no column of .*known: none"):
        objective_of(run, "valid/loss", "maximize")
