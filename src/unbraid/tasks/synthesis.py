"""Synthesis task: train a DDSP synthesizer of one instrument on chunks of tracks.

The synthesizer learns to reproduce a chunk from the pitch and loudness of the chunk.
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
    """Attributes of the object that extracts pitch and loudness (`features`), as far as `SynthesisTask` uses them."""

    kind: str
    sample_rate: int
    hop_length: int


class SynthesisTask(Task):
    """Train a DDSP synthesizer of one instrument on chunks of tracks, and validate it on whole tracks.

    Args:
        features: object that extracts pitch and loudness. The extracted curves are in the field `beside` of a batch.
        net: function that builds the synthesizer (`Instrument`) from sample rate and hop length.
        loss: function from two waveforms to a scalar.
        optimizer: function from parameters to an optimizer.
        scheduler: function from the optimizer to a learning-rate schedule; None: constant learning rate. Schedules other than
            `ReduceLROnPlateau` are stepped after each training step.

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
        """Return whether the learning-rate schedule is stepped after each training step instead of each epoch."""
        return self.schedule is not None and not isinstance(self.schedule, ReduceLROnPlateau)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss of a batch, and log its mean over the epoch as `train/loss`."""
        loss = self.distance(batch.beside.f0, batch.beside.loudness, batch.sources[:, 0, 0])
        self.log_mean("loss", loss)
        return loss

    def distance(self, f0: Tensor, loudness: Tensor, sound: Tensor) -> Tensor:
        """Return the loss between a waveform and its resynthesis from pitch and loudness.

        Args:
            f0: pitch at each frame, in Hz.
            loudness: loudness at each frame, in dB.
            sound: waveform from which pitch and loudness were extracted.

        Shape:
            f0 and loudness [B, F + 1] (B chunks of F hops), sound [B, T] -> scalar.

        Returns:
            The loss.
        """
        played = self.net(f0, loudness, sound)
        return self.loss(played, sound[:, : played.shape[1]])

    def validation_step(self, batch: Any, index: int) -> None:
        """Update the validation loss with one whole track. Pieces of 4 s are resynthesized independently, as in training."""
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
