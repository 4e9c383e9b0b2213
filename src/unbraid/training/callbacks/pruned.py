"""Base class of callbacks that prune a run: they end it early because its scores are worse than those of other runs."""

import pytorch_lightning as pl


class EndsHopelessRuns(pl.Callback):
    """Base class of callbacks that end (prune) a run early. The callback sets its attribute `pruned` to True in this case."""

    pruned = False


def was_pruned(trainer: pl.Trainer) -> bool:
    """Return whether a callback of the class `EndsHopelessRuns` has ended the training of a Trainer early."""
    return any(isinstance(callback, EndsHopelessRuns) and callback.pruned for callback in callbacks_of(trainer))


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """Return the callbacks of a Trainer as a typed list, since Lightning declares no type for them."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # a part of the Trainer sets it
    return callbacks
