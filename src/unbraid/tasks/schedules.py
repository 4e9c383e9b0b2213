"""Learning-rate schedules in addition to the schedules in `torch.optim.lr_scheduler`.

A schedule with the attribute `by_step = True` changes the learning rate after each training step. All other schedules change
the learning rate after each epoch.
"""

import math
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from unbraid.runs.averages import mode_of
from unbraid.runs.errors import InputError


class WarmupCosine(LambdaLR):
    """Raise the learning rate linearly from 0, then lower it along half a cosine (Loshchilov & Hutter, ICLR 2017).

    `lr` is the learning rate of the optimizer. During the warm-up, the learning rate after s steps is `lr` times
    s / warmup_steps. After the warm-up, the learning rate is `lr` times f + (1 - f) (1 + cos(pi p)) / 2. Here f is
    `end_factor`, and p is the finished share of the steps after the warm-up.

    Args:
        optimizer: optimizer whose learning rates change.
        warmup_steps: number of training steps of the warm-up; 0: no warm-up.
        total_steps: number of training steps of the whole schedule. The learning rate is constant afterwards. In a config, null
            is replaced by the number of training steps of the run.
        end_factor: learning rate after the last step, divided by `lr`.

    Raises:
        InputError: an argument is out of range.
    """

    by_step = True

    def __init__(self, optimizer: Optimizer, warmup_steps: int, total_steps: int | None, end_factor: float) -> None:
        if total_steps is None:
            raise InputError("optim.scheduler.total_steps", "the number of training steps is missing", expected="an integer")
        if not 0 <= warmup_steps < total_steps:
            expected = f"0 to {total_steps - 1}, less than the number of training steps"
            raise InputError("optim.scheduler.warmup_steps", found=warmup_steps, expected=expected)
        if not 0 <= end_factor <= 1:
            raise InputError("optim.scheduler.end_factor", found=end_factor, expected="0 to 1")
        self.warmup_steps, self.total_steps, self.end_factor = warmup_steps, total_steps, end_factor
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """Return the factor by which `lr` is multiplied after `step` training steps."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        share = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return self.end_factor + (1 - self.end_factor) * (1 + math.cos(math.pi * share)) / 2

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the schedule of a resumed run.

        Args:
            state_dict: state of the schedule from the checkpoint.

        Raises:
            InputError: the schedule in the checkpoint has another number of steps, because `trainer.max_epochs` or
                `trainer.max_steps` has changed.
        """
        if state_dict["total_steps"] != self.total_steps:
            problem = "a run with this schedule cannot be continued with another number of training steps"
            hint = "Set optim.scheduler.total_steps to the expected value, or start a new run with resume=never"
            raise InputError(
                "optim.scheduler.total_steps", problem, found=self.total_steps, expected=state_dict["total_steps"], hint=hint
            )
        super().load_state_dict(state_dict)


class StepDecay(LambdaLR):
    """Multiply the learning rate by a factor after a fixed number of training steps, again and again.

    `lr` is the learning rate of the optimizer. After s training steps, the learning rate is `lr` times factor^n, where n is s
    divided by `every_steps`, rounded down. During a warm-up, this value is multiplied by s / warmup_steps.

    Args:
        optimizer: optimizer whose learning rates change.
        every_steps: number of training steps from one decay to the next.
        factor: factor in (0, 1] by which the learning rate is multiplied.
        warmup_steps: number of training steps of the warm-up; 0: no warm-up.

    Raises:
        InputError: an argument is out of range.
    """

    by_step = True

    def __init__(self, optimizer: Optimizer, every_steps: int, factor: float, warmup_steps: int) -> None:
        if every_steps < 1:
            raise InputError("optim.scheduler.every_steps", found=every_steps, expected="at least 1")
        if not 0 < factor <= 1:
            raise InputError("optim.scheduler.factor", found=factor, expected="a number above 0, at most 1")
        if warmup_steps < 0:
            raise InputError("optim.scheduler.warmup_steps", found=warmup_steps, expected="0 or more")
        self.every_steps, self.decay, self.warmup_steps = every_steps, factor, warmup_steps
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """Return the factor by which `lr` is multiplied after `step` training steps."""
        warmup = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        return warmup * self.decay ** (step // self.every_steps)


class Plateau(ReduceLROnPlateau):
    """Lower the learning rate if a logged value has not improved for several validations.

    Args:
        optimizer: optimizer whose learning rates change.
        monitor: name of the logged value, such as `valid/uSDR/mean`.
        mode: `min` if smaller values are better, `max` if larger values are better; null: `min` for losses, `max` for scores
            such as `valid/uSDR/mean`. Other values need a mode.
        factor: factor below 1 by which the learning rate is multiplied.
        patience: number of validations without improvement after which the learning rate is lowered.
    """

    def __init__(
        self, optimizer: Optimizer, monitor: str, mode: Literal["min", "max"] | None, factor: float, patience: int
    ) -> None:  # fmt: skip
        super().__init__(optimizer, mode_of(monitor, mode, "optim.scheduler.mode"), factor=factor, patience=patience)
        self.monitor = monitor
