"""Lightning logger that collects values, such as the learning rate, for the epoch means in `metrics.csv`.

Some callbacks of Lightning, such as `LearningRateMonitor`, log only to a logger. Without a logger, these callbacks raise an
error.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import DeviceStatsMonitor, LearningRateMonitor
from pytorch_lightning.loggers import Logger

NEED_LOGGER = (DeviceStatsMonitor, LearningRateMonitor)


class EpochMeans(Logger):
    """Collect the values that callbacks of Lightning log during an epoch. The method `take` returns the means."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[float]] = defaultdict(list)

    @property
    def name(self) -> str:
        """Name of this logger. Lightning requires a name."""
        return "epoch_means"

    @property
    def version(self) -> str:
        """Version of this logger, an empty text. Lightning requires a version."""
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Store the values that a callback logs. The argument `step` is ignored."""
        for name, value in metrics.items():
            self.values[name].append(float(value))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing, because `config.yaml` in the run folder already contains all hyperparameters."""

    def take(self) -> dict[str, float]:
        """Return a dictionary from the name of each metric to the mean of its values since the last call. Delete the values."""
        means = {name: fmean(values) for name, values in sorted(self.values.items())}
        self.values.clear()
        return means


def logger_for(callbacks: Sequence[pl.Callback]) -> dict[str, EpochMeans]:
    """Return a dictionary of keyword arguments for the Trainer. The only entry is `logger`, a new `EpochMeans`.

    If no callback needs a logger, the dictionary is empty.
    """
    return {"logger": EpochMeans()} if any(isinstance(callback, NEED_LOGGER) for callback in callbacks) else {}
