"""What all tasks share: optimizer and schedule, what an epoch's steps say on average, and what is random in a step."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from unbraid.runs.errors import InputError

KEY = "task"  # of what is added to Lightning's checkpoints


class Task(pl.LightningModule):
    """Trains all of its parameters.

    Args:
        optimizer: from parameters to an optimizer; None where nothing is trained by gradient.
        scheduler: function from the optimizer to a schedule. The schedule is stepped after each epoch; `ReduceLROnPlateau` is
            stepped on `valid/loss` after each epoch that ends in a validation. None keeps the rate.
    """

    def __init__(
        self,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None,
    ) -> None:
        super().__init__()
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.schedule: Any = None
        self.schedule_state: dict[str, Any] | None = None  # of the checkpoint that the run goes on from
        self.noted: dict[str, list[Tensor]] = defaultdict(list)
        self.seed = torch.initial_seed()  # the run's; steps have seeds of their own

    @property
    def is_warming_up(self) -> bool:
        """Return whether the training loss of this epoch is not yet the final one, so that no epoch is selected on it."""
        return False

    def configure_optimizers(self) -> Any:
        """InputError where optimizer or schedule do not take a value."""
        if self.make_optimizer is None:
            return []
        try:
            optimizer = self.make_optimizer(self.parameters())
            self.schedule = None if self.make_scheduler is None else self.make_scheduler(optimizer)
        except ValueError as error:
            raise InputError(f"optim: {error}") from error
        return optimizer

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """What a step draws at random, as in dropout, is a function of seed, epoch, batch and rank, without a state."""
        counters = f"{self.seed} {self.current_epoch} {index} {self.global_rank}".encode()
        torch.manual_seed(int.from_bytes(hashlib.blake2b(counters, digest_size=8).digest()))

    def log_mean(self, name: str, value: Tensor) -> None:
        """Of a training step; `train/name` is the mean of an epoch. Lightning's own log in every step takes a millisecond."""
        self.noted[name].append(value.detach())

    def on_train_batch_end(self, *_: Any) -> None:
        trainer = self.trainer
        if trainer.is_last_batch or trainer.should_stop or self.global_step == trainer.max_steps:
            for name, values in self.noted.items():
                mean = torch.stack([value.to(self.device) for value in values]).mean()
                self.log(f"train/{name}", mean, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
            self.noted.clear()

    def on_validation_start(self) -> None:
        """Copy the buffers of the first process, such as the statistics of batch norm, to all processes.

        DDP does so in the first validation step, for which a process without validation tracks would be waited for.
        """
        model = self.trainer.model
        if isinstance(model, DistributedDataParallel):
            for buffer in model.module.buffers():
                values = buffer.contiguous()  # as a collective operation needs them; the buffer itself if it is
                torch.distributed.broadcast(values, 0)
                buffer.copy_(values)
            model.require_forward_param_sync = False

    def on_train_epoch_end(self) -> None:
        """The schedule is stepped here, before checkpoints are written: Lightning steps it after them, and not at all in an
        epoch that goes on from one.

        Raises:
            InputError: training has diverged; before the epoch's checkpoints, and on all processes at once.
        """
        self.check_finite()
        trainer = self.trainer
        if self.schedule is not None:
            validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
            self._step_schedule(trainer.callback_metrics if validated else {})

    def check_finite(self) -> None:
        """Check that training has not diverged.

        Raises:
            InputError: a loss or a weight is not finite.
        """
        if (found := self.non_finite()) is None:
            return
        name, value = found
        trainer = self.trainer
        kept = " and ".join(sorted(path.name for path in Path(trainer.default_root_dir).glob("checkpoints/*.ckpt")))
        helps = "A lower optim.optimizer.lr or a trainer.gradient_clip_val may help. " if trainer.optimizers else ""
        hint = helps + (f"checkpoints/ still holds {kept} of an earlier epoch" if kept else "There is no checkpoint")
        where = f"{name} of epoch {trainer.current_epoch}"
        raise InputError(where, "training diverged", found=value, expected="a finite number", hint=hint)

    def non_finite(self) -> tuple[str, float] | None:
        """Return the name and value of a loss, or of the weights, that is not finite; None if training has not diverged."""
        metrics = self.trainer.callback_metrics
        for name in ("train/loss", "valid/loss"):
            if not math.isfinite(value := float(metrics.get(name, 0.0))):
                return name, value
        finite = all(bool(weights.isfinite().all()) for weights in self.parameters())
        has_nan = any(bool(values.isnan().any()) for values in self.buffers())  # such as the statistics of batch norm
        return None if finite and not has_nan else ("weights", math.nan)

    def _step_schedule(self, metrics: Mapping[str, Tensor]) -> None:
        """Step the schedule after an epoch, whose validation metrics are given; they are empty if there was no validation."""
        if not isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.schedule.step()
        elif "valid/loss" in metrics and not self.is_warming_up:  # a run that ends early may have had no validation
            self.schedule.step(metrics["valid/loss"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """With what the steps of the epoch so far have noted, in each process. Shape of a name's values: [processes, steps]."""
        noted: dict[str, Any] = {name: self.all_gather(torch.stack(values)) for name, values in self.noted.items()}
        checkpoint[KEY] = {
            "schedule": self.schedule and self.schedule.state_dict(),
            "noted": {name: values.reshape(self.trainer.world_size, -1) for name, values in noted.items()},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The schedule is there once the optimizer is, see `on_train_start`."""
        own = checkpoint[KEY]
        self.schedule_state = own["schedule"]
        self.noted |= {name: list(values[self.global_rank]) for name, values in own["noted"].items()}

    def on_train_start(self) -> None:
        if self.schedule_state is not None:
            self.schedule.load_state_dict(self.schedule_state)
