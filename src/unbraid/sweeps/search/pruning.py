"""Callback that prunes a run: it reports the objective to the Optuna study after each epoch, and ends a bad run early."""

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
    """Report the objective to the Optuna study after each epoch, and end the run if the study prunes the trial.

    If the run has several processes, only the first process uses the study, and all processes end together. A missing study, a
    missing trial, or an objective that is not logged raises `InputError` during training.

    Args:
        storage: file of the study, which stores the trials of a search.
        trial: number of this run's trial in the study.
        objective: name of a value that is logged in each epoch, such as `valid/loss`.
    """

    def __init__(self, storage: str, trial: int, objective: str) -> None:
        self.storage, self.number, self.objective = Path(storage), trial, objective
        self.pruned = False

    def state_dict(self) -> dict[str, Any]:
        """Return the state for the checkpoint: whether the run was pruned. A pruned run is not trained further."""
        return {"pruned": self.pruned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint: whether the run was pruned."""
        self.pruned = state_dict["pruned"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Load the trial of this run from the study. Only the first process of the run loads the trial."""
        if trainer.is_global_zero:
            self.trial = self._load_trial()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the objective to the study, and stop training if the study prunes the trial.

        Lightning calls this method after the validation.

        Args:
            trainer: trainer of the run.
            pl_module: task that is trained.

        Raises:
            InputError: the run does not log the objective.
        """
        known = self._known_names(trainer) if trainer.is_global_zero else None
        self.pruned, known = trainer.strategy.broadcast((known is None and self._is_hopeless(trainer), known))
        if known is not None:
            raise InputError(
                f"{OBJECTIVE}={self.objective}", "the run does not log this value", hint=unknown(self.objective, known)
            )
        trainer.should_stop = trainer.should_stop or self.pruned

    def _known_names(self, trainer: pl.Trainer) -> list[str] | None:
        """Return the names of all logged values, for the error message that the objective is not logged.

        If the objective is logged, or may be logged in a later epoch, return None.
        """
        logged, callbacks = trainer.callback_metrics, callbacks_of(trainer)
        is_pending = any(isinstance(callback, ValidationScores) and not callback.logged for callback in callbacks)
        if self.objective in logged or "valid/loss" not in logged or is_pending:
            return None
        return [name for name in logged if "/" in name]

    def _is_hopeless(self, trainer: pl.Trainer) -> bool:
        """Report the objective to the study, and return True if the run must end now, because the study prunes the trial.

        In the last epoch, return False.
        """
        epoch, value = trainer.current_epoch, trainer.callback_metrics.get(self.objective)
        if not trainer.is_global_zero or value is None:
            return False
        reported = self.trial.study.get_trials(deepcopy=False)[self.number].intermediate_values
        if math.isfinite(value) and epoch not in reported:  # a resumed run may repeat an epoch
            self.trial.report(value.item(), epoch)
        return bool(self.trial.should_prune()) and epoch + 1 != trainer.max_epochs  # not NumPy's bool, for the checkpoint

    def _load_trial(self) -> "Trial":
        from optuna.trial import Trial  # not needed to score the run

        from unbraid.sweeps.search.storage import load

        study = load(self.storage)
        trials = study.get_trials(deepcopy=False)
        if not 0 <= self.number < len(trials):
            raise InputError("search.trial", found=self.number, expected=f"one of the {len(trials)} trials in {self.storage}")
        return Trial(study, trials[self.number]._trial_id)
