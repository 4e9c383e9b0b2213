"""Moving averages of the weights (EMA) of a run as initial weights, and in the commands that load a run."""

import pytest
import torch

import unbraid
from tests.conftest import NARROW, make_run
from tests.interop.test_initial import started
from unbraid.interop.origins import find_origin, sha256_of
from unbraid.runs.errors import InputError

SLOW, FAST = "ema_0.999_step", "ema_0.9_epoch"


def save(run, averages, values):
    """Write `last.ckpt` as a run with `callbacks=ema` does."""
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    stored = {
        name: {key: tensor + shift if tensor.is_floating_point() else tensor for key, tensor in state.items()}
        for name, shift in averages.items()
    }
    callbacks = {"WeightAverages": {"averages": stored, "values": values, "counts": {}, "steps": 1}}
    torch.save({"state_dict": state, "callbacks": callbacks}, run / "checkpoints/last.ckpt")
    return stored


@pytest.mark.parametrize(("asked", "name"), [("ema", FAST), (SLOW, SLOW), (FAST, FAST)])
def test_an_average_is_the_start_of_a_training(tmp_path, asked, name):
    run = make_run(tmp_path / "run", NARROW)
    stored = save(run, {SLOW: 1.0, FAST: 2.0}, {SLOW: {"valid/loss": 0.5}, FAST: {"valid/loss": 0.4}})
    for path, kind in ((run, "run"), (run / "checkpoints/last.ckpt", "checkpoint")):
        found, task, _ = started(path, [NARROW], weights=asked)
        assert all(torch.equal(tensor, task.state_dict()[key]) for key, tensor in stored[name].items())
        assert (found.kind, found.sha256) == (f"{kind}, {asked}", sha256_of(run / "checkpoints/last.ckpt"))
    loaded = unbraid.load(run, asked, device="cpu").model.state_dict()
    assert all(torch.equal(loaded[key.removeprefix("separator.")], tensor) for key, tensor in stored[name].items())


def test_the_measure_of_the_run_selects_the_average(tmp_path):
    words = [NARROW, "callbacks.best.monitor=valid/uSDR/mean", "callbacks.best.mode=max"]
    run = make_run(tmp_path / "run", *words)
    usdr = "valid/uSDR/mean"
    stored = save(run, {SLOW: 1.0, FAST: 2.0}, {SLOW: {usdr: 7.0, "valid/loss": 0.5}, FAST: {usdr: 6.0, "valid/loss": 0.4}})
    _, task, _ = started(run, words, weights="ema")
    assert all(torch.equal(tensor, task.state_dict()[key]) for key, tensor in stored[SLOW].items())


def test_a_single_average_needs_no_validation(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    stored = save(run, {SLOW: 1.0}, {})
    assert torch.equal(*(next(iter(state.values())) for state in (find_origin(run, "ema").tensors(), stored[SLOW])))


def test_missing_averages_are_one_error(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    with pytest.raises(InputError) as error:
        started(run, [NARROW], weights="ema")
    assert error.value.where == "checkpoint=last"
    last = run / "checkpoints/last.ckpt"
    state = {"state_dict": torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]}
    for content in (state, state | {"callbacks": {"WeightAverages": {"averages": {SLOW: {}}}}}, state | {"callbacks": 3}):
        torch.save(content, last)
        with pytest.raises(InputError) as error:
            started(run, [NARROW], weights="ema")
        assert (error.value.where, error.value.found) == (str(last), "ema") and "callbacks=ema" in error.value.hint
    save(run, {SLOW: 1.0, FAST: 2.0}, {SLOW: {"valid/loss": float("nan")}})
    for asked, found in (("ema", f"{SLOW}, {FAST}"), ("ema_0.5_step", "ema_0.5_step")):
        with pytest.raises(InputError) as error:
            started(run, [NARROW], weights=asked)
        assert (error.value.where, error.value.found) == (str(last), found) and SLOW in error.value.hint


def test_published_weights_have_no_averages(tmp_path, cli):
    run = make_run(tmp_path / "run", NARROW)
    status, _, error = cli(f"run={run}", f"output={tmp_path / 'public'}", script="scripts/publish.py")
    assert status == 0, error
    with pytest.raises(InputError) as error:
        find_origin(tmp_path / "public", "ema")
    assert (error.value.where, error.value.found) == (str(tmp_path / "public"), "published weights")


def test_an_instrument_has_no_averages(tmp_path):
    run = make_run(tmp_path / "run", "model=ddsp_small", "data=urmp")
    (run / "checkpoints/best.ckpt").rename(run / "checkpoints/last.ckpt")
    with pytest.raises(InputError) as error:
        unbraid.load(run, "ema")
    assert (error.value.where, error.value.found) == ("checkpoint", "ema")
