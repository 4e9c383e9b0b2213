"""Base class of callbacks that prune a run. To prune a run is to end it early, because other runs had better scores."""

import pytorch_lightning as pl


class EndsHopelessRuns(pl.Callback):
    """Base class of callbacks that can end (prune) a run early.

    The attribute `pruned` of a callback is True after the callback has ended the run early.
    """

    pruned = False


def was_pruned(trainer: pl.Trainer) -> bool:
    """Return True if a callback of the class `EndsHopelessRuns` has ended the training of this Trainer early."""
    return any(isinstance(callback, EndsHopelessRuns) and callback.pruned for callback in callbacks_of(trainer))


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """Return the callbacks of a Trainer as a typed list. Lightning declares no type for the attribute `callbacks`."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # a part of the Trainer sets it
    return callbacks
