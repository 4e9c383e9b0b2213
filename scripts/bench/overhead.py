"""Compare a complete training (Lightning, EMA, checkpoints, metrics.csv) with a bare loop over the same batches.

    python scripts/bench/overhead.py [models=unet_small,scnet_small] [steps=96] [rounds=3]

Both train the same network with the same loss, optimizer and data. In each round, both run one after the other. The time is
the processor time of this process, so that other programs on the machine change it little. The time of the complete training
is that between the first and the last batch, with all checkpoints in between. Validation is switched off. The last line of the
output is one JSON object with the medians.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from omegaconf import OmegaConf

from unbraid.commands.cli import CONF
from unbraid.runs.records import Run
from unbraid.training.build import build_workflow
from unbraid.training.trainer import fit

EPOCHS = 2  # of each complete training; a checkpoint is written after each


class Clock(pl.Callback):
    """Record the processor time before the first batch and at the end of the last epoch."""

    def __init__(self) -> None:
        self.started = self.ended = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the processor time at the start."""
        self.started = time.process_time()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the processor time at the end."""
        self.ended = time.process_time()


def workflow_of(model: str, steps: int, folder: Path) -> Any:
    """Build the workflow of a training with `steps` steps and EMA."""
    words = [
        f"model={model}", "name=bench", "callbacks=ema", "trainer=cpu", "data.batch_size=16",
        f"data.chunks_per_track={16 * steps // (12 * EPOCHS)}", f"trainer.max_epochs={EPOCHS}", "test=false",
    ]  # fmt: skip
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", words)
    OmegaConf.update(config, "trainer.limit_val_batches", 0, force_add=True)
    run = Run(folder, config, [], {"model": model, "data": "demo"})
    run.freeze()
    return build_workflow(run)


def complete(model: str, steps: int) -> float:
    """Return the processor time of a step of the complete training, in s."""
    with tempfile.TemporaryDirectory() as folder:
        workflow, clock = workflow_of(model, steps, Path(folder)), Clock()
        workflow.trainer.callbacks.insert(0, clock)
        fit(workflow.trainer, workflow.task, workflow.data, Path(folder))
        return (clock.ended - clock.started) / workflow.trainer.global_step


def bare(model: str, steps: int) -> float:
    """Return the processor time of a step of a loop without Lightning and callbacks, in s."""
    with tempfile.TemporaryDirectory() as folder:
        workflow = workflow_of(model, steps, Path(folder))
        task, data = workflow.task, workflow.data
        data.setup("fit")
        optimizer, loader = task.configure_optimizers(), data.train_dataloader()
        task.train()
        count, started = 0, time.process_time()
        for _ in range(EPOCHS):
            for raw in loader:
                batch = data.on_after_batch_transfer(raw, 0)
                optimizer.zero_grad(set_to_none=True)
                estimate = task.separator(batch.mixture)
                true = task.separator.training_target(batch.mixture, batch.sources, estimate, batch.magnitude_difference)
                task.loss(estimate, true).backward()
                optimizer.step()
                count += 1
        return (time.process_time() - started) / count


def main(models: str = "unet_small,scnet_small", steps: str = "96", rounds: str = "3") -> None:
    """Measure the models, and print a table and a JSON object."""
    figures = {}
    print(f"{'model':<14}{'complete':>12}{'bare loop':>12}{'ratio':>8}   (ms a step, medians of {rounds} rounds)")
    for model in models.split(","):
        times = [(complete(model, int(steps)), bare(model, int(steps))) for _ in range(int(rounds))]
        with_all, alone = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(a / b for a, b in times)
        print(f"{model:<14}{1000 * with_all:>12.1f}{1000 * alone:>12.1f}{ratio:>8.3f}")
        figures[model] = {"complete_s": with_all, "bare_s": alone, "ratio": ratio}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
