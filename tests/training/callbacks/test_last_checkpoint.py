"""Test that an interrupted and resumed run equals an uninterrupted run bit for bit."""

import os
import shutil
import signal
import warnings
from functools import partial
from itertools import count

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from unbraid.data.loaders import StepLoader
from unbraid.data.sampler import EpochSteps, epoch_position
from unbraid.runs.errors import Interrupted
from unbraid.runs.metrics_reader import epochs
from unbraid.tasks.schedules import WarmupCosine
from unbraid.tasks.task import Task
from unbraid.training.callbacks.best_checkpoint import BestCheckpoint
from unbraid.training.callbacks.last_checkpoint import LastCheckpoint, latest
from unbraid.training.callbacks.metrics_csv import MEASURED, MetricsCSV
from unbraid.training.callbacks.weight_averages import WeightAverages
from unbraid.training.checkpoints import AtomicCheckpointIO

EPOCHS, STEPS = 8, 4


class Batches(torch.utils.data.Dataset):
    """Make each batch from its number."""

    def __init__(self, steps):
        self.steps = steps

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        return torch.randn(8, 4, generator=torch.Generator().manual_seed(step))


class Data(pl.LightningDataModule):
    steps_per_epoch = STEPS

    def train_dataloader(self):
        return StepLoader(Batches(1000), batch_size=None, sampler=EpochSteps(STEPS, lambda: epoch_position(self.trainer)))

    def val_dataloader(self):
        return DataLoader(Batches(3), batch_size=None)


class Small(Task):
    """Contain everything with a state: batch norm, dropout, momentum, a schedule. `seen` lists all processed batches."""

    def __init__(self, schedule):
        torch.manual_seed(7)
        super().__init__(lambda parameters: torch.optim.Adam(parameters, 0.3), schedule)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
        self.valid_loss, self.seen = MeanMetric(), []

    def training_step(self, batch, index):
        self.seen.append((self.current_epoch, index, batch.sum().item()))
        loss = (self.net(batch) - batch.roll(1, dims=1)).square().mean()
        self.log_mean("loss", loss)
        return loss

    def validation_step(self, batch, index):
        self.valid_loss.update((self.net(batch) - batch.roll(1, dims=1)).square().mean())

    def on_validation_epoch_end(self):
        self.seen.append((self.current_epoch, "valid"))
        self.log("valid/loss", self.valid_loss)


class Killed(BaseException):
    """End a run without writing a checkpoint."""


class Clock:
    """Count calls of hooks, and call `act` at the call with number `moment`."""

    def __init__(self, moment=None, act=None):
        self.moment, self.act, self.moments = moment, act, count()

    def tick(self, *_):
        if next(self.moments) == self.moment:
            self.act()


class Ticks(pl.Callback):
    def __init__(self, clock):
        for hook in (
            "on_train_epoch_start", "on_train_batch_start", "on_after_backward", "on_before_zero_grad", "on_train_batch_end",
            "on_validation_batch_start", "on_validation_end", "on_train_epoch_end",
        ):  # fmt: skip
            setattr(self, hook, clock.tick)


class LateTicks(Checkpoint, Ticks):
    """Count moments between callbacks that write checkpoints."""

    def __init__(self, clock):
        self.on_train_epoch_end = self.on_train_end = clock.tick


def kill():
    raise Killed


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def run(folder, clock, minutes=0, **options):
    """Train in this folder, resuming from its checkpoint, and return the batches that the task processed."""
    folder.mkdir(exist_ok=True)
    options = {"max_epochs": EPOCHS, "check_val_every_n_epoch": 1} | options
    averaged, patience = options.pop("averaged", False), options.pop("patience", 2)
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=0)
    task = Small(partial(WarmupCosine, warmup_steps=5, total_steps=None, end_factor=0.1) if averaged else plateau)
    averages = [WeightAverages([0.5, 0.9], [0.6])] if averaged else []
    callbacks = [
        *averages, Ticks(clock), BestCheckpoint("valid/loss", "min"), LateTicks(clock), LastCheckpoint(minutes),
        LateTicks(clock), *([EarlyStopping("valid/loss", min_delta=0.3, patience=patience)] if patience else []), MetricsCSV(),
    ]  # fmt: skip
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        default_root_dir=folder, callbacks=callbacks, plugins=[AtomicCheckpointIO()], use_distributed_sampler=False, **options,
    )  # fmt: skip
    data = Data()
    data.trainer = trainer
    try:
        trainer.fit(task, data, ckpt_path=latest(folder), weights_only=True)
    except Killed:
        pass
    except SystemExit as error:
        assert isinstance(error.__context__, Interrupted) and error.__context__.signum == signal.SIGTERM
    return task.seen


