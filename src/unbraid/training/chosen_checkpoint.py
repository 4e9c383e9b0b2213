"""Use the checkpoint that the user has chosen with `ckpt_path`: train on from its complete state, or test its weights.

A run that trains on has its own folder. It starts with a copy of the checkpoint as `last.ckpt`, and of the `best.ckpt` next to
it if those weights are not newer. From then on it is resumed like every other run.
"""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig

from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.text import echo
from unbraid.runs.torch_files import read_torch_file
from unbraid.runs.weights import NO_CHECKPOINT, fill, tensors_of
from unbraid.tasks.task import Task
from unbraid.training.callbacks.last_checkpoint import LAST, latest, resumption_of

BEST = "best.ckpt"


def use_checkpoint(config: DictConfig, task: Task, trainer: pl.Trainer) -> None:
    """Load the weights of `ckpt_path` into the task, and check that training can continue from its state.

    Args:
        config: config of the run. Nothing happens if it has no `ckpt_path`.
        task: task of the run, before training.
        trainer: Lightning Trainer of the run.

    Raises:
        InputError: the file is missing or damaged, or its model, optimizer, schedule, number of processes or number of epochs
            does not fit.
    """
    if config.get("ckpt_path") is None:
        return
    path = chosen(config)
    fill(task, tensors_of(path, merge=task.lora is None), path)
    if config.get("train", True):
        checkpoint = read_torch_file(path, NO_CHECKPOINT)
        state = resumption_of(checkpoint, path, trainer.world_size)
        if not state.get("complete"):
            hint = f"Choose {LAST}. train=false tests this file"
            raise InputError(path, "was not written at the end of a step or an epoch", hint=hint)
        _check_length(checkpoint, config)
        _check_optimizer(checkpoint, task, path)


def start_of(config: DictConfig) -> Path | None:
    """Return the checkpoint from which training continues; None if it starts from the weights of the model."""
    return chosen(config) if config.get("train", True) and config.get("ckpt_path") is not None else None


def chosen(config: DictConfig) -> Path:
    """Return the path of the chosen checkpoint."""
    return Path(config.ckpt_path).expanduser()


def _check_length(checkpoint: Mapping[str, Any], config: DictConfig) -> None:
    """Check that the checkpoint is not at the end of the training."""
    done = {"max_epochs": checkpoint["loops"]["fit_loop"]["epoch_progress"]["total"]["completed"]}
    done["max_steps"] = checkpoint["global_step"]
    for key, number in done.items():
        limit = config.trainer[key]
        if number >= (math.inf if limit is None or limit < 0 else limit):
            problem = "the training of ckpt_path is already that long"
            raise InputError(f"trainer.{key}", problem, found=limit, expected=f"more than {number}")


def _check_optimizer(checkpoint: Mapping[str, Any], task: Task, path: Path) -> None:
    """Check that the states of optimizer and schedule are those of the same classes."""
    optimizers = task.configure_optimizers()
    own = [_keys(optimizer.state_dict()["param_groups"]) for optimizer in ([optimizers] if optimizers else [])]
    saved = [_keys(state["param_groups"]) for state in checkpoint["optimizer_states"]]
    schedule = checkpoint["task"]["schedule"]
    same_schedule = {*(schedule or ())} == {*(task.schedule.state_dict() if task.schedule else ())}
    task.schedule = None
    for name, fits in {"model.optimizer": own == saved, "model.scheduler": same_schedule}.items():
        if not fits:
            raise InputError(name, f"is not that of {path}", hint="Choose the same optim as the run of the checkpoint")


def _keys(groups: list[dict[str, Any]]) -> list[tuple[list[str], int]]:
    """Return the names of the options and the number of parameters of each group."""
    return [(sorted({*group} - {"initial_lr"}), len(group["params"])) for group in groups]


def copy_checkpoint(config: DictConfig, folder: Path) -> None:
    """Copy the chosen checkpoint to `last.ckpt` of a run that has not trained yet, and the best weights to `best.ckpt`.

    Args:
        config: config of the run.
        folder: run folder.
    """
    path, checkpoints = start_of(config), folder / "checkpoints"
    if path is None or latest(folder) is not None:
        return
    checkpoints.mkdir(exist_ok=True)
    best = path.with_name(BEST)
    if best.is_file() and _step(best) <= _step(path):
        _copy(best, checkpoints / BEST)
    _copy(path, checkpoints / LAST)
    echo(f"        continues from {path}", flush=True)


def _step(path: Path) -> int:
    return int(read_torch_file(path, NO_CHECKPOINT)["global_step"])


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as partial:
        shutil.copyfile(source, partial)
