"""Train: data, separator and task from the config, Trainer.fit, then the best checkpoint scored on the test tracks."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from unbraid.data.module import MultitrackData
from unbraid.errors import InputError
from unbraid.evaluation import Evaluation, table
from unbraid.runs import Run, build, check
from unbraid.tasks.separation import SeparationTask


@dataclass
class Experiment:
    """The top level of a config, which `unbraid.runs.check` binds like any signature.

    Args:
        seed: of weights, data order and dropout.
        name: ends the run folder's name.
        targets: what to take out of a mixture: each name and the sources it sums.
        data: a DataModule.
        model: a task with its separator, network and loss.
        optim: optimizer and schedule, which the model refers to.
        trainer: a Lightning Trainer.
        callbacks: of the Trainer, by name.
        evaluation: what to score after training.
    """

    seed: int
    name: str
    targets: dict[str, list[str]]
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    optim: Mapping[str, Any]
    trainer: Mapping[str, Any]
    callbacks: Mapping[str, Any]
    evaluation: Mapping[str, Any]


def train(config: DictConfig) -> None:
    """Run one experiment in the folder that Hydra has chosen for it."""
    check(config, Experiment)
    if not 0 <= config.seed < 2**32:
        raise InputError(f"seed must lie in [0, 2**32 - 1], found {config.seed}")
    # On CPU, mask and gradient values that fall into denormal numbers make steps several times slower. Worker threads
    # inherit the mode when they start, so it comes before the first operation.
    torch.set_flush_denormal(True)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Lightning 2.6.6 asks torch 2.11 in a way that torch announces to end; nothing in a user's hands changes it.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", module="pytorch_lightning")
    pl.seed_everything(config.seed, workers=True, verbose=False)

    task: SeparationTask = build(config.model)
    data: MultitrackData = build(config.data)
    evaluate: Evaluation = build(config.evaluation)
    folder = Path(HydraConfig.get().runtime.output_dir)
    trainer = _trainer(config, folder)
    _try_one_chunk(task, data)
    data.prepare_data()
    data.setup("fit")
    for split in ("train", "valid", "test"):
        data.split(split)

    run = Run(folder, config, HydraConfig.get().overrides.task)
    if trainer.is_global_zero:
        run.start()
    try:
        _fit(trainer, task, data)
        if trainer.is_global_zero:
            _score(evaluate, trainer, task, data, folder)
    except BaseException as error:
        if trainer.is_global_zero:
            run.mark("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    if trainer.is_global_zero:
        run.mark("done")


@torch.no_grad()
def _try_one_chunk(task: SeparationTask, data: MultitrackData) -> None:
    """Find out before any decoding whether the network takes a chunk of this size, and the data has these targets."""
    separator = task.separator.eval()
    separator(torch.zeros(1, separator.channels, data.chunk_samples))
    separator.train()


def _trainer(config: DictConfig, folder: Path) -> pl.Trainer:
    callbacks = list(build(config.callbacks).values())
    try:
        return build(config.trainer, default_root_dir=str(folder), callbacks=callbacks)
    except InstantiationException as error:
        if isinstance(error.__cause__, MisconfigurationException | ModuleNotFoundError | ValueError):
            raise InputError(f"trainer: {error.__cause__}") from error
        raise


def _fit(trainer: pl.Trainer, task: SeparationTask, data: MultitrackData) -> None:
    try:
        trainer.fit(task, data)
    except SystemExit as error:  # how Lightning ends after Ctrl-C, with the last checkpoint written
        raise KeyboardInterrupt from error


def _score(evaluate: Evaluation, trainer: pl.Trainer, task: SeparationTask, data: MultitrackData, folder: Path) -> None:
    best = folder / "checkpoints" / "best.ckpt"
    if best.exists():
        task.load_state_dict(torch.load(best, weights_only=True, map_location="cpu")["state_dict"])
    separator = task.separator.to(trainer.strategy.root_device)
    checkpoint = f"checkpoints/{best.name}" if best.exists() else "the last weights"
    scores = evaluate(separator, data.split("test"), data.target_weights(), checkpoint, folder)
    print(table(scores))
    print(f"listen: {folder / 'audio'}   look: {folder / 'pictures'}   scores: {folder / 'scores.json'}")
