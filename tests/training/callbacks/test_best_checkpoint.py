"""The best checkpoint and early stopping follow the direction of their measure, and refuse measures that a run does not log."""

from types import SimpleNamespace

import pytest
import torch

from unbraid.runs.errors import InputError
from unbraid.training.callbacks.best_checkpoint import BestCheckpoint, StopWithoutProgress

EARLY = {"patience": 1, "min_delta": 0.0}


@pytest.mark.parametrize(
    ("monitor", "mode", "used"),
    [
        ("valid/loss", None, "min"), ("train/loss", None, "min"), ("valid/loss/ema_0.9_step", None, "min"),
        ("valid/uSDR/mean", None, "max"), ("valid/SDR/vocals", None, "max"), ("valid/loss", "max", "max"),
        ("valid/accuracy", "max", "max"),
    ],
)  # fmt: skip
def test_smaller_losses_and_larger_scores_are_better(monitor, mode, used):
    assert BestCheckpoint(monitor, mode).mode == StopWithoutProgress(monitor, mode, **EARLY).mode == used


@pytest.mark.parametrize("monitor", ["valid/accuracy", "wait_share", "valid/KL"])
def test_the_direction_of_other_values_must_be_chosen(monitor):
    for make in (lambda: BestCheckpoint(monitor, None), lambda: StopWithoutProgress(monitor, None, **EARLY)):
        with pytest.raises(InputError) as error:
            make()
        assert (error.value.where, error.value.found) == ("mode", monitor)


def trainer_with(**metrics):
    metrics = {name.replace("_", "/"): torch.tensor(value) for name, value in metrics.items()}
    return SimpleNamespace(
        callback_metrics=metrics, current_epoch=0, check_val_every_n_epoch=1, enable_validation=True, should_stop=False,
        sanity_checking=False,
        fast_dev_run=False, state=SimpleNamespace(fn="fit"), val_check_interval=1.0, world_size=1,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda stop, all: stop),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "callback"),
    [
        ("callbacks.best.monitor", BestCheckpoint("valid/uSDR/drums", None)),
        ("callbacks.early_stopping.monitor", StopWithoutProgress("valid/uSDR/drums", None, **EARLY)),
    ],
)
def test_a_measure_that_the_run_does_not_log_is_refused(key, callback):
    with pytest.raises(InputError) as error:
        callback.on_train_epoch_end(trainer_with(valid_loss=1.0, valid_uSDR_vocals=2.0), SimpleNamespace(is_warming_up=False))
    assert (error.value.where, error.value.found) == (key, "valid/uSDR/drums") and "valid/uSDR/vocals" in error.value.expected


def test_epochs_without_scoring_do_not_stop_the_training():
    """`callbacks=scores` logs NaN in these epochs. Early stopping of Lightning would end at the first NaN."""
    callback, task = StopWithoutProgress("valid/SDR/vocals", None, **EARLY), SimpleNamespace(is_warming_up=False)
    callback.setup(trainer_with(), task, "fit")
    for value in (float("nan"), 1.0, float("nan"), 2.0, float("nan")):
        callback.on_train_epoch_end(trainer_with(valid_loss=1.0, valid_SDR_vocals=value), task)
    assert callback.wait_count == 0 and callback.best_score == 2.0
