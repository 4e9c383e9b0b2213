"""Callbacks that write `metrics.csv` and show a progress bar."""

import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.utilities import rank_zero_only

from unbraid.runs.files import atomic_write
from unbraid.runs.text import echo, write_csv
from unbraid.tasks.task import has_validation
from unbraid.training.callbacks.epoch_means import EpochMeans

# Columns of metrics.csv that depend on the machine.
MEASURED = ("seconds", "steps_per_second", "wait_share", "gpu_memory_gb")


class MetricsCSV(pl.Callback):
    """Write one row per epoch to `metrics.csv` in the run folder. Each row is written when its epoch ends.

    A row contains all values that the task logs, and these columns:

    - `seconds`: duration of the epoch.
    - `steps_per_second`: optimizer steps per second of training, without validation.
    - `wait_share`: share of the training time in which the process waited for batches.
    - `gpu_memory_gb`: largest GPU memory so far, in GB; only on a GPU.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.started = self.marked = time.monotonic()
        self.waited = self.trained = 0.0  # seconds of this epoch
        self.steps = 0.0  # optimizer steps of this epoch

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint: all rows of `metrics.csv`, and two durations in seconds.

        The durations are the time since the start of this epoch, and the part of this time spent on waiting for batches.
        """
        return {"rows": self.rows, "seconds": {"epoch": time.monotonic() - self.started, "waited": self.waited}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows of `metrics.csv`, and the durations that `state_dict` describes, from a checkpoint."""
        self.rows, spent = state_dict["rows"], state_dict["seconds"]
        self.started, self.waited = time.monotonic() - spent["epoch"], spent["waited"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the clock of the waiting time, so that the start of a resumed run does not count as waiting for batches."""
        self.marked = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the measured times to zero at the start of an epoch."""
        self.started = self.marked = time.monotonic()
        self.waited = self.trained = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Add the time since the end of the previous batch to the waiting time of this epoch."""
        self.waited += time.monotonic() - self.marked

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the number of optimizer steps and the training time of this epoch."""
        now = time.monotonic()
        self.trained, self.marked = now - self.started, now
        self.steps = (batch_idx + 1) / trainer.accumulate_grad_batches

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write `metrics.csv` again, with a new row for the finished epoch."""
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - self.started, 3),
        }
        for optimizer in trainer.optimizers:  # empty if the model is fitted in closed form
            row["lr"] = optimizer.param_groups[0]["lr"]
        row |= self._pace() | _memory(pl_module.device)
        # Names without a stage, such as `loss`, are values of the progress bar.
        if isinstance(trainer.logger, EpochMeans):  # first, so that other values with the same name replace them
            row = trainer.logger.take() | row
        row |= {name: value.item() for name, value in sorted(trainer.callback_metrics.items()) if _is_new(name, trainer)}
        row = {name: "" if math.isnan(value) else value for name, value in row.items()}  # empty cell: undefined
        self.rows.append(row)
        self._write(Path(trainer.default_root_dir) / "metrics.csv")

    def _pace(self) -> dict[str, float]:
        if not self.trained:
            return {}
        return {
            "steps_per_second": round(self.steps / self.trained, 3),
            "wait_share": round(min(1.0, self.waited / self.trained), 4),
        }

    def _write(self, path: Path) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with atomic_write(path) as partial, partial.open("w", newline="") as file:
            write_csv(file, columns, self.rows)


def _is_new(name: str, trainer: pl.Trainer) -> bool:
    """Return True if a metric was computed in this epoch, and its name contains `/`.

    In an epoch without validation, the validation metrics are from an earlier epoch.
    """
    return "/" in name and (has_validation(trainer) or not name.startswith("valid/"))


def _memory(device: torch.device) -> dict[str, float]:
    return {"gpu_memory_gb": round(torch.cuda.max_memory_allocated(device) / 1e9, 3)} if device.type == "cuda" else {}


class ProgressBar(TQDMProgressBar):
    """Show Lightning's progress bar with the loss of the latest step.

    If standard error is not a terminal, no bar is shown, and one line per epoch is printed instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: Any = None  # return value of the last training step
        is_off = bool(os.environ.get("TQDM_DISABLE"))  # Lightning does not read this variable
        self.prints_lines = not is_off and not sys.stderr.isatty()
        if is_off or self.prints_lines:
            self.disable()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the progress bar, also in a run that resumes in the middle of an epoch."""
        super().on_train_start(trainer, pl_module)
        if trainer.fit_loop.restarted_mid_epoch:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the progress bar by one batch, and store the output of the training step."""
        self.outputs = outputs
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the losses of the finished epoch if standard error is not a terminal."""
        super().on_train_epoch_end(trainer, pl_module)
        if self.prints_lines:
            names = [name for name in ("train/loss", "valid/loss") if _is_new(name, trainer)]
            losses = {name: trainer.callback_metrics[name] for name in names if name in trainer.callback_metrics}
            text = "".join(f"  {name} {value.item():.4g}" for name, value in sorted(losses.items()))
            echo(f"epoch   {trainer.current_epoch + 1}{text}", flush=True)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return the values that the progress bar shows, by name: Lightning's values and the loss of the latest step."""
        loss = {"loss": self.outputs["loss"].item()} if self.outputs else {}
        return super().get_metrics(trainer, pl_module) | loss

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the progress bar, so that the error message starts on a new line."""
        for bar in (self._val_progress_bar, self._train_progress_bar):
            if bar is not None:
                bar.close()
