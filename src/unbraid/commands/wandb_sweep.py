"""Command `wandb_sweep`: convert a search space in Hydra's grammar to the yaml of a Weights & Biases (W&B) sweep.

The user then starts agents (programs of W&B). The agents run `train.py` with values from the search space.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from unbraid.commands.cli import CONF
from unbraid.commands.experiment import check_experiment
from unbraid.commands.keys import check_new, check_range
from unbraid.runs.config import check
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.text import echo
from unbraid.sweeps.search.options import STAGES

if TYPE_CHECKING:
    from unbraid.sweeps.search.space import Parameter, Space

DEFAULT_LOGGER = "logger=[csv,wandb]"
WANDB = "unbraid.training.loggers.Wandb"
INSTALLED = ["unbraid", "train"]
NOT_OF_A_RUN = ("launcher", "sweeper", "search", "plan", "power", "power_from", "resume")


@dataclass
class WandbSweepConfig:
    """Command-line keys of `scripts/wandb_sweep.py`.

    Args:
        objective: name of the value to optimize: a column of `metrics.csv`, or `test/<measure>/<target>` for a test score.
        direction: `minimize` or `maximize`.
        method: search method of W&B: `bayes`, `random` or `grid`.
        trials: largest number of runs; None: W&B starts runs until the agents are stopped.
        project: W&B project.
        entity: W&B user or team; None: the default user or team of the W&B account.
        output: yaml file that is written.
        words: overrides that describe the search space. The overrides of the chosen experiment come before the overrides of the
            command line.
        conditions: conditions between searched keys in the chosen experiment. Any condition is an error, because W&B does not
            support conditions.
    """

    objective: str
    direction: Literal["minimize", "maximize"]
    method: Literal["bayes", "random", "grid"]
    trials: int | None
    project: str
    entity: str | None
    output: str
    words: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)


KEYS = [field.name for field in fields(WandbSweepConfig)]


def wandb_sweep(config: DictConfig) -> None:
    """Write the yaml of the W&B sweep and print the command that registers the sweep at W&B.

    Args:
        config: composed config, see `WandbSweepConfig`.

    Raises:
        InputError: a key is invalid, the output already exists, W&B cannot express the search space, or a run of the
            search space is invalid.
    """
    options = OmegaConf.masked_copy(config, KEYS)
    check(options, WandbSweepConfig)
    if options.trials is not None:
        check_range(options, "trials", 1, float("inf"))
    if not options.objective.startswith(STAGES):
        expected = f"a name that begins with one of {', '.join(STAGES)}"
        raise InputError("objective", found=options.objective, expected=expected)
    path = Path(options.output).expanduser()
    check_new("output", path)
    space = _space([word for word in options.words if _key(word) not in KEYS], options.conditions)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_text(yaml.safe_dump(described(space, options), sort_keys=False, width=120))
    echo(f"sweep   {len(space.parameters)} parameters, {options.objective}: {path}")
    echo(f"next    run `wandb sweep {path}`, then on each machine the `wandb agent` command that it prints")


def _key(word: str) -> str:
    return re.split(r"[=./@]", word.lstrip("+~"))[0]


def _space(words: Sequence[str], conditions: Sequence[str]) -> "Space":
    """Check the configs of some example runs, and return the search space that the overrides describe."""
    if typed := next((word for word in words if _key(word) in NOT_OF_A_RUN), None):
        raise InputError(typed, "this key does not apply to runs that W&B agents start", hint="Remove this key")
    if conditions:
        hint = "Remove hydra.sweeper.conditions"
        raise InputError("hydra.sweeper.conditions", "W&B does not support conditions", found=list(conditions), hint=hint)
    try:
        from unbraid.sweeps.search.space import Space
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise InputError("optuna", "this Python package is not installed", hint="Run pip install 'unbraid[optuna]'") from error
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    space = Space(parser.parse_overrides(list(words)), [], parser)
    for example in _examples(space):
        config = compose("train", [*_fixed(space), *example])
        check_experiment(config)
        if not _logs_to_wandb(config):
            problem = "the list of loggers must contain wandb, which sends the objective to W&B"
            raise InputError("logger", problem, hint=f"Type {DEFAULT_LOGGER}")
    return space


def _fixed(space: "Space") -> list[str]:
    """Return the overrides that all runs share. The logger of W&B is added if no override chooses a logger."""
    fixed = space.fixed_overrides()
    return fixed if any(_key(word) == "logger" for word in fixed) else [DEFAULT_LOGGER, *fixed]


def _logs_to_wandb(config: DictConfig) -> bool:
    return any(logger and logger.get("_target_") == WANDB for logger in (config.get("logger") or {}).values())


def _examples(space: "Space") -> Iterator[list[str]]:
    """Yield the overrides of example runs. Together, the example runs contain every choice of every parameter.

    The first example run has the first choice of each parameter. Every later example run differs from the first example run in
    one parameter.
    """
    first = space.example()
    yield first
    for number, searched in enumerate(space.parameters):
        for choice in getattr(searched.distribution, "choices", ())[1:]:
            yield [*first[:number], f"{searched.typed}={choice}", *first[number + 1 :]]


def described(space: "Space", options: Any) -> dict[str, Any]:
    """Convert a search space to the content of the yaml file of a W&B sweep.

    Args:
        space: search space.
        options: config of the command `wandb_sweep`, see `WandbSweepConfig`.

    Returns:
        The content of the yaml file, as a dictionary.
    """
    script = CONF.parent / "train.py"
    # An installed package does not contain train.py; `unbraid train` is the same program.
    program, start = (os.path.relpath(script), ["${interpreter}", "${program}"]) if script.is_file() else ("unbraid", INSTALLED)
    account: dict[str, Any] = {"project": options.project} | ({"entity": options.entity} if options.entity else {})
    return {
        "program": program,
        "method": options.method,
        **account,
        **({"run_cap": options.trials} if options.trials else {}),
        "metric": {"name": options.objective, "goal": options.direction},
        "parameters": {searched.typed: parameter(searched, options.method) for searched in space.parameters},
        "command": ["${env}", *start, *_fixed(space), "${args_no_hyphens}"],
    }


def parameter(searched: "Parameter", method: str) -> dict[str, Any]:
    """Convert one parameter of the search space to W&B's format.

    Args:
        searched: parameter of the search space.
        method: search method of W&B. With `grid`, a parameter without a finite list of values raises InputError.

    Returns:
        The entry of the parameter in the section `parameters` of the W&B sweep.
    """
    distribution: Any = searched.distribution
    if hasattr(distribution, "choices"):
        return {"values": [_number(value) for value in distribution.choices]}
    low, high, step, whole = distribution.low, distribution.high, distribution.step, isinstance(distribution.low, int)
    if method == "grid":
        return {"values": searched.values()}
    bounds: dict[str, Any] = {"min": low, "max": high}
    if distribution.log:
        return {"distribution": "q_log_uniform_values", **bounds, "q": step or 1} if whole else {
            "distribution": "log_uniform_values", **bounds
        }  # fmt: skip
    if whole and step == 1:
        return {"distribution": "int_uniform", **bounds}
    if step is not None:
        return {"values": searched.values()}  # steps of W&B start at 0
    return {"distribution": "uniform", **bounds}


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
