"""Callbacks that every task shares."""

import math
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.utilities import rank_zero_only

from unbraid.runs.files import atomic_write
from unbraid.runs.text import write_csv

# Columns of metrics.csv that are measured by the clock, or of the machine.
MEASURED = ("seconds", "steps_per_second", "wait_share", "gpu_memory_gb")


class MetricsCSV(pl.Callback):
    """`metrics.csv` in the run folder: one row per epoch, written at once, so that a kill loses nothing.

    Beside what the task logs: `seconds` of the epoch; `steps_per_second` of training, validation left out; `wait_share`, which
    share of training was spent until batches lay ready; on a GPU `gpu_memory_gb`, the most that was allocated so far.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.started = self.marked = time.monotonic()
        self.waited = self.trained = 0.0  # seconds of this epoch
        self.steps = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": {"epoch": time.monotonic() - self.started, "waited": self.waited}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, spent = state_dict["rows"], state_dict["seconds"]
        self.started, self.waited = time.monotonic() - spent["epoch"], spent["waited"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.marked = time.monotonic()  # of an epoch that goes on in its middle

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = self.marked = time.monotonic()
        self.waited = self.trained = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        self.waited += time.monotonic() - self.marked

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        self.trained, self.marked = now - self.started, now
        self.steps = (batch_idx + 1) / trainer.accumulate_grad_batches

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - self.started, 3),
        }
        for optimizer in trainer.optimizers:  # none where the weights have a closed form
            row["lr"] = optimizer.param_groups[0]["lr"]
        row |= self._pace() | _memory(pl_module.device)
        # Names without a stage are for the progress bar.
        row |= {name: value.item() for name, value in sorted(trainer.callback_metrics.items()) if "/" in name}
        row = {name: "" if math.isnan(value) else value for name, value in row.items()}  # undefined stays empty
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


def _memory(device: torch.device) -> dict[str, float]:
    return {"gpu_memory_gb": round(torch.cuda.max_memory_allocated(device) / 1e9, 3)} if device.type == "cuda" else {}


class ProgressBar(TQDMProgressBar):
    """Lightning's with the loss of the last step; it ends its line when a run ends early, so that what is said next has one."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Any = None  # what the last step returned
        if os.environ.get("TQDM_DISABLE"):  # which Lightning does not ask for
            self.disable()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if trainer.fit_loop.restarted_mid_epoch:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.last = outputs
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        loss = {"loss": self.last["loss"].item()} if self.last else {}  # moved only when it is shown
        return super().get_metrics(trainer, pl_module) | loss

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        for bar in (self._val_progress_bar, self._train_progress_bar):
            if bar is not None:
                bar.close()
