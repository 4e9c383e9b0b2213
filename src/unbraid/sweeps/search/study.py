"""A study that several commands share: who runs which trial, and what became of it.

Whoever runs a trial holds the lock of its number until it has said how the trial ended, or has ended itself. So a trial that
Optuna calls running and whose lock is free was left behind, or has failed, and is run again: same number, folder and values.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from unbraid.runs.errors import InputError
from unbraid.runs.records import sweep_overrides
from unbraid.sweeps.search.options import Options
from unbraid.sweeps.search.space import Space
from unbraid.sweeps.search.storage import AGREED, NAME, load, lock_of, stored

VERSION = 1
OF_THE_STUDY = ("objective", "direction", "sampler", "pruner", "startup_trials", "warmup_epochs")
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, constant_liar=True),
    "random": lambda seed: RandomSampler(seed),
    "grid": lambda seed: RandomSampler(seed),  # never asked: each trial of a grid comes with its values
}


@dataclass
class Claim:
    """A trial that this process runs."""

    trial: Trial
    lock: FileLock
    overrides: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        return self.trial.number


class Search:
    """A study that is begun, or gone on with; a context that lets go of what it has claimed.

    Args:
        options: of the search, checked.
        space: what is searched.
        seed: of suggestions; each trial has a stream of its own.
        path: of the storage.

    Raises:
        InputError: the file holds another search, or something else.
    """

    def __init__(self, options: Options, space: Space, seed: int, path: Path) -> None:
        self.options, self.space, self.seed, self.path = options, space, seed, path.absolute()
        self.claims: dict[int, Claim] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        storage = stored(self.path)
        self.asking = lock_of(self.path, "asking")
        with self.asking:
            study = optuna.create_study(
                storage=storage, study_name=NAME, load_if_exists=True, direction=StudyDirection[options.direction.upper()]
            )
            if (found := study.user_attrs.get(AGREED)) is None:
                study.set_user_attr(AGREED, self._agreed())
            else:
                _refuse_another(self.path, found, self._agreed())
            if options.sampler == "grid":
                _list(study, space, options.n_trials)
        self.study = load(self.path)

    def __enter__(self) -> "Search":
        return self

    def __exit__(self, *_: object) -> None:
        for claim in self.claims.values():
            claim.lock.release()

    def claim(self, most: int) -> list[Claim]:
        """At most so many trials to run now: those that were left behind, then new ones; none when all are spoken for."""
        with self.asking:
            found = self._left_behind(most)
            while len(found) < most and len(self.trials()) < self.options.n_trials and (claim := self._ask()):
                found.append(claim)
        for claim in found:
            self.claims[claim.number] = claim
            self.study.sampler = self._sampler(claim.number)
            claim.overrides = self.space.suggested_for(claim.trial)
            claim.trial.set_user_attr("overrides", claim.overrides)
            claim.trial.set_user_attr("error", "")
        return found

    def end(self, claim: Claim, folder: Path, value: float | None) -> None:
        """The run of a trial is done, with this value, or was pruned."""
        claim.trial.set_user_attr("folder", str(folder))
        self.study.tell(claim.trial, value, TrialState.PRUNED if value is None else TrialState.COMPLETE)
        self.claims.pop(claim.number).lock.release()

    def leave(self, claim: Claim, error: str) -> None:
        """It has failed. It stays this command's, and the next one tries again."""
        claim.trial.set_user_attr("error", error)

    def trials(self) -> list[FrozenTrial]:
        """All that have been asked for, by anybody."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    def _agreed(self) -> dict[str, Any]:
        own = {"version": VERSION} | {name: getattr(self.options, name) for name in OF_THE_STUDY}
        return own | {
            "seed": self.seed,
            "space": self.space.described(),
            "fixed overrides": sweep_overrides(self.space.fixed_overrides()),
        }

    def _sampler(self, number: int) -> BaseSampler:
        return SAMPLERS[self.options.sampler](random.Random(f"{self.seed} {number}").getrandbits(32))

    def _ask(self) -> Claim | None:
        if self.options.sampler == "grid" and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return None
        trial = self.study.ask()
        lock = lock_of(self.path, str(trial.number))
        lock.acquire()
        return Claim(trial, lock)

    def _left_behind(self, most: int) -> list[Claim]:
        found: list[Claim] = []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if len(found) == most:
                break
            # A lock over NFS is one of processes, and would not stop this one from taking its own again.
            if trial.number not in self.claims and (lock := _taken(lock_of(self.path, str(trial.number)))):
                found.append(Claim(Trial(self.study, trial._trial_id), lock))
        return found


def _list(study: optuna.Study, space: Space, count: int) -> None:
    """The first of a grid, as far as they are not in the study yet, which takes them in this order."""
    for values in islice(space.grid(), len(study.get_trials(deepcopy=False)), count):
        study.enqueue_trial(values)


def _taken(lock: FileLock) -> FileLock | None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _refuse_another(path: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    for name, value in asked.items():
        if found.get(name) != value:
            raise InputError(
                f"{path}: holds a search with another {name}: found {_spelled(found.get(name))}, asked for {_spelled(value)}; "
                "choose another hydra.sweep.dir or hydra.sweeper.storage"
            )


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
