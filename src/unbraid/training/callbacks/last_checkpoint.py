"""Runs that go on where they were ended, as if they had not been: checkpoints with all that Lightning's own leave out.

What is drawn at random needs no state: data, augmentation, corruption and dropout are functions of seed, epoch and batch.
What remains is written where Lightning (2.6) starts again exactly: after a batch that ends an optimizer step and is not
followed by a validation, and after everything else in an epoch. Amid a validation or accumulated gradients nothing is written.
"""

import time
from pathlib import Path, PurePath
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from unbraid.runs.errors import InputError, Interrupted
from unbraid.runs.files import below
from unbraid.training.checkpoints import is_whole
from unbraid.training.interruption import Interruption

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
KEY = "resumption"  # of what is added to Lightning's checkpoints


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run folder that training can go on from; None where there is none."""
    return next((path for name in (LAST, PREVIOUS) if is_whole(path := folder / "checkpoints" / name)), None)


class LastCheckpoint(Checkpoint):
    """`checkpoints/last.ckpt` after every epoch and, within one, every few minutes; the one before is `previous.ckpt`.

    SIGINT, SIGTERM and SIGUSR1 end training with `Interrupted` after the batch in which the first process hears one, with
    the checkpoint written; a second signal ends it at once, and so does the first one during a validation.

    Args:
        minutes: within an epoch; 0 after every step.
    """

    def __init__(self, minutes: float) -> None:
        if minutes < 0:
            raise InputError(f"minutes must be at least 0, found {minutes}")
        self.seconds, self.saved = 60 * minutes, time.monotonic()
        self.interruption = Interruption()
        self.metrics: dict[str, torch.Tensor] = {}  # the latest, of the checkpoint that the run goes on from
        self.group: Any = None  # of all processes, on the CPU: a GPU would have to be waited for

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Removes what a kill has left half-written."""
        self.folder = Path(trainer.default_root_dir) / "checkpoints"
        if trainer.is_global_zero:
            for partial in self.folder.glob(".partial-*.ckpt"):
                partial.unlink()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.callback_metrics.update(self.metrics)
        if not trainer.fit_loop.restarted_mid_epoch:
            # With a limit of steps Lightning would take the end of an epoch for a part of it.
            trainer.fit_loop.epoch_loop.restarting = False
        if trainer.world_size > 1:
            self.group = torch.distributed.new_group(backend="gloo")
        # Lightning listens too, since a moment ago, and makes the processes wait for each other inside its handler. When it
        # is done it puts those handlers back that it has found.
        self.interruption.listen()
        self.interruption.waits, self.saved = True, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due, signum = self._agreed(trainer, time.monotonic() - self.saved >= self.seconds)
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        if (due or signum) and not _ends_epoch(trainer, batch_idx):
            self._save(trainer)
        if signum:
            raise Interrupted(signum)

    def _agreed(self, trainer: pl.Trainer, due: bool) -> tuple[bool, int]:
        """Whether a checkpoint is due and which signal was heard, in any of the processes."""
        if trainer.world_size == 1:
            return due, self.interruption.heard
        state = torch.tensor([due, self.interruption.heard])
        torch.distributed.all_reduce(state, torch.distributed.ReduceOp.MAX, group=self.group)
        return bool(state[0]), int(state[1])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.interruption.waits = False
        if self.interruption.heard:
            raise Interrupted(self.interruption.heard)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.interruption.waits = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.interruption.waits = False
        _, signum = self._agreed(trainer, False)
        if signum:
            raise Interrupted(signum)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.folder / LAST, storage_options=self.folder / PREVIOUS)
        self.saved = time.monotonic()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        metrics = {name: value.detach().clone() for name, value in trainer.callback_metrics.items()}
        checkpoint[KEY] = {"should_stop": trainer.should_stop, "metrics": metrics, "processes": trainer.world_size}
        for epochs in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
            if epochs["processed"] == epochs["ready"]:
                epochs["completed"] = epochs["processed"]  # Lightning counts it a moment later

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """InputError where another number of processes, or an older version, wrote the checkpoint."""
        if KEY not in checkpoint:
            raise InputError(f"{trainer.ckpt_path}: is of a version that wrote no checkpoints to go on from")
        own = checkpoint[KEY]
        if own["processes"] != trainer.world_size:
            raise InputError(
                f"trainer.devices: the run was begun by {own['processes']} processes, found {trainer.world_size}; "
                "it can go on with as many as before"
            )
        trainer.should_stop, self.metrics = own["should_stop"], own["metrics"]
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.state_key in checkpoint["callbacks"]:
                state = checkpoint["callbacks"][callback.state_key]
                _move(state, str(callback.dirpath))
                callback.current_score = state["current_score"]  # which it writes and does not read


def _ends_epoch(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Or is followed by a validation in its middle."""
    validates = isinstance(trainer.val_check_batch, int) and (batch_idx + 1) % trainer.val_check_batch == 0
    return validates or trainer.is_last_batch or trainer.should_stop or trainer.global_step == trainer.max_steps


def _move(state: dict[str, Any], folder: str) -> None:
    """Set the paths in the state of a `ModelCheckpoint` to files of a folder: the run was moved, or is a stranger's.

    Lightning deletes what such a path names when a better checkpoint comes.
    """
    state["dirpath"] = folder
    for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[name] = _inside(folder, state[name])
    state["best_k_models"] = {_inside(folder, path): score for path, score in state["best_k_models"].items()}


def _inside(folder: str, path: str) -> str:
    return str(below(Path(folder), PurePath(path).name)) if path else path
