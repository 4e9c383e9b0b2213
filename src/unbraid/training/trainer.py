"""The Lightning Trainer of a run, and what the process needs before training."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.runs.text import echo
from unbraid.training.callbacks.last_checkpoint import LAST, latest
from unbraid.training.callbacks.metrics_csv import MetricsCSV
from unbraid.training.checkpoints import AtomicCheckpointIO
from unbraid.training.loggers import Loggers
from unbraid.training.loggers.callback import LoggerCallback


def set_up_process(seed: int) -> None:
    # On CPU, mask and gradient values that fall into denormal numbers make steps several times slower. Worker threads
    # inherit the mode when they start, so it comes before the first operation.
    torch.set_flush_denormal(True)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Lightning 2.6.6 asks torch 2.11 in a way that torch announces to end; nothing in a user's hands changes it.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", module="pytorch_lightning")
    # On a machine with Slurm; launcher=slurm is what it would advise.
    warnings.filterwarnings("ignore", "The `srun` command is available", module="lightning_fabric")
    pl.seed_everything(seed, workers=True, verbose=False)


def build_trainer(config: DictConfig, loggers: Loggers, folder: Path) -> pl.Trainer:
    for key in ("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"):
        if config.trainer[key] is None or config.trainer[key] < 1:
            raise InputError(f"trainer.{key} must be at least 1, found {config.trainer[key]}")
    precision = str(config.trainer.precision)
    if "16" in precision and not precision.startswith("bf16"):  # an overflow would be taken for a training that diverged
        raise InputError(f"trainer.precision: found {precision}, in which gradients overflow; expected bf16-mixed or 32-true")
    callbacks = [callback for callback in build(config.callbacks).values() if callback is not None]
    if config.get("search") is not None:
        callbacks.append(build(config.search))
    if loggers.loggers:
        callbacks.append(LoggerCallback(loggers, _table(callbacks)))
    try:
        trainer = build(
            config.trainer, default_root_dir=str(folder), callbacks=callbacks, plugins=[AtomicCheckpointIO(), *cluster()]
        )
    except InstantiationException as error:
        if isinstance(error.__cause__, MisconfigurationException):
            raise InputError(f"trainer: {error.__cause__}") from error
        raise
    return trainer


def _table(callbacks: Sequence[pl.Callback]) -> MetricsCSV:
    found = next((one for one in callbacks if isinstance(one, MetricsCSV)), None)
    if found is None:
        raise InputError("logger: is told what metrics.csv says, and there is none without callbacks.table")
    return found


def cluster() -> list[SLURMEnvironment]:
    """Where Slurm has started this process: Lightning learns of the others from it, and leaves signals to `LastCheckpoint`."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect() else []


def fit(trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, folder: Path) -> None:
    checkpoint = latest(folder)
    if checkpoint and trainer.is_global_zero:
        said = "" if checkpoint.name == LAST else f"; {LAST} is damaged"
        # It is where the run has begun.
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty", module="pytorch_lightning")
        echo(f"        goes on from checkpoints/{checkpoint.name}{said}")
    try:
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    except MisconfigurationException as error:
        raise InputError(str(error)) from error
    except SystemExit as error:  # how Lightning ends after a KeyboardInterrupt
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def check_clipping(config: DictConfig, trainer: pl.Trainer) -> None:
    """What Lightning would say with a traceback in the first step."""
    fused = OmegaConf.select(config, "model.optimizer.fused")
    if fused and trainer.gradient_clip_val and isinstance(trainer.precision_plugin, MixedPrecision):
        raise InputError(
            "trainer.gradient_clip_val: a fused optimizer cannot clip in mixed precision; set optim.optimizer.fused=false"
        )
