"""How a run of a search tells its study how it goes, and hears that it is hopeless."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from unbraid.runs.errors import InputError, unknown
from unbraid.sweeps.search.options import OBJECTIVE
from unbraid.training.callbacks.pruned import EndsHopelessRuns, callbacks_of
from unbraid.training.callbacks.validation_scores import ValidationScores

if TYPE_CHECKING:
    from optuna.trial import Trial


class Pruning(EndsHopelessRuns):
    """Reports the objective after each epoch, and ends the run where the study's pruner says so.

    Under several processes the first one asks, and all stop.

    Args:
        storage: the file of the study.
        trial: its number.
        objective: a name that is logged in epochs.

    Raises:
        InputError: there is no such study or trial, or nothing is logged under that name; known ones are listed.
    """

    def __init__(self, storage: str, trial: int, objective: str) -> None:
        self.storage, self.number, self.objective = Path(storage), trial, objective
        self.pruned = False

    def state_dict(self) -> dict[str, Any]:
        return {"pruned": self.pruned}  # a run that is killed now has nothing left but to say so

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.pruned = state_dict["pruned"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self.trial = self._find()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After validation, when all that an epoch logs is there."""
        error = self._error(trainer) if trainer.is_global_zero else None
        self.pruned, error = trainer.strategy.broadcast((error is None and self._is_hopeless(trainer), error))
        if error:
            raise InputError(error)
        trainer.should_stop = trainer.should_stop or self.pruned

    def _error(self, trainer: pl.Trainer) -> str | None:
        """Where the objective is not logged, and will not be."""
        found, callbacks = trainer.callback_metrics, callbacks_of(trainer)
        comes = any(isinstance(callback, ValidationScores) and not callback.logged for callback in callbacks)
        if self.objective in found or "valid/loss" not in found or comes:
            return None
        known = [name for name in found if "/" in name]
        return f"{OBJECTIVE}={self.objective}: is not logged; {unknown(self.objective, known)}"

    def _is_hopeless(self, trainer: pl.Trainer) -> bool:
        """What the first process hears from the study; a run in its last epoch has nothing left to save."""
        epoch, value = trainer.current_epoch, trainer.callback_metrics.get(self.objective)
        if not trainer.is_global_zero or value is None:
            return False
        reported = self.trial.study.get_trials(deepcopy=False)[self.number].intermediate_values
        if math.isfinite(value) and epoch not in reported:  # a run that goes on repeats epochs
            self.trial.report(value.item(), epoch)
        return bool(self.trial.should_prune()) and epoch + 1 != trainer.max_epochs  # NumPy's is no plain Python in a checkpoint

    def _find(self) -> "Trial":
        from optuna.trial import Trial  # where a run of a search is only scored, Optuna need not be installed

        from unbraid.sweeps.search.storage import load

        study = load(self.storage)
        trials = study.get_trials(deepcopy=False)
        if not 0 <= self.number < len(trials):
            raise InputError(f"search.trial={self.number}: {self.storage} has {len(trials)} trials")
        return Trial(study, trials[self.number]._trial_id)
