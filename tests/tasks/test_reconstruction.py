"""Tests of the reconstruction tasks: loss, schedule, warm-up, divergence and pretraining."""

import math
from functools import partial
from itertools import chain
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.distributions import Normal, kl_divergence
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from tests.test_configs import compose
from unbraid.data.digits import Digits, ShuffledBatches
from unbraid.models.corruptions import Nothing
from unbraid.models.features import Pixels
from unbraid.models.losses import SquaredError
from unbraid.nets.autoencoders import DenseAutoencoder, VariationalAutoencoder, divergence
from unbraid.nets.convolutional import ConvolutionalAutoencoder
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.tasks.reconstruction import ReconstructionTask, VariationalTask
from unbraid.training.callbacks.best_checkpoint import BestCheckpoint, StopWithoutProgress
from unbraid.training.callbacks.last_checkpoint import LastCheckpoint
from unbraid.training.callbacks.pretraining import GreedyPretraining
from unbraid.training.checkpoints import AtomicCheckpointIO


def task_of(net):
    torch.manual_seed(0)
    return ReconstructionTask(Pixels(8), net, Nothing(), SquaredError(), lambda parameters: torch.optim.Adam(parameters, 1e-2))


def deep(size, tied=False):
    return DenseAutoencoder(size, 4, [32, 16], tied=tied)


deep.takes = "vectors"


def fit(task, tmp_path, callbacks=(), **trainer):
    data = Digits(root=None, size=8, valid=0.1, batch_size=64, seed=0)
    data.trainer = made = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        default_root_dir=tmp_path, callbacks=[*callbacks],
        **({"max_epochs": 1, "enable_checkpointing": "plugins" in trainer} | trainer),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    made.fit(task, data)
    return made


class Losses(pl.Callback):
    """Store the loss of each training step."""

    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())


@pytest.mark.parametrize("steps", [-1, 7])
def test_loss_of_an_epoch_is_a_mean(tmp_path, steps):
    """The epoch also has a mean if `max_steps` ends it early."""
    callback = Losses()
    trainer = fit(task_of(deep), tmp_path, [callback], max_steps=steps)
    assert len(callback.losses) == (20 if steps < 0 else steps)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(sum(callback.losses) / len(callback.losses))


