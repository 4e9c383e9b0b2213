"""Write checkpoints from which an interrupted run resumes bit for bit.

Lightning's own checkpoints lack the latest metrics and the flag `should_stop` (end of training). The callback of this module
adds both. The state of the random number generators is not needed, because the random numbers of data, augmentation, corruption
and dropout depend only on seed, epoch and batch.

Lightning (2.6) resumes exactly only if a checkpoint was written at one of two points: at the end of an epoch, or after an
optimizer step that is not followed by a validation. Checkpoints are therefore written only at these points.
"""

import time
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint

from unbraid.runs.errors import InputError, Interrupted
from unbraid.runs.files import below
from unbraid.runs.text import echo
from unbraid.training.checkpoints import is_whole
from unbraid.training.interruption import Interruption

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
KEY = "resumption"  # key of the state that is added to Lightning's checkpoints


def latest(folder: Path) -> Path | None:
    """Return the path of the newest undamaged checkpoint in a run folder.

    The candidates are `checkpoints/last.ckpt` and the older `checkpoints/previous.ckpt`. If both files are damaged or missing,
    return None.
    """
    return next((path for name in (LAST, PREVIOUS) if is_whole(path := folder / "checkpoints" / name)), None)


class LastCheckpoint(Checkpoint):
    """Write `checkpoints/last.ckpt` after every epoch and every few minutes.

    The earlier `last.ckpt` is kept under the name `previous.ckpt`.

    A stop signal of the operating system (SIGINT, SIGTERM, SIGUSR1 or SIGHUP) ends training after the current batch: a
    checkpoint is written, then `Interrupted` is raised. A second stop signal, or a stop signal during a validation, ends
    training immediately.

    Args:
        minutes: time between two checkpoints within an epoch, in minutes; 0: one checkpoint after every optimizer step.

    Raises:
        InputError: `minutes` is negative.
    """

    def __init__(self, minutes: float) -> None:
        if minutes < 0:
            raise InputError("minutes", found=minutes, expected="at least 0 minutes between checkpoints")
        self.seconds, self.saved = 60 * minutes, time.monotonic()
        self.interruption = Interruption()
        self.metrics: dict[str, torch.Tensor] = {}  # latest metrics of the checkpoint from which the run resumes
        self.is_saving = False  # true while `last.ckpt` is written
        self.group: Any = None  # group of all processes on the CPU, since an exchange on GPUs waits for their computations

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Delete incomplete checkpoint files (`.partial-*.ckpt`) that a killed process wrote to the folder `checkpoints`."""
        self.folder = Path(trainer.default_root_dir) / "checkpoints"
        if trainer.is_global_zero:
            for partial in self.folder.glob(".partial-*.ckpt"):
                partial.unlink()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the logged metrics of a resumed run, and install handlers for stop signals such as SIGINT and SIGTERM."""
        trainer.callback_metrics.update(self.metrics)
        if not trainer.fit_loop.restarted_mid_epoch:
            # Otherwise Lightning with `max_steps` resumes within the finished epoch.
            trainer.fit_loop.epoch_loop.restarting = False
        if trainer.world_size > 1:
            self.group = torch.distributed.new_group(backend="gloo")
        # Lightning has just installed its own handlers, in which processes wait for each other. After training it restores the
        # handlers that it replaced.
        self.interruption.install()
        self.interruption.waits, self.saved = True, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint every `minutes` minutes. After a stop signal, write a checkpoint and raise `Interrupted`."""
        due, signum = self._agreed(trainer, time.monotonic() - self.saved >= self.seconds)
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        if (due or signum) and not _ends_epoch(trainer, batch_idx):
            self._save(trainer)
        if signum:
            raise Interrupted(signum)

    def _agreed(self, trainer: pl.Trainer, due: bool) -> tuple[bool, int]:
        """Return two values, which are the same in all processes of the run.

        The first value is True if `due` is True in at least one process. Then a checkpoint is written. The second
        value is the number of the stop signal that a process has received, such as 15 for SIGTERM. The number is 0 if no
        process has received a stop signal.
        """
        if trainer.world_size == 1:
            return due, self.interruption.signum
        state = torch.tensor([due, self.interruption.signum])
        torch.distributed.all_reduce(state, torch.distributed.ReduceOp.MAX, group=self.group)
        return bool(state[0]), int(state[1])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise `Interrupted` if the process has already received a stop signal (SIGINT, SIGTERM, …).

        From now until the end of the validation, a stop signal raises `Interrupted` immediately.
        """
        self.interruption.waits = False
        if self.interruption.signum:
            raise Interrupted(self.interruption.signum)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From now on, let a stop signal (SIGINT, SIGTERM, …) take effect only at the end of a training batch."""
        self.interruption.waits = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write `last.ckpt` at the end of an epoch."""
        self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise `Interrupted` if any process of the run has received a stop signal (SIGINT, SIGTERM, …).

        After this call, a stop signal raises `Interrupted` immediately.
        """
        self.interruption.waits = False
        _, signum = self._agreed(trainer, False)
        if signum:
            raise Interrupted(signum)

    def _save(self, trainer: pl.Trainer) -> None:
        self.is_saving = True
        trainer.save_checkpoint(self.folder / LAST, storage_options=self.folder / PREVIOUS)
        self.is_saving, self.saved = False, time.monotonic()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the latest metrics, the number of processes and the flag `should_stop` (end of training) to a checkpoint."""
        metrics = {name: value.detach().clone() for name, value in trainer.callback_metrics.items()}
        checkpoint[KEY] = {
            "should_stop": trainer.should_stop, "metrics": metrics, "processes": trainer.world_size, "complete": self.is_saving,
        }  # fmt: skip
        for epochs in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
            if epochs["processed"] == epochs["ready"]:
                epochs["completed"] = epochs["processed"]  # Lightning counts the epoch after this call

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the metrics and the flag `should_stop` from a checkpoint. For errors, see `resumption_of`.

        Args:
            trainer: Lightning Trainer of the run.
            pl_module: task of the run.
            checkpoint: content of the checkpoint.
        """
        state = resumption_of(checkpoint, trainer.ckpt_path, trainer.world_size)
        stops_early = any(isinstance(callback, EarlyStopping) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        trainer.should_stop, self.metrics = state["should_stop"] and stops_early, state["metrics"]
        if trainer.should_stop and trainer.is_global_zero:
            hint = "to train it further, choose its last.ckpt as ckpt_path and set callbacks.early_stopping=null"
            echo(f"        early stopping ended this training after epoch {checkpoint['epoch']}; {hint}", flush=True)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.state_key in checkpoint["callbacks"]:
                best = checkpoint["callbacks"][callback.state_key]
                _move(best, str(callback.dirpath))
                if trainer.strategy.broadcast(Path(best["best_model_path"]).is_file()):
                    callback.current_score = best["current_score"]  # Lightning saves this value but does not restore it
                else:  # the checkpoint was copied without the best weights, so the next epoch is the best
                    del checkpoint["callbacks"][callback.state_key]


def resumption_of(checkpoint: Mapping[str, Any], where: object, processes: int) -> dict[str, Any]:
    """Return the entry that the callback `LastCheckpoint` has added to a checkpoint.

    Args:
        checkpoint: content of the checkpoint.
        where: file of the checkpoint, for error messages.
        processes: number of processes of the present run.

    Returns:
        The entry, a dictionary: latest metrics, number of processes, and two flags. `should_stop`: training has ended.
        `complete`: training can continue from the checkpoint.

    Raises:
        InputError: an older version of unbraid wrote the checkpoint, or a run with another number of processes wrote it.
    """
    if KEY not in checkpoint:
        problem = f"the checkpoint lacks the key '{KEY}', so this version of unbraid cannot resume the run"
        raise InputError(where, problem, hint="Start a new run with resume=never.")
    state: dict[str, Any] = checkpoint[KEY]
    if state["processes"] != processes:
        problem = "the run that wrote the checkpoint had another number of processes"
        raise InputError("trainer.devices", problem, found=processes, expected=str(state["processes"]))
    return state


def _ends_epoch(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Return True if a validation follows this training batch, or if the batch is the last one of the epoch or the training."""
    validates = isinstance(trainer.val_check_batch, int) and (batch_idx + 1) % trainer.val_check_batch == 0
    return validates or trainer.is_last_batch or trainer.should_stop or trainer.global_step == trainer.max_steps


def _move(state: dict[str, Any], folder: str) -> None:
    """Replace the folder in all paths that the state of Lightning's `ModelCheckpoint` contains; the file names are kept.

    Lightning deletes the file at a stored path when it saves a better checkpoint. The stored paths are wrong if the run folder
    was moved, and can be arbitrary if the run folder comes from another person. Without this function, Lightning could
    therefore delete a wrong file.
    """
    state["dirpath"] = folder
    for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[name] = _inside(folder, state[name])
    state["best_k_models"] = {_inside(folder, path): score for path, score in state["best_k_models"].items()}


def _inside(folder: str, path: str) -> str:
    return str(below(Path(folder), PurePath(path).name)) if path else path
