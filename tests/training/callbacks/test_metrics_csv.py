"""Test the columns of metrics.csv that measure time."""

import time
from types import SimpleNamespace

import torch

from unbraid.training.callbacks.metrics_csv import MetricsCSV


class Clock:
    """Replace `time.monotonic` by the attribute `now`."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def trainer(accumulate=1, folder=None):
    return SimpleNamespace(
        accumulate_grad_batches=accumulate, current_epoch=0, global_step=2, optimizers=[], default_root_dir=folder,
        logger=None,
        callback_metrics={"train/loss": torch.tensor(0.5), "valid/loss": torch.tensor(float("nan"))},
    )  # fmt: skip


MODULE = SimpleNamespace(device=torch.device("cpu"))


def batches(table, clock, times, accumulate=1, first=0):
    for number, (start, stop) in enumerate(times, first):
        clock.now = start
        table.on_train_batch_start(trainer(accumulate), MODULE, None, number)
        clock.now = stop
        table.on_train_batch_end(trainer(accumulate), MODULE, None, None, number)


def test_pace_and_wait_exclude_validation(monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    table = MetricsCSV()
    table.on_train_epoch_start(trainer(), MODULE)
    batches(table, clock, [(1, 3), (4, 8)])
    clock.now = 100  # after a validation
    table.on_train_epoch_end(trainer(folder=tmp_path), MODULE)
    (row,) = table.rows
    assert (row["seconds"], row["steps_per_second"], row["wait_share"]) == (100, 0.25, 0.25)
    assert row["train/loss"] == 0.5 and row["valid/loss"] == "" and "gpu_memory_gb" not in row
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0].startswith("epoch,step,seconds,")


def test_accumulated_batches_count_as_one_step(monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    table = MetricsCSV()
    table.on_train_epoch_start(trainer(), MODULE)
    batches(table, clock, [(0, 1), (1, 2), (2, 3), (3, 4)], accumulate=2)
    table.on_train_epoch_end(trainer(folder=tmp_path), MODULE)
    assert (table.rows[0]["steps_per_second"], table.rows[0]["wait_share"]) == (0.5, 0)


def test_resumed_epoch_excludes_the_interruption(monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    before = MetricsCSV()
    before.on_train_epoch_start(trainer(), MODULE)
    batches(before, clock, [(1, 2)])
    state = before.state_dict()
    clock.now = 1000
    after = MetricsCSV()
    after.load_state_dict(state)
    after.on_train_start(trainer(), MODULE)
    batches(after, clock, [(1001, 1002)], first=1)
    after.on_train_epoch_end(trainer(folder=tmp_path), MODULE)
    assert (after.rows[0]["seconds"], after.rows[0]["steps_per_second"], after.rows[0]["wait_share"]) == (4, 0.5, 0.5)
