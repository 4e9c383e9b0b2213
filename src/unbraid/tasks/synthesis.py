"""Synthesis task: train a DDSP synthesizer of one instrument on chunks of tracks.

The synthesizer learns to reproduce a chunk from the pitch and loudness of this chunk.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric

from unbraid.nets.ddsp import Instrument
from unbraid.runs.errors import InputError
from unbraid.tasks.task import Task


class ControlFeatures(Protocol):
    """Describe the attributes of an object that extracts pitch and loudness. `SynthesisTask` uses these attributes."""

    kind: str
    sample_rate: int
    hop_length: int


class SynthesisTask(Task):
    """Train a DDSP synthesizer of one instrument on chunks of tracks, and validate the synthesizer on whole tracks.

    Args:
        features: object that extracts pitch and loudness. A batch contains the extracted curves in the field `beside`.
        net: function that builds the synthesizer (`Instrument`) from sample rate and hop length.
        loss: function from two waveforms to a scalar.
        optimizer: function from parameters to an optimizer.
        scheduler: function from the optimizer to a learning-rate schedule. None: constant learning rate. `ReduceLROnPlateau`
            changes the learning rate after an epoch, all other schedules after each training step.

    Raises:
        InputError: `features` does not extract pitch and loudness.
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
            problem = "an instrument (DDSP synthesizer) needs pitch and loudness as features"
            raise InputError("features", problem, found=features.kind, expected="controls", hint="Set features=controls.")
        self.features, self.loss = features, loss
        self.net = net(sample_rate=features.sample_rate, hop_length=features.hop_length)
        self.valid_loss = MeanMetric(nan_strategy="disable")

    @property
    def by_step(self) -> bool:
        """True if the learning rate changes after each training step; False if the learning rate changes after each epoch."""
        return self.schedule is not None and not isinstance(self.schedule, ReduceLROnPlateau)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss of a batch. The mean loss over the epoch is logged as `train/loss`."""
        loss = self.distance(batch.beside.f0, batch.beside.loudness, batch.sources[:, 0, 0])
        self.log_mean("loss", loss)
        return loss

    def distance(self, f0: Tensor, loudness: Tensor, sound: Tensor) -> Tensor:
        """Resynthesize a waveform from its pitch and loudness, and return the loss.

        The loss compares the resynthesized waveform with the waveform `sound`.

        Args:
            f0: pitch at each control point, in Hz.
            loudness: loudness at each control point, in dB.
            sound: waveform from which pitch and loudness were extracted.

        Shape:
            f0 and loudness [B, F + 1], sound [B, T] -> scalar. Each of the B chunks has F hops and F + 1 control points.

        Returns:
            The loss.
        """
        played = self.net(f0, loudness, sound)
        return self.loss(played, sound[:, : played.shape[1]])

    def validation_step(self, batch: Any, index: int) -> None:
        """Resynthesize one whole track in independent pieces of 4 s, and update the mean validation loss."""
        hop = self.features.hop_length
        points = round(4 * self.features.sample_rate / hop)
        f0, loudness, sound = batch.beside.f0, batch.beside.loudness, batch.sources[:, 0, 0]
        for start in range(0, f0.shape[1] - 1, points):
            ends = slice(start, start + points + 1)
            piece = sound[:, start * hop : (start + f0[:, ends].shape[1] - 1) * hop]
            self.valid_loss.update(self.distance(f0[:, ends], loudness[:, ends], piece), weight=piece.shape[1])

    def on_validation_epoch_end(self) -> None:
        """Log the mean validation loss as `valid/loss`."""
        self.log("valid/loss", self.valid_loss, prog_bar=True)
