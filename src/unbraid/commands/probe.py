"""Measure memory and speed of a run in a few training steps: `python -m unbraid.commands.probe FOLDER`.

FOLDER is a run folder that already contains its complete config. A dry run (`plan=true`) starts this program for some of the
planned runs. The last line of the output is the result as JSON, see `_measured`.
"""

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
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from unbraid.commands.cli import frozen
from unbraid.commands.experiment import check_experiment
from unbraid.data.module import MultitrackData
from unbraid.runs.records import Run
from unbraid.runs.text import echo
from unbraid.training.base import Workflow, peak_memory
from unbraid.training.build import build_workflow
from unbraid.training.callbacks.weight_averages import WeightAverages, averages_of
from unbraid.training.trainer import fit

STEPS = 3  # the first step warms up and is not timed
AVERAGES = f"{WeightAverages.__module__}.{WeightAverages.__qualname__}"  # callback that needs memory during the whole training
CHECKPOINTS = 3  # checkpoints on disk at the same time: best, last and the previous last


class Clock(pl.Callback):
    """Callback that records the start time of the first training step and the end time of each step, in s."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the start time of training."""
        self.times.append(time.perf_counter())

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Record the end time of a training step, after the GPU has finished the step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def probe(folder: Path) -> None:
    """Train the run in a folder for a few steps, and print the measured memory, speed and size as JSON.

    Args:
        folder: run folder that contains its complete config. A run that cannot be trained raises InputError.
    """
    run = Run.frozen(folder)
    check_experiment(run.config)
    short = {"trainer": {"max_steps": STEPS, "max_epochs": STEPS, "limit_val_batches": 0, "devices": 1, "num_nodes": 1}}
    short["trainer"]["accumulate_grad_batches"] = 1
    config: Any = OmegaConf.merge(run.config, short)
    averages = {name: node for name, node in (config.callbacks or {}).items() if node and node.get("_target_") == AVERAGES}
    config.callbacks, config.logger = averages, None
    if OmegaConf.select(config, "data.sampling") is not None:
        config.data.sampling.shortest_seconds = None  # the memory is that of the longest chunks
    workflow = build_workflow(replace(run, config=config))
    clock = Clock()
    workflow.trainer.callbacks.append(clock)  # type: ignore[attr-defined]  # the Trainer sets this attribute
    fit(workflow.trainer, workflow.task, workflow.data, folder)
    echo(json.dumps(_measured(workflow, clock, run)))


def _measured(workflow: Workflow, clock: Clock, run: Run) -> dict[str, Any]:
    """Return the measured values, such as the number of parameters, the memory in bytes and the number of steps per second."""
    trainer, limits = workflow.trainer, run.config.trainer
    epoch = math.ceil(trainer.num_training_batches / limits.accumulate_grad_batches)
    epochs = limits.max_epochs if trainer.optimizers else 1  # a closed-form solution takes one epoch
    steps = [limits.max_steps] * (limits.max_steps >= 0) + [epochs * epoch] * (epochs is not None and epochs >= 0)
    device = trainer.strategy.root_device
    times = clock.times[1:] if len(clock.times) > 2 else clock.times
    elapsed = (times[-1] - times[0]) / (len(times) - 1)
    return {
        "macs": workflow.macs,
        "parameters": sum(parameter.numel() for parameter in workflow.task.parameters()),
        "memory": peak_memory(device),
        "device": "of the GPU" if device.type == "cuda" else "of RAM",
        "steps_per_second": 1 / elapsed / limits.accumulate_grad_batches,
        "steps": min(steps, default=None),
        "chunks": trainer.num_training_batches * run.config.data.batch_size,
        "batch_norm": any(isinstance(module, BatchNorm) for module in workflow.task.modules()),
        "trial": clock.times[-1] - clock.times[0],
        "disk": CHECKPOINTS * _checkpoint_bytes(workflow),
        "songs": len(workflow.data.split("test")) if isinstance(workflow.data, MultitrackData) else None,
    }


def _checkpoint_bytes(workflow: Workflow) -> int:
    """Return the size of a checkpoint in bytes: the weights, their averages, and the states of the optimizers."""
    tensors = [*workflow.task.state_dict().values()]
    for optimizer in workflow.trainer.optimizers:
        tensors += [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    if averages := averages_of(workflow.trainer):
        tensors += [tensor for average in averages.averages.values() for tensor in average.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


if __name__ == "__main__":
    frozen(probe, sys.argv[1])
