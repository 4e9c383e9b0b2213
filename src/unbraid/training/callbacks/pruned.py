"""Callbacks that end a run early because its scores are not promising."""

import pytorch_lightning as pl


class EndsHopelessRuns(pl.Callback):
    """Base class of callbacks that end a run early. Such a callback sets `pruned` to True when it ends the run."""

    pruned = False


def was_pruned(trainer: pl.Trainer) -> bool:
    """Return whether an `EndsHopelessRuns` callback ended training."""
    return any(isinstance(callback, EndsHopelessRuns) and callback.pruned for callback in callbacks_of(trainer))


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """Return the callbacks of a Trainer, for which Lightning declares no type."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # a part of the Trainer sets it
    return callbacks
