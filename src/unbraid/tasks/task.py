"""What all tasks share: optimizer and schedule, and what an epoch's steps say on average."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from unbraid.errors import InputError


class Task(pl.LightningModule):
    """Trains all of its parameters.

    Args:
        optimizer: from parameters to an optimizer; None where nothing is trained by gradient.
        scheduler: from the optimizer to a schedule that is stepped after each validation on `valid/loss`; None keeps the rate.
    """

    def __init__(
        self,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None,
    ) -> None:
        super().__init__()
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.noted: dict[str, list[Tensor]] = defaultdict(list)

    def configure_optimizers(self) -> Any:
        """InputError where optimizer or schedule do not take a value."""
        if self.make_optimizer is None:
            return []
        try:
            optimizer = self.make_optimizer(self.parameters())
            schedule = None if self.make_scheduler is None else self.make_scheduler(optimizer)
        except ValueError as error:
            raise InputError(f"optim: {error}") from error
        if schedule is None:
            return {"optimizer": optimizer}
        # A run that ends before its first validation has nothing to step on.
        frequency = self.trainer.check_val_every_n_epoch if self._trainer else 1
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "monitor": "valid/loss", "frequency": frequency, "strict": False},
        }

    def note(self, name: str, value: Tensor) -> None:
        """Of a training step; `train/name` is the mean of an epoch. Lightning's own log in every step takes a millisecond."""
        self.noted[name].append(value.detach())

    def on_train_batch_end(self, *_: Any) -> None:
        trainer = self.trainer
        if trainer.is_last_batch or trainer.should_stop or self.global_step == trainer.max_steps:
            for name, values in self.noted.items():
                mean = torch.stack(values).mean()
                self.log(f"train/{name}", mean, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
            self.noted.clear()

    def on_train_epoch_end(self) -> None:
        """InputError where a loss has become no number: before the epoch's checkpoints, and on all processes at once."""
        trainer = self.trainer
        for name in ("train/loss", "valid/loss"):
            value = float(trainer.callback_metrics.get(name, 0.0))
            if not math.isfinite(value):
                kept = " and ".join(sorted({Path(path).name for path in _written(trainer)}))
                raise InputError(
                    f"{name} of epoch {trainer.current_epoch} is {value}, no number, and training ends; "
                    + ("a lower optim.optimizer.lr or a trainer.gradient_clip_val may help; " if trainer.optimizers else "")
                    + (f"checkpoints/ still holds {kept} of an earlier epoch" if kept else "there is no checkpoint")
                )


def _written(trainer: pl.Trainer) -> list[str]:
    paths = [getattr(callback, "best_model_path", "") for callback in trainer.checkpoint_callbacks]
    return [path for path in paths if path]
