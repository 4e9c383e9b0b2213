"""Base class of callbacks that prune a run, that is, end it early if other runs had better scores."""

import pytorch_lightning as pl


class EndsHopelessRuns(pl.Callback):
    """Base class of callbacks that can end (prune) a run early. After such an early end, the attribute `pruned` is True."""

    pruned = False


def was_pruned(trainer: pl.Trainer) -> bool:
    """Return whether a callback of the class `EndsHopelessRuns` has ended the training of a Trainer early."""
    return any(isinstance(callback, EndsHopelessRuns) and callback.pruned for callback in callbacks_of(trainer))


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """Return the callbacks of a Trainer as a typed list, since Lightning declares no type for them."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # a part of the Trainer sets it
    return callbacks
