"""Base class of all tasks: optimizer, learning-rate schedule, logged means, and reproducible random numbers.

A task is a Lightning module. It contains the network, the loss, the training step and the validation step.
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
    """Return True if a validation takes place at the end of the current epoch."""
    return (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0


def refuse_unlogged(key: str, monitor: str, metrics: Mapping[str, Tensor]) -> None:
    """Check that a validated run logs a value by which a part of the training decides.

    Args:
        key: config key with the name of the value.
        monitor: name of the value.
        metrics: logged values by name.

    Raises:
        InputError: the run has been validated, but does not log the value.
    """
    if "valid/loss" in metrics and monitor not in metrics:
        expected = ", ".join(sorted(name for name in metrics if name.startswith("valid/")))
        raise InputError(key, "the run does not log this value", found=monitor, expected=expected)


def training_steps(trainer: pl.Trainer) -> float:
    """Return the number of optimizer steps of a training; infinity if the training has no limit.

    Lightning's `estimated_stepping_batches` is not used, because it creates the data loader too early. At this time, a resumed
    run does not know yet with which batch it must continue.
    """
    batches = trainer.datamodule.steps_per_epoch  # type: ignore[attr-defined]
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
    steps = epochs * math.ceil(batches / trainer.accumulate_grad_batches)
    return min(steps, trainer.max_steps) if trainer.max_steps >= 0 else steps


class Task(pl.LightningModule):
    """Train the parameters of a network. A subclass defines the metric `valid_loss`, and updates it in `validation_step`.

    If the attribute `by_step` of the schedule is True, the learning rate changes after each training step. Otherwise, or if the
    schedule lacks this attribute, the learning rate changes after each epoch.

    The schedule `ReduceLROnPlateau` lowers the learning rate if a logged value has not improved. This value is checked after
    each validation. The attribute `monitor` of the schedule is the name of the value. Without this attribute, the value is
    `valid/loss`.

    Args:
        optimizer: function from parameters to an optimizer. None if nothing is trained by gradients.
        scheduler: function from the optimizer to a learning-rate schedule. None: constant learning rate.
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
        """True if the definition of the loss still changes in this epoch. Such an epoch is never selected as the best epoch."""
        return False

    def configure_optimizers(self) -> Any:
        """Create the optimizer and the learning-rate schedule.

        Returns:
            The optimizer, or an empty list if nothing is trained by gradients.

        Raises:
            InputError: an option of the optimizer or the schedule is invalid, such as a negative learning rate.
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
        """Set all modules to training mode (`mode=True`) or evaluation mode. Frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self.fixed:
            module.eval()
        return self

    def _make_schedule(self, optimizer: torch.optim.Optimizer) -> Any:
        """Create the learning-rate schedule. If `total_steps` of the schedule is None, the number of training steps is used."""
        assert self.make_scheduler is not None
        if getattr(self.make_scheduler, "keywords", {}).get("total_steps", 0) is None:
            # Before the Trainer exists, the options are only checked.
            steps = 10**9 if self._trainer is None else training_steps(self.trainer)
            if steps == math.inf:
                hint = "Set trainer.max_epochs, trainer.max_steps or this key"
                raise InputError("optim.scheduler.total_steps", "the number of training steps is unknown", hint=hint)
            return self.make_scheduler(optimizer, total_steps=int(steps))  # type: ignore[call-arg]
        return self.make_scheduler(optimizer)

    @property
    def by_step(self) -> bool:
        """True if the learning rate changes after each training step; False if the learning rate changes after each epoch."""
        return bool(getattr(self.schedule, "by_step", False))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Update the parameters of the network. If `by_step` is True, also update the learning rate.

        The arguments are passed to the method of Lightning.
        """
        super().optimizer_step(*args, **kwargs)
        if self.by_step:  # before the callbacks of the batch, which may write a checkpoint
            self.schedule.step()

    @property
    def validation_metrics(self) -> dict[str, Metric]:
        """Dictionary from the logged name, such as `valid/loss`, to the metric. `validation_step` updates the metrics."""
        return {"valid/loss": self.valid_loss}

    def validation_values(self) -> dict[str, Tensor]:
        """Return the values of all validation metrics by name, computed from all batches since the last reset."""
        return {name: metric.compute() for name, metric in self.validation_metrics.items()}

    def reset_validation(self) -> None:
        """Reset all validation metrics.

        Call this method before and after a validation outside Lightning. Lightning resets the metrics after its own.
        """
        for metric in self.validation_metrics.values():
            metric.reset()

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Seed the random number generator of PyTorch for this training step. Dropout, for example, uses this generator.

        The seed depends on the seed of the run, the epoch, the batch and the rank.
        """
        self._set_weights("train")
        counters = f"{self.seed} {self.current_epoch} {index} {self.global_rank}".encode()
        torch.manual_seed(int.from_bytes(hashlib.blake2b(counters, digest_size=8).digest()))

    def log_mean(self, name: str, value: Tensor) -> None:
        """Store a value of a training step. The mean of the stored values over the epoch is logged as `train/<name>`.

        This method is faster than Lightning's own logging, which takes a millisecond in each step.

        Args:
            name: name of the value.
            value: scalar.
        """
        self.noted[name].append(value.detach())

    def on_train_batch_end(self, *_: Any) -> None:
        """After the last training step of an epoch, log the means of the values that `log_mean` has stored."""
        trainer = self.trainer
        if trainer.is_last_batch or trainer.should_stop or self.global_step == trainer.max_steps:
            for name, values in self.noted.items():
                mean = torch.stack([value.to(self.device) for value in values]).mean()
                self.log(f"train/{name}", mean, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
            self.noted.clear()

    def _set_weights(self, mode: Literal["train", "eval"]) -> None:
        """Set the mode of the optimizer: `train` uses the trained weights, `eval` uses the averages of the weights.

        Only the optimizers of the package schedulefree have these modes. For all other optimizers, nothing is done.
        """
        optimizer: Any
        for optimizer in self.trainer.optimizers:
            if hasattr(optimizer, "train") and hasattr(optimizer, "eval"):
                optimizer.train() if mode == "train" else optimizer.eval()

    def on_validation_start(self) -> None:
        """Copy the buffers of the first process, such as the statistics of batch norm, to all processes.

        DDP (PyTorch's training with several processes) would copy the buffers in the first validation step. A process without
        validation tracks never executes this step, so all other processes would wait for this process forever.
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
        """Check that training has not diverged, then update the learning-rate schedule.

        Checkpoints are written after this method. If training has diverged, all processes of the run raise InputError.
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
        state = (
            f"checkpoints/ contains {checkpoints} of an earlier epoch"
            if checkpoints
            else "The run has not written a checkpoint"
        )
        hint = f"{advice}{state}."
        where = f"{name} of epoch {trainer.current_epoch}"
        raise InputError(where, "training diverged", found=value, expected="a finite number", hint=hint)

    def non_finite(self) -> tuple[str, float] | None:
        """Return the name and the value of a loss that is NaN or infinite.

        If all losses are finite but a weight is not, return `weights` and NaN. If all losses and weights are finite, return
        None.
        """
        metrics = self.trainer.callback_metrics
        for name in ("train/loss", "valid/loss"):
            if not math.isfinite(value := float(metrics.get(name, 0.0))):
                return name, value
        finite = all(bool(weights.isfinite().all()) for weights in self.parameters())
        has_nan = any(bool(values.isnan().any()) for values in self.buffers())  # such as the statistics of batch norm
        return None if finite and not has_nan else ("weights", math.nan)

    def _step_schedule(self, metrics: Mapping[str, Tensor]) -> None:
        """Update the learning-rate schedule after an epoch.

        `metrics` is a dictionary from the name of each logged value of training and validation to the value. After an epoch
        without validation, the caller passes an empty dictionary instead.
        """
        monitor = getattr(self.schedule, "monitor", "valid/loss")
        if not isinstance(self.schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            if not self.by_step:
                self.schedule.step()
        elif monitor in metrics:  # a run that ends early may have had no validation
            if not self.is_warming_up and metrics[monitor].isfinite():  # an epoch without scoring logs NaN
                self.schedule.step(metrics[monitor])
        else:
            refuse_unlogged("optim.scheduler.monitor", monitor, metrics)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the learning-rate schedule, and the values that `log_mean` has stored, to a checkpoint."""
        noted: dict[str, Any] = {name: self.all_gather(torch.stack(values)) for name, values in self.noted.items()}
        checkpoint[KEY] = {
            "schedule": self.schedule and self.schedule.state_dict(),
            "lora": self.lora,
            "noted": {name: values.reshape(self.trainer.world_size, -1) for name, values in noted.items()},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read the values that `log_mean` has stored, and the state of the learning-rate schedule, from a checkpoint."""
        state = checkpoint[KEY]
        self.schedule_state = state["schedule"]
        self.noted |= {name: list(values[self.global_rank]) for name, values in state["noted"].items()}

    def on_train_start(self) -> None:
        """Restore the learning-rate schedule of a resumed run."""
        if self.schedule_state is not None:
            self.schedule.load_state_dict(self.schedule_state)
