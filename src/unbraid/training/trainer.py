"""Build the Lightning Trainer of a run, set up the process, and start the training."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.runs.text import echo
from unbraid.training.callbacks.epoch_means import logger_for
from unbraid.training.callbacks.last_checkpoint import LAST, latest
from unbraid.training.callbacks.metrics_csv import MetricsCSV
from unbraid.training.checkpoints import AtomicCheckpointIO
from unbraid.training.loggers import Loggers
from unbraid.training.loggers.callback import LoggerCallback


def set_up_process(seed: int, tf32: bool = False) -> None:
    """Seed the random number generators, and set floating-point mode, log level and warning filters of this process.

    Args:
        seed: seed of all generators.
        tf32: True to compute matrix products of float32 in TF32, if the GPU supports TF32.
    """
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    # On CPU, denormal numbers in masks and gradients make steps several times slower. Worker threads inherit the mode when they
    # start, so it is set before the first operation.
    torch.set_flush_denormal(True)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.callbacks.model_summary").setLevel(logging.INFO)  # the table of layers is wanted
    # Lightning 2.6.6 uses a call that torch 2.11 deprecates; the user cannot change this.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", module="pytorch_lightning")
    # On a machine with Slurm, the warning recommends what launcher=slurm does.
    warnings.filterwarnings("ignore", "The `srun` command is available", module="lightning_fabric")
    pl.seed_everything(seed, workers=True, verbose=False)


def build_trainer(config: DictConfig, loggers: Loggers, folder: Path) -> pl.Trainer:
    """Build the Lightning Trainer of a run with its callbacks.

    Args:
        config: config of the run.
        loggers: loggers that receive the metrics of each epoch.
        folder: run folder.

    Returns:
        The Trainer.

    Raises:
        InputError: a value of the config group `trainer` is invalid; or the run has loggers, but lacks the callback
            `callbacks.table`. This callback writes `metrics.csv`, which the loggers read.
        InstantiationException: the Trainer cannot be built for another reason.
    """
    for key in ("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"):
        if config.trainer[key] is None or config.trainer[key] < 1:
            raise InputError(f"trainer.{key}", found=config.trainer[key], expected="at least 1")
    precision = str(config.trainer.precision)
    if "16" in precision and not precision.startswith("bf16"):  # the run would be reported as diverged
        problem = "gradients overflow in this precision"
        raise InputError("trainer.precision", problem, found=precision, expected="bf16-mixed or 32-true")
    callbacks = _callbacks(config, loggers)
    options: Any = config.trainer
    if not config.get("train", True):  # Lightning prepares the model and trains no step
        options = OmegaConf.merge(options, {"max_epochs": 0})
        callbacks = [callback for callback in callbacks if isinstance(callback, MetricsCSV | LoggerCallback)]
    if logger := logger_for(callbacks):
        options = OmegaConf.masked_copy(options, [str(key) for key in options if key != "logger"])
    try:
        trainer = build(
            options, default_root_dir=str(folder), callbacks=callbacks, plugins=[AtomicCheckpointIO(), *cluster()], **logger,
        )  # fmt: skip
    except InstantiationException as error:
        if isinstance(error.__cause__, MisconfigurationException):
            raise InputError("trainer", f"Lightning refuses an option ({error.__cause__})") from error
        raise
    profiler: Any = trainer.profiler
    if (
        not isinstance(profiler, PassThroughProfiler) and profiler.dirpath is None
    ):  # `trainer.profiler=simple` would print into the log
        profiler.dirpath, profiler.filename = folder, "profile"
    return trainer


def _callbacks(config: DictConfig, loggers: Loggers) -> list[pl.Callback]:
    """Build the callbacks in the config of a run, the callback of a hyperparameter search, and the callback of the loggers.

    A run that does not belong to a search, or has no loggers, has fewer callbacks.
    """
    callbacks = [callback for callback in build(config.callbacks).values() if callback is not None]
    if wrong := next((callback for callback in callbacks if not isinstance(callback, pl.Callback)), None):
        found, expected = type(wrong).__name__, "subclasses of pytorch_lightning.Callback"
        raise InputError("callbacks", "this object is not a Lightning callback", found=found, expected=expected)
    if config.get("search") is not None:
        callbacks.append(build(config.search))
    if loggers.loggers:
        table = next((callback for callback in callbacks if isinstance(callback, MetricsCSV)), None)
        if table is None:
            problem = "loggers read metrics.csv, but the callback 'table' that writes this file is missing"
            raise InputError("logger", problem, hint="Add this callback, as in conf/callbacks/default.yaml.")
        callbacks.append(LoggerCallback(loggers, table))
    return callbacks


def cluster() -> list[SLURMEnvironment]:
    """Return a list with Lightning's plugin for Slurm if Slurm started this process; otherwise return an empty list.

    With the plugin, Lightning reads rank and number of processes from Slurm. Slurm sends signals before a time limit. The
    callback `LastCheckpoint`, and not the plugin, handles these signals.
    """
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect() else []


@contextmanager
def _convert_errors() -> Iterator[None]:
    """Convert errors of `Trainer.fit` in the `with` block: an invalid option becomes an InputError.

    After Ctrl-C, Lightning raises SystemExit instead of KeyboardInterrupt. This function then raises the original
    KeyboardInterrupt.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise InputError("trainer", f"Lightning refuses an option ({error})") from error
    except SystemExit as error:  # Lightning exits after a KeyboardInterrupt
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def fit(
    trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, folder: Path, start: Path | None = None
) -> None:
    """Train a task. Training resumes from the newest undamaged checkpoint in the run folder, if the folder contains one.

    An option that Lightning refuses raises InputError. A stop signal of the operating system (Ctrl-C, SIGTERM, …) raises
    `Interrupted`.

    Args:
        trainer: Lightning Trainer of the run.
        task: model with its loss and optimizer.
        data: data set of the run.
        folder: run folder.
        start: checkpoint from which training continues if the run folder contains no checkpoint. None: training then starts
            with the current weights of the task.
    """
    checkpoint = latest(folder) or start
    # A checkpoint of the user's choice may have the state of a callback that this run does not use.
    warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`", module="pytorch_lightning")
    if checkpoint and checkpoint.parent.parent == folder and trainer.is_global_zero:
        damaged = "" if checkpoint.name == LAST else f"; {LAST} is damaged"
        # The folder contains the checkpoints of this run.
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty", module="pytorch_lightning")
        echo(f"        resuming from checkpoints/{checkpoint.name}{damaged}")
    with _convert_errors():
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)


def check_clipping(config: DictConfig, trainer: pl.Trainer) -> None:
    """Check that gradients can be clipped. Without this check, Lightning would raise an error in the first step.

    Args:
        config: config of the run.
        trainer: Lightning Trainer of the run.

    Raises:
        InputError: gradients cannot be clipped, because the optimizer is fused (`fused=True` in PyTorch) and the precision is
            mixed.
    """
    fused = OmegaConf.select(config, "model.optimizer.fused")
    if fused and trainer.gradient_clip_val and isinstance(trainer.precision_plugin, MixedPrecision):
        problem = "a fused optimizer cannot clip gradients in mixed precision"
        hint = "Set optim.optimizer.fused=false."
        raise InputError("trainer.gradient_clip_val", problem, found=trainer.gradient_clip_val, hint=hint)
