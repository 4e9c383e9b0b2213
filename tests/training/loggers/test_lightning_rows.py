"""Tests that loggers of Lightning receive the rows of `metrics.csv`, and of MLflow with a replacement of its client."""

import csv
import sys
from types import SimpleNamespace

import pytest
from pytorch_lightning.loggers import CSVLogger

from tests.conftest import only_run
from unbraid.runs.errors import InputError
from unbraid.training.loggers import Loggers, MLflow
from unbraid.training.loggers import mlflow_runs as module
from unbraid.training.loggers.logger import LightningRows

SHORT = ["model=ae", "data=digits", "trainer.accelerator=cpu", "trainer.max_epochs=2", "+trainer.limit_train_batches=2"]


class StandIn:
    """Replace `MLFlowLogger` by a list of calls."""

    calls = None

    def __init__(self, *arguments, **options):
        self.calls.append(("init", arguments, options))

    def __getattr__(self, name):
        return lambda *arguments, **options: self.calls.append((name, arguments, options))


@pytest.fixture
def mlflow(monkeypatch):
    monkeypatch.setattr(StandIn, "calls", [])
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(__spec__=SimpleNamespace(name="mlflow")))
    monkeypatch.setattr(module, "MLFlowLogger", StandIn)
    return StandIn.calls


def test_mlflow_receives_every_row(mlflow, cli, tmp_path):
    status, _, err = cli("logger=[mlflow]", *SHORT)
    assert status == 0, err
    run = only_run(tmp_path / "work")
    rows = [*csv.DictReader((run / "metrics.csv").open())]
    name, arguments, options = mlflow[0]
    assert (name, arguments[0], options) == ("init", "unbraid", {"save_dir": "outputs/mlruns"}) and arguments[2] is None
    metrics = [(arguments[0], options["step"]) for name, arguments, options in mlflow if name == "log_metrics"]
    assert [step for _, step in metrics] == [0, 1, 2]
    for row, (figures, _) in zip(rows, metrics, strict=False):
        assert figures == {column: float(cell) for column, cell in row.items() if cell}
    assert any(key.startswith("test/") for key in metrics[-1][0]) and mlflow[-1] == ("finalize", ("success",), {})
    (config,) = [arguments[0] for name, arguments, _ in mlflow if name == "log_hyperparams"]
    assert config["seed"] == 0 and config["parameters"] > 0


def test_a_missing_package_leaves_no_run(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    status, _, err = cli("logger=mlflow", *SHORT)
    assert status == 1 and "unbraid[mlflow]" in err and "logger.mlflow" in err and len(err.splitlines()) == 1
    assert [*(tmp_path / "work").iterdir()] == []


def test_every_logger_of_lightning_is_accepted(tmp_path):
    loggers = Loggers.of({"a": CSVLogger(tmp_path), "none": None}).loggers
    assert [type(logger) for logger in loggers] == [LightningRows]


def test_other_objects_are_no_loggers():
    with pytest.raises(InputError) as raised:
        Loggers.of({"mine": object()})
    assert raised.value.where == "logger.mine" and raised.value.found == "object"


def test_mlflow_is_a_logger_of_lightning(mlflow):
    assert isinstance(MLflow("e", "r", "folder", None), LightningRows)
