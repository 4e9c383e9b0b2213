"""Base class of all tasks: optimizer, learning-rate schedule, logged means, and reproducible random numbers.

A task is a Lightning module: it has the network, the loss, and the training and validation steps.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torchmetrics import Metric

from unbraid.runs.errors import InputError

KEY = "task"  # key of the additional state in Lightning's checkpoints


def has_validation(trainer: pl.Trainer) -> bool:
    """Return whether the present epoch ends in a validation."""
    return (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0


class Task(pl.LightningModule):
    """Train the parameters of a network. A subclass has a metric `valid_loss`, which its `validation_step` updates.

    Args:
        optimizer: function from parameters to an optimizer. None if nothing is trained by gradients.
        scheduler: function from the optimizer to a schedule. A schedule with the attribute `by_step` is stepped after each
            training step, other schedules after each epoch. `ReduceLROnPlateau` is stepped after each epoch that ends in a
            validation, on the value that its attribute `monitor` names, otherwise on `valid/loss`. None: the learning rate is
            constant.
    """

    def __init__(
        self,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None,
    ) -> None:
        super().__init__()
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.valid_loss: Metric
        self.schedule: Any = None
        self.schedule_state: dict[str, Any] | None = None  # from the checkpoint of a resumed run
        self.noted: dict[str, list[Tensor]] = defaultdict(list)
        self.fixed: list[nn.Module] = []  # frozen modules, which compute in training as in evaluation
        self.lora: dict[str, float] | None = None  # rank and alpha of `unbraid.tasks.lora`; None: no adapters
        self.seed = torch.initial_seed()  # seed of the run; each step derives its own seed from it

    @property
    def is_warming_up(self) -> bool:
        """Return whether the definition of the loss still changes in this epoch. Only later epochs can be the best epoch."""
        return False

    def configure_optimizers(self) -> Any:
        """Create the optimizer and the schedule.

        Returns:
            The optimizer, or an empty list if nothing is trained by gradients.

        Raises:
            InputError: the optimizer or the schedule refuses an option, such as a negative learning rate.
        """
        if self.make_optimizer is None:
            return []
        try:
            takes_names = getattr(getattr(self.make_optimizer, "func", None), "takes_names", False)
            trained = [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]
            optimizer = self.make_optimizer(trained if takes_names else [parameter for _, parameter in trained])  # type: ignore[arg-type]
            self.schedule = None if self.make_scheduler is None else self._make_schedule(optimizer)
        except InputError:  # an optional package is missing
            raise
        except (ValueError, TypeError) as error:
            raise InputError("optim", f"the optimizer or its schedule refuses an option ({error})") from error
        return optimizer

    def train(self, mode: bool = True) -> "Task":
        """Set the mode of all modules, except that frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self.fixed:
            module.eval()
        return self

    def _make_schedule(self, optimizer: torch.optim.Optimizer) -> Any:
        """Create the learning-rate schedule. If its argument `total_steps` is None, it gets the number of training steps."""
        assert self.make_scheduler is not None
        if getattr(self.make_scheduler, "keywords", {}).get("total_steps", 0) is None:
            # Before the Trainer exists, the options are only checked.
            steps = 10**9 if self._trainer is None else self.trainer.estimated_stepping_batches
            if steps == math.inf:
                hint = "Set trainer.max_epochs or trainer.max_steps, or a number of steps"
                raise InputError("optim.scheduler.total_steps", "the number of training steps is unknown", hint=hint)
            return self.make_scheduler(optimizer, total_steps=int(steps))  # type: ignore[call-arg]
        return self.make_scheduler(optimizer)

    @property
    def by_step(self) -> bool:
        """Return whether the learning-rate schedule is stepped after each training step instead of each epoch."""
        return bool(getattr(self.schedule, "by_step", False))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Update the parameters, and step a schedule that is stepped after each training step. Arguments: see Lightning."""
        super().optimizer_step(*args, **kwargs)
        if self.by_step:  # before the callbacks of the batch, which may write a checkpoint
            self.schedule.step()

    @property
    def validation_metrics(self) -> dict[str, Metric]:
        """Return the metrics that `validation_step` updates, by the name under which their value is logged."""
        return {"valid/loss": self.valid_loss}

    def validation_values(self) -> dict[str, Tensor]:
        """Return the values of all validation metrics by name, over the batches since the metrics were reset."""
        return {name: metric.compute() for name, metric in self.validation_metrics.items()}

    def reset_validation(self) -> None:
        """Reset all validation metrics. Needed only if `validation_step` is called outside Lightning's validation."""
        for metric in self.validation_metrics.values():
            metric.reset()

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Seed the random numbers of a training step (for example of dropout) by run seed, epoch, batch and rank."""
        self._set_weights("train")
        counters = f"{self.seed} {self.current_epoch} {index} {self.global_rank}".encode()
        torch.manual_seed(int.from_bytes(hashlib.blake2b(counters, digest_size=8).digest()))

    def log_mean(self, name: str, value: Tensor) -> None:
        """Store a value of a training step. The mean of the values over the epoch is logged as `train/<name>`.

        This method avoids Lightning's own logging, which takes a millisecond in each step.

        Args:
            name: name of the value.
            value: scalar.
        """
        self.noted[name].append(value.detach())

    def on_train_batch_end(self, *_: Any) -> None:
        """Log the mean of each value stored by `log_mean`, after the last training step of an epoch."""
        trainer = self.trainer
        if trainer.is_last_batch or trainer.should_stop or self.global_step == trainer.max_steps:
            for name, values in self.noted.items():
                mean = torch.stack([value.to(self.device) for value in values]).mean()
                self.log(f"train/{name}", mean, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
            self.noted.clear()

    def _set_weights(self, mode: Literal["train", "eval"]) -> None:
        """Switch between the weights of training and the averaged weights, if the optimizer keeps both.

        The optimizers of the package schedulefree keep both kinds of weights, and have the methods `train` and `eval` to switch
        between them. If the mode is already set, nothing changes.
        """
        optimizer: Any
        for optimizer in self.trainer.optimizers:
            if hasattr(optimizer, "train") and hasattr(optimizer, "eval"):
                optimizer.train() if mode == "train" else optimizer.eval()

    def on_validation_start(self) -> None:
        """Copy the buffers of the first process, such as the statistics of batch norm, to all processes.

        DDP (PyTorch's training with several processes) copies the buffers in the first validation step. A process without
        validation tracks never executes this step, and the other processes would wait forever for this process.
        """
        self._set_weights("eval")
        model = self.trainer.model
        if isinstance(model, DistributedDataParallel):
            for buffer in model.module.buffers():
                values = buffer.contiguous()  # required by `broadcast`; a contiguous buffer is not copied
                torch.distributed.broadcast(values, 0)
                buffer.copy_(values)
            model.require_forward_param_sync = False

    def on_train_epoch_end(self) -> None:
        """Check that training has not diverged, and step the learning-rate schedule. The checkpoints are written afterwards.

        Lightning itself would step the schedule after the checkpoints, and not in the first epoch of a resumed run. If training
        has diverged, all processes of the run raise InputError.
        """
        self._set_weights("eval")  # checkpoints of an epoch contain the averaged weights
        self.check_finite()
        trainer = self.trainer
        if self.schedule is not None:
            self._step_schedule(trainer.callback_metrics if has_validation(trainer) else {})

    def check_finite(self) -> None:
        """Check that training has not diverged.

        Raises:
            InputError: a loss or a weight is NaN or infinite.
        """
        if (non_finite := self.non_finite()) is None:
            return
        name, value = non_finite
        trainer = self.trainer
        checkpoints = " and ".join(sorted(path.name for path in Path(trainer.default_root_dir).glob("checkpoints/*.ckpt")))
        advice = "A lower optim.optimizer.lr or a trainer.gradient_clip_val may help. " if trainer.optimizers else ""
        state = f"checkpoints/ contains {checkpoints} of an earlier epoch" if checkpoints else "A checkpoint is missing"
        hint = f"{advice}{state}."
        where = f"{name} of epoch {trainer.current_epoch}"
        raise InputError(where, "training diverged", found=value, expected="a finite number", hint=hint)

    def non_finite(self) -> tuple[str, float] | None:
        """Return the name and value of a loss that is not finite, or (`weights`, NaN) if a weight is not finite, or None."""
        metrics = self.trainer.callback_metrics
        for name in ("train/loss", "valid/loss"):
            if not math.isfinite(value := float(metrics.get(name, 0.0))):
                return name, value
        finite = all(bool(weights.isfinite().all()) for weights in self.parameters())
        has_nan = any(bool(values.isnan().any()) for values in self.buffers())  # such as the statistics of batch norm
        return None if finite and not has_nan else ("weights", math.nan)

    def _step_schedule(self, metrics: Mapping[str, Tensor]) -> None:
        """Step the learning-rate schedule after an epoch. `metrics` is empty if the epoch had no validation."""
        monitor = getattr(self.schedule, "monitor", "valid/loss")
        if not isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            if not self.by_step:
                self.schedule.step()
        elif monitor in metrics and not self.is_warming_up:  # a run that ends early may have had no validation
            self.schedule.step(metrics[monitor])
        elif metrics and "valid/loss" in metrics and not self.is_warming_up:
            expected = ", ".join(sorted(name for name in metrics if name.startswith("valid/")))
            raise InputError("optim.scheduler.monitor", "the run does not log this value", found=monitor, expected=expected)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the learning-rate schedule, and the values that `log_mean` has stored, to a checkpoint."""
        noted: dict[str, Any] = {name: self.all_gather(torch.stack(values)) for name, values in self.noted.items()}
        checkpoint[KEY] = {
            "schedule": self.schedule and self.schedule.state_dict(),
            "lora": self.lora,
            "noted": {name: values.reshape(self.trainer.world_size, -1) for name, values in noted.items()},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the values stored by `log_mean` from a checkpoint. `on_train_start` restores the learning-rate schedule."""
        state = checkpoint[KEY]
        self.schedule_state = state["schedule"]
        self.noted |= {name: list(values[self.global_rank]) for name, values in state["noted"].items()}

    def on_train_start(self) -> None:
        """Restore the learning-rate schedule of a resumed run from the state in its checkpoint."""
        if self.schedule_state is not None:
            self.schedule.load_state_dict(self.schedule_state)
