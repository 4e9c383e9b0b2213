"""Options of a hyperparameter search: the keys below `hydra.sweeper`, with defaults in `conf/sweeper/optuna.yaml`.

Hydra imports this module at every start, so the module must not import large packages.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from omegaconf import MISSING

from unbraid.runs.errors import InputError, unknown

OBJECTIVE = "hydra.sweeper.objective"
DIRECTIONS = ("minimize", "maximize")
SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median")
SCORED = "test/"  # prefix of objectives that exist only after the end of a run
STAGES = ("train/", "valid/", SCORED)


@dataclass
class Options:
    """Hold the options of one hyperparameter search.

    Args:
        objective: name of the value to optimize: a column of `metrics.csv`, or `test/<measure>/<target>` for a test score.
        direction: `minimize` or `maximize`.
        n_trials: number of trials (runs) of the search, including trials that other commands have started.
        n_jobs: number of trials that the search passes to the launcher at the same time.
        sampler: method that suggests values: `tpe`, `random` or `grid`.
        pruner: method that ends bad runs early: `none` or `median`.
        startup_trials: number of trials that must be complete before the median pruner ends a run.
        warmup_epochs: number of first epochs of each run in which the median pruner does not end the run.
        storage: file in which the trials of the search are stored; None for a file in the sweep folder.
        params: dictionary from each searched key to its values, in the syntax of the command line. Overrides on the command
            line replace entries of this dictionary.
        conditions: texts `key if other=value` or `key if other=a,b`, with config keys `key` and `other`. In a trial, `key` is
            searched only if `other` has one of the listed values.
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
        """Check the values of the options, and whether the objective and the pruner can be used together.

        Raises:
            InputError: a number is out of range, a text is not an allowed value, or two options cannot be used together.
        """
        _one_of("direction", self.direction, DIRECTIONS)
        _one_of("sampler", self.sampler, SAMPLERS)
        _one_of("pruner", self.pruner, PRUNERS)
        bounds = {"n_trials": 1, "n_jobs": 1, "startup_trials": 0, "warmup_epochs": 1}
        for name, least in bounds.items():
            if (value := getattr(self, name)) < least:
                raise InputError(f"hydra.sweeper.{name}", found=value, expected=f"at least {least}")
        if not self.objective.startswith(STAGES):
            raise InputError(OBJECTIVE, found=self.objective, expected=f"a name that begins with {', '.join(STAGES)}")
        if self.objective.startswith(SCORED) and self.pruner != "none":
            problem = f"runs cannot be ended early, because {self.objective} is only known at the end of a run"
            hint = "Set hydra.sweeper.pruner=none or choose an objective that is logged in every epoch."
            raise InputError(f"hydra.sweeper.pruner={self.pruner}", problem, hint=hint)
        if "://" in (self.storage or ""):
            raise InputError("hydra.sweeper.storage", found=self.storage, expected="the path of a file")


def _one_of(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise InputError(f"hydra.sweeper.{name}", "unknown choice", found=value, hint=unknown(value, known))
