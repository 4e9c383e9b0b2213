"""Lightning logger for callbacks that need one: it passes the mean of each value over an epoch to `metrics.csv`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import DeviceStatsMonitor, LearningRateMonitor
from pytorch_lightning.loggers import Logger

NEED_LOGGER = (DeviceStatsMonitor, LearningRateMonitor)


class EpochMeans(Logger):
    """Collect the values that Lightning's callbacks log, until the end of the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[float]] = defaultdict(list)

    @property
    def name(self) -> str:
        """Name of the logger, which Lightning requires."""
        return "epoch_means"

    @property
    def version(self) -> str:
        """Version of the logger, which Lightning requires."""
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Store values."""
        for name, value in metrics.items():
            self.values[name].append(float(value))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `config.yaml` has all parameters."""

    def take(self) -> dict[str, float]:
        """Return the mean of each value since the last call, and forget the values."""
        means = {name: fmean(values) for name, values in sorted(self.values.items())}
        self.values.clear()
        return means


def logger_for(callbacks: Sequence[pl.Callback]) -> dict[str, EpochMeans]:
    """Return the Trainer's argument `logger` if a callback needs it, otherwise an empty dictionary."""
    return {"logger": EpochMeans()} if any(isinstance(callback, NEED_LOGGER) for callback in callbacks) else {}
