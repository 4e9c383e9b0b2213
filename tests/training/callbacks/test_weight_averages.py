"""Averages of weights equal their closed form, are validated, and the best weights are saved."""

import csv

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torchmetrics import MeanMetric

from tests.training.callbacks.test_last_checkpoint import STEPS, Data
from unbraid.runs.errors import InputError
from unbraid.tasks.task import Task
from unbraid.training.callbacks.best_checkpoint import BestCheckpoint
from unbraid.training.callbacks.metrics_csv import MetricsCSV
from unbraid.training.callbacks.weight_averages import WeightAverages


class Noisy(Task):
    """Add a random step of constant size to a weight that is already optimal. An average has a lower loss than the weight."""

    def __init__(self) -> None:
        super().__init__(lambda parameters: torch.optim.SGD(parameters, 1.0), None)
        self.weight = nn.Parameter(torch.zeros(4))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("count", torch.tensor(0))
        self.valid_loss, self.history = MeanMetric(), []

    def training_step(self, batch, index):
        self.mean.copy_(batch[0, :2])
        self.count += 1
        loss = (self.weight * batch[0]).sum()
        self.log_mean("loss", loss)
        return loss

    def on_before_zero_grad(self, optimizer):
        if self.trainer.global_step > len(self.history):
            self.history.append(self.weight.detach().clone())

    def validation_step(self, batch, index):
        self.valid_loss.update(self.weight.square().sum())

    def on_validation_epoch_end(self):
        self.log("valid/loss", self.valid_loss)


def fit(folder, averages, **options):
    torch.manual_seed(0)
    task, best = Noisy(), BestCheckpoint("valid/loss", "min")
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        default_root_dir=folder, callbacks=[averages, best, MetricsCSV()], **({"max_epochs": 3} | options),
    )  # fmt: skip
    data = Data()
    data.trainer = trainer
    trainer.fit(task, data)
    with (folder / "metrics.csv").open() as file:
        return task, list(csv.DictReader(file)), torch.load(folder / "checkpoints/best.ckpt", weights_only=True)


def closed_form(history, decay):
    factors = torch.tensor([decay ** (len(history) - 1 - i) for i in range(len(history))], dtype=torch.float64)
    return (factors[:, None] * torch.stack(history).double()).sum(dim=0) / factors.sum()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_averages_equal_their_closed_form(tmp_path, accumulate):
    averages = WeightAverages([0.9, 0.5], [0.8])
    task, _, _ = fit(tmp_path, averages, accumulate_grad_batches=accumulate)
    history = [*task.history, task.weight.detach()][-3 * STEPS // accumulate :]
    assert len(history) == 3 * STEPS // accumulate
    for name, decay in (("ema_0.9_step", 0.9), ("ema_0.5_step", 0.5)):
        assert torch.allclose(averages.averages[name]["weight"].double(), closed_form(history, decay), atol=1e-6)
    ends = history[STEPS // accumulate - 1 :: STEPS // accumulate]
    assert torch.allclose(averages.averages["ema_0.8_epoch"]["weight"].double(), closed_form(ends, 0.8), atol=1e-6)
    assert averages.averages["ema_0.9_step"]["count"] == task.count  # integers are copied


def test_best_checkpoint_contains_the_best_weights(tmp_path):
    averages = WeightAverages([0.9], [])
    task, rows, best = fit(tmp_path, averages)
    raw, averaged = ([float(row[name]) for row in rows] for name in ("valid/loss", "valid/loss/ema_0.9_step"))
    lowest = min([*raw, *averaged])
    assert lowest in averaged and lowest < min(raw)
    assert best["state_dict"]["weight"].square().sum().item() == pytest.approx(lowest, rel=1e-6)
    (state,) = (state for name, state in best["callbacks"].items() if name.startswith("BestCheckpoint"))
    assert state["best_model_score"] == pytest.approx(lowest)
    assert not torch.equal(task.weight, averages.averages["ema_0.9_step"]["weight"])  # training goes on with its own weights


def test_the_best_weights_of_validations_within_an_epoch_have_the_best_score(tmp_path):
    averages = WeightAverages([0.9], [0.5])
    task, rows, best = fit(tmp_path, averages, max_epochs=6, val_check_interval=0.5)
    (state,) = (state for name, state in best["callbacks"].items() if name.startswith("BestCheckpoint"))
    assert best["state_dict"]["weight"].square().sum().item() == pytest.approx(float(state["best_model_score"]), rel=1e-6)
    assert state["best_model_score"] <= min(float(row[f"valid/loss{name}"]) for row in rows for name in ("", "/ema_0.9_step"))
    assert all(row["valid/loss/ema_0.5_epoch"] for row in rows[1:])
    assert float(rows[-1]["valid/loss"]) == pytest.approx(task.weight.square().sum().item(), rel=1e-6)


def test_validation_of_averages_does_not_change_the_training(tmp_path):
    weights = []
    for number, decays in enumerate(([0.5], [0.9, 0.99])):
        (tmp_path / str(number)).mkdir()
        task, rows, _ = fit(tmp_path / str(number), WeightAverages(decays, []))
        weights.append((task.weight.tolist(), [row["valid/loss"] for row in rows]))
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("step", "epoch", "where", "found"),
    [([1.0], [], "step_decays", 1.0), ([], [-0.1], "epoch_decays", -0.1), ([], [], "step_decays", None)],
)
def test_invalid_decays_are_refused(step, epoch, where, found):
    with pytest.raises(InputError) as error:
        WeightAverages(step, epoch)
    assert error.value.where == where and error.value.found == found


def test_similar_decays_have_their_own_averages():
    assert len(WeightAverages([0.999999, 0.9999999], []).averages) == 2


def test_a_checkpoint_with_other_decays_is_refused():
    with pytest.raises(InputError) as error:
        WeightAverages([0.9], []).load_state_dict(WeightAverages([0.5], []).state_dict())
    assert (error.value.found, error.value.expected) == ("ema_0.9_step", "ema_0.5_step")
