"""Callback that computes scores such as the SDR on whole validation tracks during training."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from unbraid.runs.errors import InputError, check_counts
from unbraid.scoring.protocols import Protocol, SourceGroup
from unbraid.scoring.tables import summarise
from unbraid.scoring.track_records import TrackScores
from unbraid.tasks.separation import SeparationBatch, SeparationTask
from unbraid.training.processes import gather


class ValidationScores(pl.Callback):
    """Score the validation tracks every few epochs.

    The callback logs `valid/<measure>/<target>` and `valid/scoring_share`. The scoring share is the time spent on scoring,
    divided by the total time since the previous scoring. For the first scoring, the total time begins at the start of training.

    Args:
        protocol: definition of the scores: measures, windows and averages over tracks. Sample rate and number of channels of
            the protocol must be null, or equal to the values of the separator.
        every_n_epochs: number of epochs from one scoring to the next, at least 1.
    """

    def __init__(self, protocol: Protocol, every_n_epochs: int) -> None:
        check_counts(every_n_epochs=every_n_epochs)
        self.protocol, self.every_n_epochs = protocol, every_n_epochs
        self.tracks: list[TrackScores] = []
        self.finite = True  # whether all estimates of this epoch are finite
        self.seconds, self.since = 0.0, time.monotonic()  # scoring time since the moment `since`
        self.spent = 0.0  # seconds between the previous scores and the checkpoint from which the run resumes
        self.logged: dict[str, float] = {}
        self.source_group: SourceGroup  # set when training starts

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint: the latest logged scores, and the seconds since the previous scoring."""
        return {"logged": self.logged, "seconds": time.monotonic() - self.since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the latest logged scores, and the seconds since the previous scoring, from a checkpoint."""
        self.logged, self.spent = state_dict["logged"], state_dict["seconds"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check that the protocol fits the separator. This method is called before training starts.

        Args:
            trainer: Lightning Trainer of the run.
            pl_module: task with the separator.

        Raises:
            InputError: the model is not a separator, or protocol and separator have different sample rates or channels.
        """
        if not isinstance(pl_module, SeparationTask):
            raise InputError(
                "callbacks.scores",
                "this callback only scores separators, but the model is not a separator",
                hint="Set callbacks=default.",
            )
        separator, weights = pl_module.separator, trainer.datamodule.target_weights()  # type: ignore[attr-defined]
        audio_format = (separator.sample_rate, separator.channels)
        self.protocol = self.protocol.at(*audio_format)
        if self.protocol.format != audio_format:
            found, expected = ("{} Hz, {} channels".format(*each) for each in (self.protocol.format, audio_format))
            problem = "the protocol and the separator have different sample rates or numbers of channels"
            hint = "Set 'sample_rate' and 'channels' of the protocol to null."
            raise InputError("callbacks.scores.protocol", problem, found=found, expected=expected, hint=hint)
        self.source_group = self.protocol.source_group(separator.targets, weights)
        self.since = time.monotonic() - self.spent
        self.logged = dict.fromkeys(self._columns(), torch.nan) | self.logged

    def _is_due(self, trainer: pl.Trainer) -> bool:
        return (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Score the validation track of this batch. Do nothing in an epoch without scoring."""
        if self._is_due(trainer):
            start = time.monotonic()
            self.finite = self.finite and bool(outputs.isfinite().all())
            if self.finite:  # otherwise training has diverged, and the task ends the run after this epoch
                self.tracks.append(self._score(batch, outputs))
            self.seconds += time.monotonic() - start

    def _score(self, batch: SeparationBatch, estimates: Tensor) -> TrackScores:
        """Score the estimates of one whole track.

        Some protocols also score the residual. The true residual is the mixture minus the true targets, and the estimated
        residual is the mixture minus the estimated targets.
        """
        mixture, targets = batch.mixture[0].double(), batch.sources[0].double()
        references, made = (self.source_group.estimates(signals, mixture) for signals in (targets, estimates.double()))
        names = self.source_group.names
        known = [True] * len(targets) if batch.known is None else batch.known[0].tolist()
        unknown = tuple(name for name, is_known in zip(names, [*known, all(known)], strict=False) if not is_known)
        frames = self.protocol.score(references, made, names, mixture, unknown)
        return TrackScores(frames, mixture.shape[-1], (), unknown=unknown)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the scores, averaged over all validation tracks. In an epoch without scoring, log NaN instead."""
        if self._is_due(trainer):
            self.logged = self._summary(trainer) | {"valid/scoring_share": self.seconds / (time.monotonic() - self.since)}
            self.tracks, self.finite, self.seconds, self.since = [], True, 0.0, time.monotonic()
        else:
            self.logged = dict.fromkeys(self.logged, torch.nan)  # otherwise Lightning repeats the previous scores
        for name, value in self.logged.items():
            pl_module.log(name, value, rank_zero_only=True)

    def _columns(self) -> dict[str, tuple[str, str]]:
        """Return a dictionary from the name of each logged score to the pair (target, measure)."""
        targets = self.source_group.names[: len(self.source_group.names) - self.source_group.has_rest]
        return {f"valid/{measure}/{target}": (target, measure) for target in targets for measure in self.protocol.measures}

    def _summary(self, trainer: pl.Trainer) -> dict[str, float]:
        parts, names = gather((self.tracks, self.finite), trainer.world_size), self._columns()
        if not all(finite for _, finite in parts):
            return dict.fromkeys(names, torch.nan)
        summary = summarise([track for tracks, _ in parts for track in tracks], self.protocol)
        values = {name: summary[target][measure][self.protocol.tracks] for name, (target, measure) in names.items()}
        return {name: torch.nan if value is None else value for name, value in values.items()}
