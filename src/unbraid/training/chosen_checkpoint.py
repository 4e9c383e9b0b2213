"""Use the checkpoint of the option `ckpt_path`: continue its training in a new run, or test its weights.

A new run has its own folder. At the start, the checkpoint is copied to `last.ckpt` in the folder of the new run. If the folder
of the checkpoint also contains a `best.ckpt`, it is copied, too, unless it is from a later training step than the checkpoint.
When the new run is resumed, it continues from its own `last.ckpt`.
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
from unbraid.runs.weights import CHECKPOINT, fill, tensors_of
from unbraid.tasks.task import Task
from unbraid.training.callbacks.last_checkpoint import LAST, latest, resumption_of

BEST = "best.ckpt"


def use_checkpoint(config: DictConfig, task: Task, trainer: pl.Trainer) -> None:
    """Load the weights of the checkpoint `ckpt_path` into the task.

    If the run trains (`train` is true), also check that training can continue from this checkpoint.

    Args:
        config: config of the run. If the key `ckpt_path` is None, this function does nothing.
        task: task of the run, before training.
        trainer: Lightning Trainer of the run.

    Raises:
        InputError: the checkpoint is missing, is damaged, or does not fit the run. For example, the checkpoint has another
            optimizer, or has already reached the limit of epochs.
    """
    if config.get("ckpt_path") is None:
        return
    path = chosen(config)
    fill(task, tensors_of(path, merge=task.lora is None), path)
    if config.get("train", True):
        checkpoint = read_torch_file(path, CHECKPOINT)
        state = resumption_of(checkpoint, path, trainer.world_size)
        if not state.get("complete"):
            hint = f"Choose {LAST}. To test this file without training, set train=false"
            problem = "training cannot continue from this checkpoint, because it lacks a part of the state of the training"
            raise InputError(path, problem, hint=hint)
        _check_length(checkpoint, config)
        _check_optimizer(checkpoint, task, path)


def start_of(config: DictConfig) -> Path | None:
    """Return the path of the checkpoint from which training continues; None if `ckpt_path` is not set or `train` is false."""
    return chosen(config) if config.get("train", True) and config.get("ckpt_path") is not None else None


def chosen(config: DictConfig) -> Path:
    """Return the path of the checkpoint that the config key `ckpt_path` states."""
    return Path(config.ckpt_path).expanduser()


def _check_length(checkpoint: Mapping[str, Any], config: DictConfig) -> None:
    """Check that the checkpoint has not reached the limits `trainer.max_epochs` and `trainer.max_steps` of the config."""
    done = {"max_epochs": checkpoint["loops"]["fit_loop"]["epoch_progress"]["total"]["completed"]}
    done["max_steps"] = checkpoint["global_step"]
    for key, number in done.items():
        limit = config.trainer[key]
        if number >= (math.inf if limit is None or limit < 0 else limit):
            problem = "the checkpoint of 'ckpt_path' has already reached this limit"
            raise InputError(f"trainer.{key}", problem, found=limit, expected=f"more than {number}")


def _check_optimizer(checkpoint: Mapping[str, Any], task: Task, path: Path) -> None:
    """Check that the checkpoint fits the optimizer and the learning-rate schedule of the config."""
    optimizers = task.configure_optimizers()
    own = [_keys(optimizer.state_dict()["param_groups"]) for optimizer in ([optimizers] if optimizers else [])]
    saved = [_keys(state["param_groups"]) for state in checkpoint["optimizer_states"]]
    schedule = checkpoint["task"]["schedule"]
    same_schedule = {*(schedule or ())} == {*(task.schedule.state_dict() if task.schedule else ())}
    task.schedule = None
    for name, fits in {"model.optimizer": own == saved, "model.scheduler": same_schedule}.items():
        if not fits:
            raise InputError(
                name,
                f"the checkpoint {path} was written with another optimizer or schedule",
                hint="Choose the config 'optim' of the run that wrote the checkpoint",
            )


def _keys(groups: list[dict[str, Any]]) -> list[tuple[list[str], int]]:
    """Return the names of the options and the number of parameters of each parameter group of an optimizer."""
    return [(sorted({*group} - {"initial_lr"}), len(group["params"])) for group in groups]


def copy_checkpoint(config: DictConfig, folder: Path) -> None:
    """Copy the checkpoint `ckpt_path` to `last.ckpt` in the folder of a new run.

    If the folder of the checkpoint also contains a `best.ckpt`, it is copied, too, unless it is from a later training step than
    the checkpoint.

    Args:
        config: config of the new run.
        folder: folder of the new run.
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
    return int(read_torch_file(path, CHECKPOINT)["global_step"])


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as partial:
        shutil.copyfile(source, partial)
