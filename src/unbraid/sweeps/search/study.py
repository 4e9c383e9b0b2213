"""Share the study of a search between several commands: assign trials to commands and record the results of trials.

The study stores the trials. A command holds the lock of a trial until the result of the trial is recorded, or until the command
ends. If Optuna lists a trial as running but its lock is free, the trial was interrupted or has failed. The next command then
runs the trial again with the same number, folder and values.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from unbraid.runs.errors import InputError
from unbraid.runs.locks import FileLock
from unbraid.runs.records import sweep_overrides
from unbraid.sweeps.search.options import Options
from unbraid.sweeps.search.space import Space
from unbraid.sweeps.search.storage import AGREED, NAME, load, lock_of, stored

VERSION = 1
OF_THE_STUDY = ("objective", "direction", "sampler", "pruner", "startup_trials", "warmup_epochs")
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, constant_liar=True),
    "random": lambda seed: RandomSampler(seed),
    "grid": lambda seed: RandomSampler(seed),  # not used: trials of a grid have fixed values
}


@dataclass
class Claim:
    """Store a trial that is reserved for this process, so that other processes do not run the trial.

    Args:
        trial: trial of Optuna.
        lock: lock of the trial. This process holds the lock.
        overrides: overrides that set the searched keys to the values that Optuna suggests for the trial.
    """

    trial: Trial
    lock: FileLock
    overrides: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Return the number of the trial in the study."""
        return self.trial.number


class Search:
    """Create or resume a study, which stores the trials of a search.

    Use this object in a `with` block. At the end of the block, the locks of the trials are released. If the file `path`
    contains another search, or is not the file of a study, `InputError` is raised.

    Args:
        options: options of the search, already checked.
        space: searched keys with their values and conditions.
        seed: random seed of the suggested values.
        path: file of the study.
    """

    def __init__(self, options: Options, space: Space, seed: int, path: Path) -> None:
        self.options, self.space, self.seed, self.path = options, space, seed, path.absolute()
        self.claims: dict[int, Claim] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        storage = stored(self.path)
        self.claiming = lock_of(self.path, "asking")
        with self.claiming:
            study = optuna.create_study(
                storage=storage, study_name=NAME, load_if_exists=True, direction=StudyDirection[options.direction.upper()]
            )
            if (agreed := study.user_attrs.get(AGREED)) is None:
                study.set_user_attr(AGREED, self._agreed())
            else:
                _check_same(self.path, agreed, self._agreed())
            if options.sampler == "grid":
                _enqueue_grid(study, space, options.n_trials)
        self.study = load(self.path)

    def __enter__(self) -> "Search":
        return self

    def __exit__(self, *_: object) -> None:
        for claim in self.claims.values():
            claim.lock.release()

    def claim(self, most: int) -> list[Claim]:
        """Claim (reserve) trials for this process, so that no other process runs these trials. Interrupted trials come first.

        Args:
            most: largest number of trials that are claimed.

        Returns:
            The claimed trials. The list is empty if each trial of the search has ended or is claimed by another process.
        """
        with self.claiming:
            claims = self._interrupted(most)
            while len(claims) < most and len(self.trials()) < self.options.n_trials and (claim := self._new_trial()):
                claims.append(claim)
        for claim in claims:
            self.claims[claim.number] = claim
            self.study.sampler = self._sampler(claim.number)
            claim.overrides = self.space.suggested_for(claim.trial)
            claim.trial.set_user_attr("overrides", claim.overrides)
            claim.trial.set_user_attr("error", "")
        return claims

    def end(self, claim: Claim, folder: Path, value: float | None) -> None:
        """Record the result of a trial in the study, and release the lock of the trial.

        Args:
            claim: claimed trial.
            folder: run folder of the trial.
            value: value of the objective; None if the run was pruned.
        """
        claim.trial.set_user_attr("folder", str(folder))
        self.study.tell(claim.trial, value, TrialState.PRUNED if value is None else TrialState.COMPLETE)
        self.claims.pop(claim.number).lock.release()

    def leave(self, claim: Claim, error: str) -> None:
        """Record the error of a failed trial in the study.

        The trial stays locked until this process ends. Only a later sweep command can run the trial again.

        Args:
            claim: claimed trial.
            error: error message of the run.
        """
        claim.trial.set_user_attr("error", error)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials that were started.

        In a grid search, the study also stores trials that were not started yet. These trials are not returned.
        """
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    def _agreed(self) -> dict[str, Any]:
        options = {"version": VERSION} | {name: getattr(self.options, name) for name in OF_THE_STUDY}
        return options | {
            "seed": self.seed,
            "space": self.space.described(),
            "fixed overrides": sweep_overrides(self.space.fixed_overrides()),
        }

    def _sampler(self, number: int) -> BaseSampler:
        return SAMPLERS[self.options.sampler](random.Random(f"{self.seed} {number}").getrandbits(32))

    def _new_trial(self) -> Claim | None:
        if self.options.sampler == "grid" and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return None
        trial = self.study.ask()
        lock = lock_of(self.path, str(trial.number))
        lock.acquire()
        return Claim(trial, lock)

    def _interrupted(self, most: int) -> list[Claim]:
        claims: list[Claim] = []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if len(claims) == most:
                break
            # Over NFS, this process could take a lock twice, so its own claims are checked first.
            lock = lock_of(self.path, str(trial.number))
            if trial.number not in self.claims and lock.try_acquire():
                claims.append(Claim(Trial(self.study, trial._trial_id), lock))
        return claims


def _enqueue_grid(study: optuna.Study, space: Space, count: int) -> None:
    """Add combinations of a grid search to the study, until the study contains the first `count` combinations."""
    for values in islice(space.grid(), len(study.get_trials(deepcopy=False)), count):
        study.enqueue_trial(values)


def _check_same(path: Path, agreed: dict[str, Any], options: dict[str, Any]) -> None:
    """Raise InputError if the options of the stored search (`agreed`) differ from the options of this command."""
    for name, value in options.items():
        if agreed.get(name) != value:
            problem = f"the file contains a search with another value of {name}"
            hint = "Choose another hydra.sweep.dir or hydra.sweeper.storage."
            raise InputError(path, problem, found=_text(agreed.get(name)), expected=_text(value), hint=hint)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
