"""Callbacks that end a run early because it is hopeless."""

import pytorch_lightning as pl


class EndsHopelessRuns(pl.Callback):
    """Base of callbacks that end a run early; `pruned` is whether they did."""

    pruned = False


def was_pruned(trainer: pl.Trainer) -> bool:
    """Return whether a callback ended training early because the run was hopeless."""
    return any(isinstance(callback, EndsHopelessRuns) and callback.pruned for callback in callbacks_of(trainer))


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """Return the callbacks of a Trainer, for which Lightning declares no type."""
    found: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # a part of the Trainer sets it
    return found
