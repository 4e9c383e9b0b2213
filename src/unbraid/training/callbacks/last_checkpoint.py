"""Resume interrupted runs bit for bit: checkpoints with the state that Lightning's own checkpoints do not contain.

Random numbers need no state, since data, augmentation, corruption and dropout are functions of seed, epoch and batch.
Checkpoints are written at points from which Lightning (2.6) resumes exactly. These are the end of an epoch, and the end of an
optimizer step that no validation follows. No checkpoint is written during a validation or while gradients are accumulated.
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
    """Return the newest undamaged checkpoint of a run folder, `last.ckpt` or `previous.ckpt`; None if there is no such file."""
    return next((path for name in (LAST, PREVIOUS) if is_whole(path := folder / "checkpoints" / name)), None)


class LastCheckpoint(Checkpoint):
    """Write `checkpoints/last.ckpt` after every epoch and every few minutes. The replaced file becomes `previous.ckpt`.

    A signal such as SIGINT or SIGTERM ends training after the current batch: the checkpoint is written, then `Interrupted` is
    raised. A second signal, or a signal during a validation, ends training at once.

    Args:
        minutes: time between two checkpoints within an epoch, in minutes; 0 writes one after every optimizer step.

    Raises:
        InputError: `minutes` is negative.
    """

    def __init__(self, minutes: float) -> None:
        if minutes < 0:
            raise InputError("minutes", found=minutes, expected="at least 0")
        self.seconds, self.saved = 60 * minutes, time.monotonic()
        self.interruption = Interruption()
        self.metrics: dict[str, torch.Tensor] = {}  # latest metrics of the checkpoint from which the run resumes
        self.is_saving = False  # true while `last.ckpt` is written
        self.group: Any = None  # group of all processes on the CPU, since an exchange on GPUs waits for their computations

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Delete incomplete checkpoints that a killed process left in the folder."""
        self.folder = Path(trainer.default_root_dir) / "checkpoints"
        if trainer.is_global_zero:
            for partial in self.folder.glob(".partial-*.ckpt"):
                partial.unlink()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the metrics and replace the signal handlers."""
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
        """Write a checkpoint if one is due. After a signal, write a checkpoint and raise `Interrupted`."""
        due, signum = self._agreed(trainer, time.monotonic() - self.saved >= self.seconds)
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        if (due or signum) and not _ends_epoch(trainer, batch_idx):
            self._save(trainer)
        if signum:
            raise Interrupted(signum)

    def _agreed(self, trainer: pl.Trainer, due: bool) -> tuple[bool, int]:
        """Return whether a checkpoint is due in any process, and the signal that any process received, 0 without a signal."""
        if trainer.world_size == 1:
            return due, self.interruption.signum
        state = torch.tensor([due, self.interruption.signum])
        torch.distributed.all_reduce(state, torch.distributed.ReduceOp.MAX, group=self.group)
        return bool(state[0]), int(state[1])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise `Interrupted` if a signal has arrived. Signals during the validation are raised at once."""
        self.interruption.waits = False
        if self.interruption.signum:
            raise Interrupted(self.interruption.signum)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Delay signals again until the end of a batch."""
        self.interruption.waits = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write a checkpoint."""
        self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise `Interrupted` if a signal has arrived. Later signals are raised at once."""
        self.interruption.waits = False
        _, signum = self._agreed(trainer, False)
        if signum:
            raise Interrupted(signum)

    def _save(self, trainer: pl.Trainer) -> None:
        self.is_saving = True
        trainer.save_checkpoint(self.folder / LAST, storage_options=self.folder / PREVIOUS)
        self.is_saving, self.saved = False, time.monotonic()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the latest metrics, the number of processes and `should_stop` to a checkpoint."""
        metrics = {name: value.detach().clone() for name, value in trainer.callback_metrics.items()}
        checkpoint[KEY] = {
            "should_stop": trainer.should_stop, "metrics": metrics, "processes": trainer.world_size, "complete": self.is_saving,
        }  # fmt: skip
        for epochs in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
            if epochs["processed"] == epochs["ready"]:
                epochs["completed"] = epochs["processed"]  # Lightning counts the epoch after this call

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the state that `on_save_checkpoint` added, see `resumption_of` for errors.

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
    """Return the state that this callback has added to a checkpoint.

    Args:
        checkpoint: content of the checkpoint.
        where: file of the checkpoint, for error messages.
        processes: number of processes that train.

    Returns:
        The state.

    Raises:
        InputError: an older version, or another number of processes, wrote the checkpoint.
    """
    if KEY not in checkpoint:
        problem = "this version cannot resume the checkpoint"
        raise InputError(where, problem, expected=f"the key '{KEY}'", hint="Start a new run with resume=never.")
    state: dict[str, Any] = checkpoint[KEY]
    if state["processes"] != processes:
        problem = "a run resumes with the same number of processes"
        raise InputError("trainer.devices", problem, found=processes, expected=str(state["processes"]))
    return state


def _ends_epoch(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Return whether a batch is the last one of an epoch or is followed by a validation."""
    validates = isinstance(trainer.val_check_batch, int) and (batch_idx + 1) % trainer.val_check_batch == 0
    return validates or trainer.is_last_batch or trainer.should_stop or trainer.global_step == trainer.max_steps


def _move(state: dict[str, Any], folder: str) -> None:
    """Set the paths in the state of a `ModelCheckpoint` to files in a folder.

    Lightning deletes the file at such a path when a better checkpoint is saved. The paths are wrong if the run was moved, and
    cannot be trusted if another person made the run.
    """
    state["dirpath"] = folder
    for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[name] = _inside(folder, state[name])
    state["best_k_models"] = {_inside(folder, path): score for path, score in state["best_k_models"].items()}


def _inside(folder: str, path: str) -> str:
    return str(below(Path(folder), PurePath(path).name)) if path else path
