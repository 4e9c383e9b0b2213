"""Callback that compares the validation values of a run with those of earlier runs of the same experiment."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytorch_lightning as pl

from unbraid.runs.errors import InputError
from unbraid.runs.text import echo
from unbraid.tasks.task import has_validation


class ReferenceCurve(pl.Callback):
    """Print and log the distance of a validation value to a reference curve: the values of earlier runs with other seeds.

    The reference curve has a median and a band at several training steps, see `unbraid.reports.reference_curves`. Between two
    steps, median and band are interpolated linearly. Before the first and after the last step, nothing is compared.

    After each validation, two values are logged. `curve/to_median` is the value of the run minus the median. `curve/to_band` is
    0 inside the band. Above the band it is the value minus the upper limit, and below the band the value minus the lower limit.
    Outside the band, one line is printed.

    Args:
        name: name of the reference curve, for the printed line.
        measure: name of the compared value, such as `valid/uSDR/mean`.
        seeds: number of runs from which the curve was computed.
        steps: training steps of the curve, in ascending order.
        median: median over the seeds, at each step.
        low: lower limit of the band, at each step.
        high: upper limit of the band, at each step.

    Raises:
        InputError: the lists have different lengths or are empty, a number is not finite, the steps do not ascend, or a median
            is outside its band.
    """

    def __init__(
        self, name: str, measure: str, seeds: int, steps: Sequence[int], median: Sequence[float], low: Sequence[float],
        high: Sequence[float],
    ) -> None:  # fmt: skip
        lengths = {"steps": len(steps), "median": len(median), "low": len(low), "high": len(high)}
        if len({*lengths.values()}) > 1 or not steps:
            found = ", ".join(f"{key} {length}" for key, length in lengths.items())
            raise InputError(
                "callbacks.curve", "the lists differ in length or are empty", found=found, expected="equal lengths"
            )
        if not all(map(math.isfinite, [*median, *low, *high])) or any(later <= step for step, later in pairwise(steps)):
            raise InputError("callbacks.curve", "steps do not ascend, or a number is not finite")
        if step := next((s for s, m, a, b in zip(steps, median, low, high, strict=True) if not a <= m <= b), None):
            raise InputError("callbacks.curve", "the median is outside the band", found=f"step {step}")
        self.name, self.measure, self.seeds, self.steps = name, measure, seeds, list(steps)
        self.median, self.low, self.high = list(median), list(low), list(high)

    def at(self, step: int) -> tuple[float, float, float] | None:
        """Return median, lower limit and upper limit of the band at a training step; None outside the steps of the curve."""
        if not self.steps[0] <= step <= self.steps[-1]:
            return None
        median, low, high = (float(np.interp(step, self.steps, values)) for values in (self.median, self.low, self.high))
        return median, low, high

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the latest validation value with the curve, if this epoch had a validation.

        Args:
            trainer: Lightning Trainer of the run.
            pl_module: task that logs the validation value.

        Raises:
            InputError: the task does not log the value `measure`.
        """
        if not has_validation(trainer):
            return
        values = trainer.callback_metrics
        if self.measure not in values:
            found = ", ".join(sorted(name for name in values if name.startswith("valid/")))
            problem = f"this run does not log the value {self.measure} of the reference curve"
            raise InputError("callbacks.curve.measure", problem, found=found, hint="Choose another curve, or set curve=null")
        compared = self.at(trainer.global_step)
        value = values[self.measure].item()
        if compared is None or math.isnan(value):
            to_median = to_band = math.nan  # otherwise Lightning repeats the previous values
        else:
            median, low, high = compared
            to_median, to_band = value - median, value - min(max(value, low), high)
        for name, distance in {"curve/to_median": to_median, "curve/to_band": to_band}.items():
            pl_module.log(name, distance, rank_zero_only=True)
        if to_band and not math.isnan(to_band) and trainer.is_global_zero:
            assert compared is not None
            echo(self.line(trainer.global_step, value, *compared[1:]), flush=True)

    def line(self, step: int, value: float, low: float, high: float) -> str:
        """Return the line that is printed for a value outside the band.

        Args:
            step: training step.
            value: validation value of the run.
            low: lower limit of the band.
            high: upper limit of the band.

        Returns:
            Text such as `step 20,000: valid/uSDR/mean 8.1 dB is 1.1 dB below the band of 5 seeds (9.2 to 9.8 dB, curve scnet)`.
        """
        unit = "" if self.measure.split("/")[1] == "loss" else " dB"
        side, distance = ("below", low - value) if value < low else ("above", value - high)
        return (
            f"step {step:,}: {self.measure} {value:.4g}{unit} is {distance:.3g}{unit} {side} the band of {self.seeds} seeds "
            f"({low:.4g} to {high:.4g}{unit}, curve {self.name})"
        )
