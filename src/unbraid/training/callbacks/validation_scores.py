"""Scores under a protocol while a run trains."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from unbraid.runs.errors import InputError
from unbraid.scoring.protocols import Protocol, SourceGroup
from unbraid.scoring.tables import summarise
from unbraid.scoring.track_records import TrackScores
from unbraid.tasks.separation import SeparationBatch, SeparationTask


class ValidationScores(pl.Callback):
    """Scores the whole validation tracks every few epochs, and says how much of the time that took.

    Logs `valid/<measure>/<target>` and `valid/scoring_share`: seconds of scoring to all since the last scores or the start.

    Args:
        protocol: its rate and channels are those of the network.
        every_n_epochs: of which the last one ends in scores.
    """

    def __init__(self, protocol: Protocol, every_n_epochs: int) -> None:
        if every_n_epochs < 1:
            raise InputError(f"every_n_epochs must be at least 1, found {every_n_epochs}")
        self.protocol, self.every_n_epochs = protocol, every_n_epochs
        self.tracks: list[TrackScores] = []
        self.finite = True  # estimates of the tracks so far
        self.seconds, self.since = 0.0, time.monotonic()
        self.spent = 0.0  # since the last scores, before the checkpoint that the run goes on from
        self.logged: dict[str, float] = {}
        self.source_group: SourceGroup  # set when training starts

    def state_dict(self) -> dict[str, Any]:
        return {"logged": self.logged, "seconds": time.monotonic() - self.since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.logged, self.spent = state_dict["logged"], state_dict["seconds"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """InputError where the protocol does not fit the run, before it trains."""
        if not isinstance(pl_module, SeparationTask):
            raise InputError("callbacks.scores", "validation scores need a separator", hint="Use callbacks=default.")
        separator, weights = pl_module.separator, trainer.datamodule.target_weights()  # type: ignore[attr-defined]
        own = (separator.sample_rate, separator.channels)
        self.protocol = self.protocol.at(*own)
        if self.protocol.format != own:
            raise InputError(
                f"callbacks.scores.protocol: scores at {self.protocol.format[0]} Hz with {self.protocol.format[1]} channels, "
                f"but while training at the network's {own[0]} Hz with {own[1]}; set both to null"
            )
        self.source_group = self.protocol.source_group(separator.targets, weights)
        self.since = time.monotonic() - self.spent

    def _is_due(self, trainer: pl.Trainer) -> bool:
        return (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if self._is_due(trainer):
            start = time.monotonic()
            self.finite = self.finite and bool(outputs.isfinite().all())
            if self.finite:  # else training has diverged, which the task says at the end of the epoch
                self.tracks.append(self._score(batch, outputs))
            self.seconds += time.monotonic() - start

    def _score(self, batch: SeparationBatch, estimates: Tensor) -> TrackScores:
        """Of one whole track; what targets leave of the mixture is the reference of the rest."""
        mixture, targets = batch.mixture[0].double(), batch.sources[0].double()
        references, made = (self.source_group.estimates(signals, mixture) for signals in (targets, estimates.double()))
        return TrackScores(self.protocol.score(references, made, self.source_group.names), mixture.shape[-1], ())

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._is_due(trainer):
            self.logged = self._summary(trainer) | {"valid/scoring_share": self.seconds / (time.monotonic() - self.since)}
            self.tracks, self.finite, self.seconds, self.since = [], True, 0.0, time.monotonic()
        else:
            self.logged = dict.fromkeys(self.logged, torch.nan)  # Lightning would show the last ones again
        for name, value in self.logged.items():
            pl_module.log(name, value, rank_zero_only=True)

    def _summary(self, trainer: pl.Trainer) -> dict[str, float]:
        parts = _gathered((self.tracks, self.finite), trainer.world_size)
        targets = self.source_group.names[: len(self.source_group.names) - self.source_group.has_rest]
        names = {f"valid/{measure}/{target}": (target, measure) for target in targets for measure in self.protocol.measures}
        if not all(finite for _, finite in parts):
            return dict.fromkeys(names, torch.nan)
        summary = summarise([track for tracks, _ in parts for track in tracks], self.protocol)
        values = {name: summary[target][measure][self.protocol.tracks] for name, (target, measure) in names.items()}
        return {name: torch.nan if value is None else value for name, value in values.items()}


def _gathered(mine: Any, world_size: int) -> list[Any]:
    """What each process has."""
    if world_size == 1:
        return [mine]
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, mine)
    return parts
