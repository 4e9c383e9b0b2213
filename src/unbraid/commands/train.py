"""Train: data, separator and task from the config, Trainer.fit, then the best checkpoint scored on the test tracks."""

import logging
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from unbraid.data.module import MultitrackData
from unbraid.data.tracks import SPLITS
from unbraid.errors import InputError
from unbraid.evaluation import Evaluation, table
from unbraid.runs import Run, build, check
from unbraid.tasks.checkpoints import WholeCheckpoints
from unbraid.tasks.separation import SeparationTask

LONGEST_CHUNK_SECONDS = 600
LINKS = {
    "data.targets": "targets",
    "model.separator.targets": "targets",
    "data.sample_rate": "model.separator.sample_rate",
    "data.channels": "model.separator.channels",
}


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
    _check_agreement(config)
    _set_up_process(config.seed)
    folder = Path(HydraConfig.get().runtime.output_dir)
    task: SeparationTask = build(config.model)
    data: MultitrackData = build(config.data)
    evaluate: Evaluation = build(config.evaluation)
    trainer = _trainer(config, folder)
    _try_one_chunk(task, data)
    data.prepare_data()
    data.setup("fit")
    if len(data.split("valid")) < trainer.world_size:
        raise InputError(f"data.root={data.root}: has fewer valid tracks than the {trainer.world_size} processes")

    if not trainer.is_global_zero:
        _fit(trainer, task, data)
        return
    run = Run(folder, config, HydraConfig.get().overrides.task)
    run.start()
    try:
        print(_introduction(task, data, folder))
        _fit(trainer, task, data)
        _score(evaluate, trainer, task, data, folder)
    except BaseException as error:
        with suppress(OSError):  # a full disk must not hide its own message
            run.mark("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    run.mark("done")


def _set_up_process(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise InputError(f"seed must lie in [0, 2**32 - 1], found {seed}")
    # On CPU, mask and gradient values that fall into denormal numbers make steps several times slower. Worker threads
    # inherit the mode when they start, so it comes before the first operation.
    torch.set_flush_denormal(True)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Lightning 2.6.6 asks torch 2.11 in a way that torch announces to end; nothing in a user's hands changes it.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", module="pytorch_lightning")
    pl.seed_everything(seed, workers=True, verbose=False)


def _check_agreement(config: DictConfig) -> None:
    """Data and separator must agree: the yaml links them, and overriding one end of a link would train on something else."""
    for link, source in LINKS.items():
        found, expected = OmegaConf.select(config, link), OmegaConf.select(config, source)
        if found != expected:
            raise InputError(f"{link}: found {found}, expected what {source} says, {expected}; set that one instead")
    for key in ("model.separator.chunk_seconds", "data.chunk_seconds"):
        seconds = OmegaConf.select(config, key)
        if not 0 < seconds <= LONGEST_CHUNK_SECONDS:
            raise InputError(f"{key} must lie in (0, {LONGEST_CHUNK_SECONDS}], found {seconds}")


@torch.no_grad()
def _try_one_chunk(task: SeparationTask, data: MultitrackData) -> None:
    """Find out before any decoding whether the network takes a chunk of this size."""
    separator = task.separator.eval()
    separator(torch.zeros(1, separator.channels, data.chunk_samples))
    separator.train()


def _trainer(config: DictConfig, folder: Path) -> pl.Trainer:
    for key in ("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"):
        if config.trainer[key] is None or config.trainer[key] < 1:
            raise InputError(f"trainer.{key} must be at least 1, found {config.trainer[key]}")
    callbacks = [callback for callback in build(config.callbacks).values() if callback is not None]
    try:
        trainer = build(config.trainer, default_root_dir=str(folder), callbacks=callbacks, plugins=[WholeCheckpoints()])
    except InstantiationException as error:
        if isinstance(error.__cause__, MisconfigurationException):
            raise InputError(f"trainer: {error.__cause__}") from error
        raise
    if trainer.world_size > 1 and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise InputError(
            f"trainer: {trainer.world_size} processes inside a sweep would pair the processes of different runs; "
            "start each of these runs by itself"
        )
    return trainer


def _introduction(task: SeparationTask, data: MultitrackData, folder: Path) -> str:
    """What is about to be trained, on what, and where it will lie."""
    separator, chosen = task.separator, HydraConfig.get().runtime.choices
    millions = sum(parameter.numel() for parameter in separator.parameters()) / 1e6
    counts = ", ".join(f"{len(data.split(split))} {split}" for split in SPLITS)
    return (
        f"model   {chosen['model']}: {millions:.2f} M parameters, {' + '.join(separator.targets)}, "
        f"{separator.sample_rate} Hz, {'mono' if separator.channels == 1 else 'stereo'}\n"
        f"data    {chosen['data']}: {counts} tracks; {len(data.train_dataloader())} steps an epoch\n"
        f"run     {_shown(folder)}"
    )


def _shown(path: Path) -> Path:
    """As short as it can be typed from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _fit(trainer: pl.Trainer, task: SeparationTask, data: MultitrackData) -> None:
    try:
        trainer.fit(task, data)
    except MisconfigurationException as error:
        raise InputError(" ".join(str(error).split())) from error
    except SystemExit as error:  # how Lightning ends after Ctrl-C, with the last checkpoint written
        raise KeyboardInterrupt from error


def _score(evaluate: Evaluation, trainer: pl.Trainer, task: SeparationTask, data: MultitrackData, folder: Path) -> None:
    best = folder / "checkpoints" / "best.ckpt"
    if best.exists():
        task.load_state_dict(torch.load(best, weights_only=True, map_location="cpu")["state_dict"])
    separator = task.separator.to(trainer.strategy.root_device)
    checkpoint = f"checkpoints/{best.name}" if best.exists() else "the last weights"
    scores = evaluate(separator, data.split("test"), data.target_weights(), checkpoint, folder)
    print(f"\n{table(scores)}\n")
    for verb, name in {"listen": "audio", "look": "pictures", "scores": "scores.json"}.items():
        print(f"{verb:<8}{_shown(folder / name)}")
