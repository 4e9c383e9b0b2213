"""Synthesis task: a training step resynthesises chunks from their pitch and loudness, and compares spectra."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric

from unbraid.nets.ddsp import Instrument
from unbraid.runs.errors import InputError
from unbraid.tasks.task import Task


class ControlFeatures(Protocol):
    """Describe the attributes of the features that the task reads; see `unbraid.data.controls.Extraction`."""

    kind: str
    sample_rate: int
    hop_length: int


class SynthesisTask(Task):
    """Train an instrument on chunks and validate it on whole tracks.

    Args:
        features: extraction of pitch and loudness. Batches have both in `beside`.
        net: function from sample rate and hop length to an instrument.
        loss: function from two waveforms to a scalar.
        optimizer: see `Task`.
        scheduler: see `Task`. Schedules other than `ReduceLROnPlateau` are stepped after each training step.

    Raises:
        InputError: `features` are not pitch and loudness.
    """

    def __init__(
        self,
        features: ControlFeatures,
        net: Callable[..., Instrument],
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        if not hasattr(features, "hop_length"):
            expected = "controls, that is pitch and loudness"
            raise InputError("features", found=features.kind, expected=expected, hint="Set features=controls.")
        self.features, self.loss = features, loss
        self.net = net(sample_rate=features.sample_rate, hop_length=features.hop_length)
        self.valid_loss = MeanMetric(nan_strategy="disable")

    @property
    def by_step(self) -> bool:
        """Return whether the schedule is stepped after each training step instead of each epoch."""
        return self.schedule is not None and not isinstance(self.schedule, ReduceLROnPlateau)

    def on_train_batch_end(self, *_: Any) -> None:
        """Log means after the last step of an epoch, and step the schedule."""
        super().on_train_batch_end()
        if self.by_step:
            self.schedule.step()

    def _step_schedule(self, metrics: Mapping[str, Tensor]) -> None:
        if not self.by_step:
            super()._step_schedule(metrics)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss of a batch, and log its mean over the epoch as `train/loss`."""
        loss = self.distance(batch.beside.f0, batch.beside.loudness, batch.sources[:, 0, 0])
        self.log_mean("loss", loss)
        return loss

    def distance(self, f0: Tensor, loudness: Tensor, sound: Tensor) -> Tensor:
        """Return the loss between a sound and its resynthesis.

        Args:
            f0: pitch in Hz.
            loudness: loudness in dB.
            sound: the sound that the controls were extracted from.

        Shape:
            f0 and loudness [B, F + 1], sound [B, T] -> scalar.

        Returns:
            The loss.
        """
        played = self.net(f0, loudness, sound)
        return self.loss(played, sound[:, : played.shape[1]])

    def validation_step(self, batch: Any, index: int) -> None:
        """Update the validation loss with one whole track, in pieces of 4 s. As in training, a piece starts in silence."""
        hop = self.features.hop_length
        points = round(4 * self.features.sample_rate / hop)
        f0, loudness, sound = batch.beside.f0, batch.beside.loudness, batch.sources[:, 0, 0]
        for start in range(0, f0.shape[1] - 1, points):
            ends = slice(start, start + points + 1)
            piece = sound[:, start * hop : (start + f0[:, ends].shape[1] - 1) * hop]
            self.valid_loss.update(self.distance(f0[:, ends], loudness[:, ends], piece), weight=piece.shape[1])

    def on_validation_epoch_end(self) -> None:
        """Log `valid/loss`."""
        self.log("valid/loss", self.valid_loss, prog_bar=True)
