"""`python -m unbraid.commands.probe FOLDER`: some steps of a frozen run, and what they took, as JSON on the last line."""

import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from unbraid.commands.courses import Course, fit, peak_memory, ready
from unbraid.commands.door import frozen
from unbraid.commands.experiment import check_experiment
from unbraid.data.module import MultitrackData
from unbraid.records import Run
from unbraid.text import echo

STEPS = 3  # the first of which warms up
CHECKPOINTS = 3  # best, last and the one before


class Clock(pl.Callback):
    """When the first step began and each one ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.times.append(time.perf_counter())

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def probe(folder: Path) -> None:
    """Print it.

    Raises:
        InputError: the run cannot be trained.
    """
    run = Run.frozen(folder)
    check_experiment(run.config)
    short = {"trainer": {"max_steps": STEPS, "max_epochs": STEPS, "limit_val_batches": 0, "devices": 1, "num_nodes": 1}}
    short["trainer"]["accumulate_grad_batches"] = 1
    config: Any = OmegaConf.merge(run.config, short)
    config.callbacks, config.logger = {}, None
    course = ready(replace(run, config=config))
    clock = Clock()
    course.trainer.callbacks.append(clock)  # type: ignore[attr-defined]  # a part of the Trainer sets it
    fit(course.trainer, course.task, course.data, folder)
    echo(json.dumps(_found(course, clock, run)))


def _found(course: Course, clock: Clock, run: Run) -> dict[str, Any]:
    trainer, limits = course.trainer, run.config.trainer
    epoch = math.ceil(trainer.num_training_batches / limits.accumulate_grad_batches)
    epochs = limits.max_epochs if trainer.optimizers else 1  # a closed form takes one
    steps = [limits.max_steps] * (limits.max_steps >= 0) + [epochs * epoch] * (epochs is not None and epochs >= 0)
    device = trainer.strategy.root_device
    times = clock.times[1:] if len(clock.times) > 2 else clock.times
    elapsed = (times[-1] - times[0]) / (len(times) - 1)
    return {
        "parameters": sum(parameter.numel() for parameter in course.task.parameters()),
        "memory": peak_memory(device),
        "device": "of the GPU" if device.type == "cuda" else "of RAM",
        "steps_per_second": 1 / elapsed / limits.accumulate_grad_batches,
        "steps": min(steps, default=None),
        "disk": CHECKPOINTS * _checkpoint_bytes(course),
        "songs": len(course.data.split("test")) if isinstance(course.data, MultitrackData) else None,
    }


def _checkpoint_bytes(course: Course) -> int:
    """Weights, and what the optimizers keep of each."""
    tensors = [*course.task.state_dict().values()]
    for optimizer in course.trainer.optimizers:
        tensors += [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


if __name__ == "__main__":
    frozen(probe, sys.argv[1])
