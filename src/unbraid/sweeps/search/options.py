"""What a search can be told: the keys below `hydra.sweeper`; conf/sweeper/optuna.yaml has their values.

Hydra reads this file at every start, so it imports nothing heavy.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from omegaconf import MISSING

from unbraid.runs.errors import InputError, unknown

OBJECTIVE = "hydra.sweeper.objective"
DIRECTIONS = ("minimize", "maximize")
SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median")
SCORED = "test/"  # how objectives begin that only a whole run has
STAGES = ("train/", "valid/", SCORED)


@dataclass
class Options:
    """Of one search.

    Args:
        objective: a column of `metrics.csv`, or `test/<measure>/<target>` of `scores.json`.
        direction: in which the objective is better.
        n_trials: in all, those of earlier commands and of other ones at the same time included.
        n_jobs: trials that are handed to the launcher at once.
        sampler: how values are suggested.
        pruner: which runs are ended early.
        startup_trials: that run to their end before the median prunes any.
        warmup_epochs: of each run before the median prunes it.
        storage: the file of the study; None: one in the sweep's folder.
        params: overrides as on the command line, which goes before them.
        conditions: `key if other=value`, or `other=a,b`: the key is suggested only where the other override has such a value.
    """

    objective: str = MISSING
    direction: str = MISSING
    n_trials: int = MISSING
    n_jobs: int = MISSING
    sampler: str = MISSING
    pruner: str = MISSING
    startup_trials: int = MISSING
    warmup_epochs: int = MISSING
    storage: str | None = MISSING
    params: dict[str, str] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)

    def check(self) -> None:
        """InputError for what the types do not exclude."""
        _one_of("direction", self.direction, DIRECTIONS)
        _one_of("sampler", self.sampler, SAMPLERS)
        _one_of("pruner", self.pruner, PRUNERS)
        bounds = {"n_trials": 1, "n_jobs": 1, "startup_trials": 0, "warmup_epochs": 1}
        for name, least in bounds.items():
            if (value := getattr(self, name)) < least:
                raise InputError(f"hydra.sweeper.{name} must be at least {least}, found {value}")
        if not self.objective.startswith(STAGES):
            raise InputError(f"{OBJECTIVE}={self.objective}: expected a name that begins with {', '.join(STAGES)}")
        if self.objective.startswith(SCORED) and self.pruner != "none":
            raise InputError(
                f"hydra.sweeper.pruner={self.pruner}: {self.objective} is known at the end of a run only, which leaves "
                "nothing to prune; set hydra.sweeper.pruner=none or choose an objective that is logged in every epoch"
            )
        if "://" in (self.storage or ""):
            raise InputError(f"hydra.sweeper.storage={self.storage}: is an address, expected a file")


def _one_of(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise InputError(f"hydra.sweeper.{name}={value}: there is no such choice; {unknown(value, known)}")
