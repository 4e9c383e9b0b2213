"""Callback that computes exponential moving averages (EMA) of the weights, and validates these averages.

The averages often have better scores than the weights themselves (Polyak & Juditsky, SIAM J. Control Optim. 1992). Demucs and
SCNet choose the best of several averages by the validation score.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from unbraid.runs.errors import InputError
from unbraid.tasks.task import Task, has_validation

RAW = "raw"  # name of the weights that are trained


class WeightAverages(pl.Callback):
    """Compute several exponential moving averages of the weights. After each validation, validate these averages, too.

    An average with decay d is the weighted mean of the model weights after the updates 1 to n. The weights after update i have
    a factor that is proportional to d^(n - i). The average is therefore not biased towards the initial weights.

    The validation values of an average are logged as `<value>/ema_<decay>_<unit>`, for example `valid/loss/ema_0.999_step`. The
    callback `BestCheckpoint` compares the trained weights and all averages, and writes the best weights to `best.ckpt`.

    Args:
        step_decays: decays of the averages that are updated after each training step.
        epoch_decays: decays of the averages that are updated after each epoch.

    Raises:
        InputError: a decay is outside [0, 1), or both lists of decays are empty.
    """

    def __init__(self, step_decays: Sequence[float], epoch_decays: Sequence[float]) -> None:
        lists = {"step": step_decays, "epoch": epoch_decays}
        self.decays = {f"ema_{decay:.12g}_{unit}": decay for unit, decays in lists.items() for decay in decays}
        if not self.decays:
            raise InputError("step_decays", "both lists of decays are empty", hint="Set for example step_decays=[0.999]")
        for unit, decays in lists.items():
            for decay in decays:
                if not 0 <= decay < 1:
                    raise InputError(f"{unit}_decays", found=decay, expected="numbers from 0 to below 1")
        self.averages: dict[str, dict[str, Tensor]] = {name: {} for name in self.decays}
        self.counts = dict.fromkeys(self.decays, 0.0)  # sum of the weights of each average
        self.values: dict[str, dict[str, float]] = {}  # latest validation values of each average
        self.steps = 0
        self.model: dict[str, Tensor] = {}  # parameters and buffers of the task, by name

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint: all values that a resumed run needs to continue the averages."""
        return {"averages": self.averages, "counts": self.counts, "values": self.values, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the averages of a resumed run from a checkpoint.

        Args:
            state_dict: result of `state_dict`, from the checkpoint.

        Raises:
            InputError: the averages in the checkpoint have other decays than the averages of this callback.
        """
        if {*state_dict["averages"]} != {*self.decays}:
            found, expected = (", ".join(sorted(names)) for names in (self.decays, state_dict["averages"]))
            problem, hint = "the averages differ from those in the checkpoint", "Start a new run with resume=never"
            raise InputError("callbacks.ema", problem, found=found, expected=expected, hint=hint)
        self.averages, self.counts = state_dict["averages"], state_dict["counts"]
        self.values, self.steps = state_dict["values"], state_dict["steps"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Store references to the weights of the model. Move the averages of a resumed run to the device of the model."""
        self.model = pl_module.state_dict()
        for average in self.averages.values():
            average.update({name: tensor.to(pl_module.device) for name, tensor in average.items()})

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the averages with the decays `step_decays`, if the optimizer has updated the weights.

        With gradient accumulation, the optimizer updates the weights only after some of the batches.
        """
        if trainer.global_step > self.steps:
            self.steps = trainer.global_step
            self._update("step")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate all averages after a validation within an epoch, before `BestCheckpoint` compares them."""
        if trainer.val_check_interval != 1.0:
            self._validate_all(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Update the averages with the decays `epoch_decays`.

        If the epoch had a validation, validate all averages, and log the results.
        """
        self._update("epoch")
        if not has_validation(trainer) or not sum(trainer.num_val_batches):
            return
        if trainer.val_check_interval == 1.0:
            self._validate_all(trainer, pl_module)
        for average, values in self.values.items():
            for name, value in values.items():
                pl_module.log(f"{name}/{average}", value, rank_zero_only=True)

    def _validate_all(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        assert isinstance(task, Task)
        for average in self.decays:
            if self.averages[average]:  # before the end of the first epoch, averages over epochs are empty
                with self.swapped(average):
                    self.values[average] = _validate(trainer, task)

    @torch.no_grad()
    def _update(self, unit: str) -> None:
        state = self.model
        for average, decay in self.decays.items():
            if not average.endswith(unit):
                continue
            self.counts[average] = decay * self.counts[average] + 1
            if not self.averages[average]:
                self.averages[average] = {name: tensor.detach().clone() for name, tensor in state.items()}
                continue
            kept = self.averages[average]
            floats = [name for name, tensor in state.items() if tensor.is_floating_point()]
            torch._foreach_lerp_([kept[name] for name in floats], [state[name] for name in floats], 1 / self.counts[average])
            for name in state.keys() - {*floats}:
                kept[name].copy_(state[name])

    @contextmanager
    def swapped(self, average: str) -> Iterator[None]:
        """Load an average into the model inside the `with` block. After the block, the trained weights are restored.

        Args:
            average: name of the average; `raw`: the trained weights are kept.

        Yields:
            None.
        """
        if average == RAW:
            yield
            return
        own = {name: tensor.clone() for name, tensor in self.model.items()}
        try:
            self._fill(self.averages[average])
            yield
        finally:
            self._fill(own)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, tensor in self.model.items():
            tensor.copy_(values[name])

    def best(self, monitor: str, mode: str, raw: float) -> tuple[str, float]:
        """Compare the trained weights and all averages in the latest validation, and return the best.

        Args:
            monitor: name of the compared value, such as `valid/loss`.
            mode: `min` if smaller values are better, `max` if larger values are better.
            raw: compared value of the trained weights.

        Returns:
            Name of the best average (`raw`: the trained weights), and the compared value of this average.
        """
        values = {RAW: raw} | {name: values[monitor] for name, values in self.values.items() if monitor in values}
        finite = {name: value for name, value in values.items() if value == value} or values
        name = min(finite, key=lambda name: finite[name] if mode == "min" else -finite[name])
        return name, finite[name]


def averages_of(trainer: pl.Trainer) -> WeightAverages | None:
    """Return the callback `WeightAverages` of a Trainer; None if the Trainer does not have this callback."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, WeightAverages)), None)  # type: ignore[attr-defined]


def _validate(trainer: pl.Trainer, task: Task) -> dict[str, float]:
    """Validate the current weights of a task on the validation batches, and return the validation values by name."""
    modes = {module: module.training for module in task.modules()}
    task.eval()
    task.reset_validation()  # within an epoch, the metrics still contain the validation of the trained weights
    loader: Any = trainer.val_dataloaders
    with torch.no_grad(), trainer.strategy.precision_plugin.val_step_context():
        for index, batch in enumerate(islice(loader, int(trainer.num_val_batches[0]))):
            task.validation_step(trainer.strategy.batch_to_device(batch), index)
    values = {name: float(value) for name, value in task.validation_values().items()}
    task.reset_validation()
    for module, training in modes.items():
        module.training = training
    return values
