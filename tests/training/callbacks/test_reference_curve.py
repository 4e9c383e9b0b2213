"""A run is compared with a reference curve after each validation."""

import math
from types import SimpleNamespace

import pytest
import torch

from unbraid.runs.errors import InputError
from unbraid.training.callbacks.reference_curve import ReferenceCurve

MEASURE = "valid/uSDR/mean"


def curve(**changes):
    lists = {"steps": [10, 20], "median": [1.0, 3.0], "low": [0.0, 2.0], "high": [2.0, 4.0]}
    return ReferenceCurve(**{"name": "c", "measure": MEASURE, "seeds": 5} | lists | changes)


class Module:
    def __init__(self):
        self.logged = {}

    def log(self, name, value, rank_zero_only):
        self.logged[name] = value


def after_validation(step, value, chosen=None, **metrics):
    module = Module()
    trainer = SimpleNamespace(
        check_val_every_n_epoch=1, current_epoch=0, global_step=step, is_global_zero=True, num_val_batches=[1],
        callback_metrics={MEASURE: torch.tensor(value)} | metrics,
    )  # fmt: skip
    (chosen or curve()).on_train_epoch_end(trainer, module)
    return module.logged


@pytest.mark.parametrize(
    ("step", "value", "to_median", "to_band"),
    [(10, 1.5, 0.5, 0), (15, 2.5, 0.5, 0), (15, 0.5, -1.5, -0.5), (20, 4.25, 1.25, 0.25), (20, 2.0, -1.0, 0)],
)
def test_the_distances_are_logged(step, value, to_median, to_band):
    logged = after_validation(step, value)
    assert (logged["curve/to_median"], logged["curve/to_band"]) == pytest.approx((to_median, to_band))


@pytest.mark.parametrize(("step", "value"), [(9, 1.0), (21, 1.0), (15, math.nan)])
def test_nothing_is_compared_outside_the_curve(step, value, capfd):
    assert all(math.isnan(distance) for distance in after_validation(step, value).values())
    assert capfd.readouterr().out == ""


def test_a_line_is_printed_only_outside_the_band(capfd):
    after_validation(20, 2.5)
    assert capfd.readouterr().out == ""
    after_validation(20, 0.9)
    out = capfd.readouterr().out
    assert all(part in out for part in ("step 20:", "1.1 dB below", "5 seeds", "2 to 4 dB")) and out.count("\n") == 1
    after_validation(20, 5.0)
    assert "1 dB above" in capfd.readouterr().out


def test_a_loss_has_no_unit(capfd):
    after_validation(20, 0.0, curve(measure="valid/loss"), **{"valid/loss": torch.tensor(9.0)})
    out = capfd.readouterr().out
    assert "valid/loss 9 is 5 above" in out and "dB" not in out


def test_an_unknown_measure_is_named():
    with pytest.raises(InputError) as error:
        after_validation(20, 0.0, curve(measure="valid/SDR/mean"))
    assert (error.value.where, error.value.found) == ("callbacks.curve.measure", MEASURE)


@pytest.mark.parametrize(
    "changes", [{"steps": [10]}, {"steps": [20, 10]}, {"median": [1.0, math.inf]}, {"low": [0.0, 3.5]}, {"steps": [10, 10]},
                {"steps": [], "median": [], "low": [], "high": []}],
)  # fmt: skip
def test_an_invalid_curve_is_refused(changes):
    with pytest.raises(InputError) as error:
        curve(**changes)
    assert error.value.where == "callbacks.curve"