def test_divergence_keeps_earlier_checkpoints(tmp_path):
    """The checkpoint that is written after an exception must not replace them either."""

    class Break(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                torch.nn.init.constant_(pl_module.net.encoder[0].weight, torch.nan)

    best = ModelCheckpoint(filename="best", monitor="valid/loss", enable_version_counter=False)
    last = LastCheckpoint(minutes=10)
    with pytest.raises(InputError) as error:
        fit(task_of(deep), tmp_path, [Break(), best, last], max_epochs=3, plugins=[AtomicCheckpointIO()])
    assert error.value.where == "train/loss of epoch 1" and math.isnan(error.value.found)
    assert "best.ckpt and last.ckpt" in error.value.hint
    for name in ("best", "last"):
        state = torch.load(tmp_path / f"checkpoints/{name}.ckpt", weights_only=True)
        assert state["epoch"] == 0
        assert all(weights.isfinite().all() for weights in state["state_dict"].values())


def test_weight_of_the_divergence_rises():
    task = VariationalTask(
        Pixels(8), variational, Nothing(), SquaredError(), torch.optim.Adam, kl_weight=2.0, kl_warmup_epochs=3
    )  # fmt: skip
    weights = []
    for epoch in range(5):
        task._trainer = SimpleNamespace(current_epoch=epoch)
        weights.append(task.weight())
    assert weights == [0.5, 1.0, 1.5, 2.0, 2.0]
    items = torch.rand(16, 64)
    task.log_mean = lambda name, value: None
    task.net.draw = lambda mean, log_variance, generator=None: mean
    mean, log_variance = task.net.infer(items)
    expected = SquaredError()(task.net.decode(mean), items) + 2.0 * divergence(mean, log_variance).mean()
    assert torch.isclose(task.training_loss(items, items), expected)


def test_validation_loss_agrees_with_the_elbo():
    """The ELBO of a linear decoder has a closed form. Validation uses the full weight in the warm-up, too."""
    sigma, data = 0.5, Digits(root=None, size=8, valid=0.1, batch_size=64, seed=0)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    torch.manual_seed(0)
    task = VariationalTask(
        Pixels(8), linear, Nothing(), SquaredError(), torch.optim.Adam, kl_weight=2 * sigma**2, kl_warmup_epochs=9
    )  # fmt: skip
    task._trainer = SimpleNamespace(current_epoch=0, global_rank=0)
    with torch.no_grad():
        for index in range(400):  # each index has different noise
            task.validation_step(batch, index)
        clean = task.features.vectors(task.features.items(batch)[0])
        mean, log_variance = task.net.infer(clean)
        code, ((weight, bias),) = Normal(mean, (0.5 * log_variance).exp()), task.net.decoder_layers()
        square = (clean - mean @ weight.T - bias).square().sum(1) + code.variance @ weight.square().sum(0)
        constant = clean.shape[1] / 2 * math.log(2 * math.pi * sigma**2)
        divergences = kl_divergence(code, Normal(0, 1)).sum(1)
        elbo = -square / (2 * sigma**2) - constant - divergences
        error = SquaredError()(task.net(clean), clean)
    loss = task.valid_loss.compute().item()
    assert loss == pytest.approx(-2 * sigma**2 * (elbo + constant).mean().item(), rel=0.01)
    assert loss > 1.1 * error.item()  # the error of the mean code
    assert task.valid_divergence.compute().item() == pytest.approx(divergences.mean().item())


def test_validation_noise_is_the_same_each_epoch(tmp_path):
    task = VariationalTask(Pixels(8), variational, Nothing(), SquaredError(), torch.optim.SGD, kl_weight=1, kl_warmup_epochs=0)
    task.make_optimizer = partial(torch.optim.SGD, lr=0.0)
    values = []

    class Look(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            values.append({name: trainer.callback_metrics[name].item() for name in ("valid/loss", "valid/KL")})

    fit(task, tmp_path, [Look()], max_epochs=2, limit_train_batches=2)
    assert values[0] == values[1] and values[0]["valid/KL"] > 0


@pytest.mark.parametrize(("losses", "best", "ended"), [([1, 2, 3, 9, 7, 8, 8, 8], 4, 7), ([3, 4, 5], 2, 3)])
def test_warm_up_epochs_are_not_selected(tmp_path, losses, best, ended):
    """Early stopping does not count them. A run that ends in its warm-up keeps its latest epoch."""

    class Scripted(VariationalTask):
        def on_validation_epoch_end(self):
            self.log("valid/loss", float(losses[self.current_epoch]))

    callbacks = [
        BestCheckpoint(monitor="valid/loss", mode="min"),
        StopWithoutProgress(monitor="valid/loss", mode="min", patience=2, min_delta=0.0),
    ]
    task = Scripted(Pixels(8), variational, Nothing(), SquaredError(), torch.optim.Adam, kl_weight=1.0, kl_warmup_epochs=3)
    quick = {"limit_train_batches": 1, "limit_val_batches": 1, "plugins": [AtomicCheckpointIO()]}
    trainer = fit(task, tmp_path, callbacks, max_epochs=len(losses), **quick)
    assert torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)["epoch"] == best
    assert trainer.current_epoch == ended


def linear(size):
    return VariationalAutoencoder(size, 4)


linear.takes = "vectors"


def variational(size):
    return VariationalAutoencoder(size, 2, [16])


variational.takes = "vectors"


def test_layer_alone_is_a_shallow_autoencoder():
    net = DenseAutoencoder(6, 3, activation="relu", code_activation="sigmoid", output="tanh")
    items = torch.randn(5, 6)
    assert torch.equal(net.rebuild_layer(items, 0), net(items))
    assert torch.equal(net.encode(items, 0), items)
    net = deep(6)
    assert torch.equal(net.encode(items, 3), net.encode(items))
    below = net.encode(items, 2)
    assert torch.equal(net.rebuild_layer(below, 2), torch.nn.functional.elu(net.decoder[0](net.encode(items))))


@pytest.mark.parametrize("tied", [False, True])
def test_pretraining_lowers_the_error_of_each_layer(tmp_path, tied):
    def net(size):
        return deep(size, tied)

    net.takes = "vectors"
    errors = {}

    class Look(pl.Callback):
        def __init__(self, name):
            self.name = name

        @torch.no_grad()
        def on_fit_start(self, trainer, pl_module):
            net, items = pl_module.net, trainer.datamodule.splits["valid"].pixels.flatten(1)
            below = [net.encode(items, depth) for depth in range(3)]
            errors[self.name] = [
                float((net.rebuild_layer(values, depth) - values).square().sum() / (values - values.mean(0)).square().sum())
                for depth, values in enumerate(below)
            ]

    fit(task_of(net), tmp_path, [Look("before"), GreedyPretraining(5), Look("after")])
    assert all(after < 0.75 < before for before, after in zip(errors["before"], errors["after"], strict=True))


@pytest.mark.slow
def test_hinton2006_is_better_than_plain_training(tmp_path):
    """Plain training uses ReLU, a constant learning rate and no pretraining. The network is small."""
    small = ["data.size=8", "model.net.hidden=[128,64]", "model.net.code=16", "trainer.max_epochs=10"]
    small += ["callbacks.pretraining.epochs=5"]
    errors = []
    for words in ([], ["model.net.activation=relu", "optim=adam"]):
        config = compose("experiment=hinton2006", *small, *words)
        torch.manual_seed(0)
        callbacks = [] if words else [build(config.callbacks.pretraining)]
        trainer = fit(build(config.model), tmp_path, callbacks, max_epochs=10)
        errors.append(trainer.callback_metrics["valid/loss"].item())
    assert errors[0] < 0.85 * errors[1]


@pytest.mark.parametrize(
    ("schedule", "rate"),
    [(partial(StepLR, step_size=1, gamma=0.5), 0.5**6), (partial(ReduceLROnPlateau, factor=0.5, patience=0), 0.5)],
)
def test_plateau_schedule_is_stepped_after_validations(schedule, rate):
    """There are six epochs with two validations, and the second validation is not better."""
    task = task_of(deep)
    task.make_optimizer, task.make_scheduler = partial(torch.optim.SGD, lr=1.0), schedule
    optimizer = task.configure_optimizers()
    for epoch in range(6):
        metrics = {"valid/loss": torch.tensor(1.0)}
        task._trainer = SimpleNamespace(
            current_epoch=epoch, check_val_every_n_epoch=3, callback_metrics=metrics, optimizers=[optimizer]
        )
        optimizer.step()
        task.on_train_epoch_end()
    assert optimizer.param_groups[0]["lr"] == rate


def test_order_of_pretraining_is_reproducible(tmp_path, monkeypatch):
    seen = []

    def recorded(self, step, take=ShuffledBatches.__getitem__):
        batch = take(self, step)
        seen.append(batch.pixels.sum(dim=(1, 2, 3)).tolist())
        return batch

    monkeypatch.setattr(ShuffledBatches, "__getitem__", recorded)
    runs = []
    for _ in range(2):
        seen.clear()
        fit(task_of(deep), tmp_path, [GreedyPretraining(2)], limit_train_batches=0)
        runs.append([tuple(chain(*seen[first : first + 20])) for first in range(0, len(seen), 20)])
    assert runs[0] == runs[1]
    assert len(runs[0]) == len(set(runs[0])) == 2 * 3


def test_pretraining_is_for_dense_layers(tmp_path):
    def net(shape):
        return ConvolutionalAutoencoder(shape, [4, 4])

    net.takes = "patches"
    with pytest.raises(InputError):
        fit(task_of(net), tmp_path, [GreedyPretraining(1)])
    with pytest.raises(InputError):
        GreedyPretraining(0)


def test_resumed_run_is_not_pretrained_again(tmp_path):
    task = task_of(deep)
    GreedyPretraining(1).on_fit_start(SimpleNamespace(ckpt_path="last.ckpt"), task)
    torch.testing.assert_close(task.state_dict(), task_of(deep).state_dict())
