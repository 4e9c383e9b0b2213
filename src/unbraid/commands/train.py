"""Train: data, separator and task from the config, Trainer.fit, then the best checkpoint scored on the test tracks."""

import logging
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from unbraid.commands.experiment import check_experiment
from unbraid.data.module import MultitrackData
from unbraid.data.tracks import SPLITS
from unbraid.errors import InputError
from unbraid.evaluation import Evaluation, Rows, merged, table
from unbraid.runs import Run, build
from unbraid.tasks.checkpoints import WholeCheckpoints
from unbraid.tasks.separation import SeparationTask

BEST = "best.ckpt"


def train(config: DictConfig) -> None:
    """Run one experiment in the folder that Hydra has chosen for it."""
    check_experiment(config)
    _set_up_process(config.seed)
    folder = Path(HydraConfig.get().runtime.output_dir)
    task: SeparationTask = build(config.model)
    data: MultitrackData = build(config.data)
    evaluate: Evaluation = build(config.evaluation)
    data.trainer = trainer = _trainer(config, folder)
    _try_one_chunk(task, data)
    data.prepare_data()
    data.setup("fit")
    data.place()  # what cannot hold the samples is said before the run has a folder
    if len(data.split("valid")) < trainer.world_size:
        raise InputError(f"data.root={data.root}: has fewer valid tracks than the {trainer.world_size} processes")

    if not trainer.is_global_zero:
        _fit(trainer, task, data)
        _test(evaluate, trainer, task, data, None)
        return
    run = Run(folder, config, HydraConfig.get().overrides.task)
    run.start()
    try:
        print(_introduction(task, data, folder))
        _fit(trainer, task, data)
        rows = _test(evaluate, trainer, task, data, folder)
        _report(evaluate.record(task.separator, rows, _weights(trainer), folder), folder)
    except BaseException as error:
        with suppress(OSError):  # a full disk must not hide its own message
            run.mark("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    run.mark("done")


def _set_up_process(seed: int) -> None:
    # On CPU, mask and gradient values that fall into denormal numbers make steps several times slower. Worker threads
    # inherit the mode when they start, so it comes before the first operation.
    torch.set_flush_denormal(True)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Lightning 2.6.6 asks torch 2.11 in a way that torch announces to end; nothing in a user's hands changes it.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", module="pytorch_lightning")
    pl.seed_everything(seed, workers=True, verbose=False)


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
        f"data    {chosen['data']}: {counts} tracks; {data.sampler().steps_per_epoch} steps an epoch; {data.residence()}\n"
        + (f"        left out: {data.said_left_out()}\n" if data.left_out else "")
        + f"run     {_shown(folder)}"
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


def _weights(trainer: pl.Trainer) -> str:
    """Which ones are scored, for the record."""
    return f"checkpoints/{BEST}" if (Path(trainer.default_root_dir) / "checkpoints" / BEST).exists() else "the last weights"


def _test(evaluate: Evaluation, trainer: pl.Trainer, task: SeparationTask, data: MultitrackData, folder: Path | None) -> Rows:
    """Every process scores tracks of its own with the best weights; all of them learn all scores."""
    trainer.strategy.barrier()  # rank 0 has written the checkpoint
    if (best := Path(trainer.default_root_dir) / _weights(trainer)).is_file():
        task.load_state_dict(torch.load(best, weights_only=True, map_location="cpu")["state_dict"])
    separator, tracks = task.separator.to(trainer.strategy.root_device), data.split("test")
    mine: Rows | InputError
    try:
        mine = evaluate(separator, tracks[trainer.global_rank :: trainer.world_size], data.target_weights(), folder)
    except InputError as error:  # the other processes must hear of it instead of waiting
        mine = error
    parts = _gathered(mine, trainer.world_size)
    for part in parts:
        if isinstance(part, InputError):
            raise part
    return merged(parts, tracks)


def _gathered(mine: Any, world_size: int) -> list[Any]:
    """What each process has."""
    if world_size == 1:
        return [mine]
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, mine)
    return parts


def _report(scores: dict[str, Any], folder: Path) -> None:
    print(f"\n{table(scores)}\n")
    for verb, name in {"listen": "audio", "look": "pictures", "scores": "scores.json"}.items():
        print(f"{verb:<8}{_shown(folder / name)}")