def timeless(value):
    """Return a value without the columns that measure time."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in MEASURED}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def assert_same(one, other, where=""):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, items in enumerate(zip(one, other, strict=True)):
            assert_same(*items, f"{where}[{number}]")
    else:
        assert one == other, where


def assert_same_end(whole, folder):
    for name in ("best", "last"):
        one, other = (timeless(torch.load(where / f"checkpoints/{name}.ckpt", weights_only=True)) for where in (whole, folder))
        assert_same(one, other, name)
    assert timeless(epochs(whole)) == timeless(epochs(folder))


OPTIONS = [
    {}, {"check_val_every_n_epoch": 2}, {"accumulate_grad_batches": 2}, {"max_steps": 13},
    {"max_steps": 10, "check_val_every_n_epoch": 4},
    {"averaged": True}, {"averaged": True, "accumulate_grad_batches": 2, "check_val_every_n_epoch": 3},
]  # fmt: skip


@pytest.fixture
def folders(tmp_path):
    return tmp_path / "whole", tmp_path / "run"


def uninterrupted(whole, folder, *arguments, **options):
    clock = Clock()
    seen = run(folder, clock, *arguments, **options)
    folder.rename(whole)
    return seen, next(clock.moments)


def assert_ended_and_continued(folders, act, moments, minutes, options):
    """Interrupt and resume one run per moment, and compare it with an uninterrupted run."""
    whole, folder = folders
    expected, count = uninterrupted(whole, folder, minutes, **options)
    for moment in range(count)[moments]:
        before = run(folder, Clock(moment, act), minutes, **options)
        after = run(folder, Clock(), minutes, **options)
        assert before == expected[: len(before)] and after == expected[len(expected) - len(after) :], moment
        assert len(before) + len(after) >= len(expected), moment
        assert_same_end(whole, folder)
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [0, 1000])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_killed_at_many_moments(folders, options, minutes):
    assert_ended_and_continued(folders, kill, slice(minutes % 7, None, 11), minutes, options)


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_terminated_at_many_moments(folders, options):
    assert_ended_and_continued(folders, terminate, slice(3, None, 11), 1000, options)


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS[:5], ids=str)  # the two others take too long
@pytest.mark.parametrize("minutes", [0, 1000])
@pytest.mark.parametrize("act", [kill, terminate])
def test_ended_at_every_moment(folders, options, act, minutes):
    assert_ended_and_continued(folders, act, slice(None), minutes, options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_steps": 2, "max_epochs": -1}, {"max_steps": 10}, {"max_steps": 8, "check_val_every_n_epoch": 3},
        {"max_steps": 10, "val_check_interval": 3}, {"max_steps": 10, "val_check_interval": 3, "check_val_every_n_epoch": None},
        {"max_steps": 3, "accumulate_grad_batches": 2},
    ],
    ids=str,
)  # fmt: skip
def test_last_step_is_validated(folders, options):
    """`max_steps` may end training at any step: then `valid/loss` is that of the last weights, and training can continue."""
    whole, folder = folders
    seen, _ = uninterrupted(whole, folder, patience=10, **options)
    losses = [row.get("valid/loss", "") for row in epochs(whole)]
    assert seen[-1][1] == "valid" and "" not in losses[-1:] and len({*losses}) == len(losses)
    state = torch.load(whole / "checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == options["max_steps"] and not state["resumption"]["should_stop"]
    assert (whole / "checkpoints/best.ckpt").is_file()
    assert run(whole, Clock(), patience=10, **options | {"max_steps": 20})
    assert torch.load(whole / "checkpoints/last.ckpt", weights_only=True)["global_step"] > options["max_steps"]


def test_a_run_without_validation_selects_no_weights(folders):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*could not find the monitored key.*")
        run(folders[1], Clock(), patience=None, max_steps=6, limit_val_batches=0)
    assert {path.name for path in (folders[1] / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}


def test_averages_and_weights_are_validated_together(folders):
    uninterrupted(*folders, averaged=True, max_steps=6)
    assert all(row["valid/loss"] and row["valid/loss/ema_0.5_step"] for row in epochs(folders[0]))


def test_schedule_and_early_stopping_are_active(folders):
    seen, _ = uninterrupted(*folders)
    rates = {row.split(",")[3] for row in (folders[0] / "metrics.csv").read_text().splitlines()[1:]}
    assert len(rates) > 1 and 1 < seen[-1][0] + 1 < EPOCHS
