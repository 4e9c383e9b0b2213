"""A search space, in Hydra's grammar, as the yaml of a W&B sweep: its agents run `train.py` with Hydra's overrides."""

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
from unbraid.runs.config import check
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.text import echo
from unbraid.sweeps.search.options import STAGES

if TYPE_CHECKING:
    from unbraid.sweeps.search.space import Parameter, Space

TOLD = "logger=[csv,wandb]"  # unless something else was typed
WANDB = "unbraid.training.loggers.Wandb"
INSTALLED = ["unbraid", "train"]
NO_PART_OF_A_RUN = ("launcher", "sweeper", "search", "plan", "power", "power_from", "resume")


@dataclass
class Asked:
    """What the command is told beside the space.

    Args:
        objective: a column of `metrics.csv`, or `test/<measure>/<target>`.
        direction: in which it is better.
        method: of W&B's suggestions.
        trials: at most so many runs; None: until the agents are stopped.
        project: of W&B.
        entity: user or team; None: the account's own.
        output: the file that is written.
        words: what was typed, and what an experiment searches.
        conditions: of an experiment.
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


OWN = [one.name for one in fields(Asked)]


def wandb_sweep(config: DictConfig) -> None:
    """Write the file, and say how to go on.

    Raises:
        InputError: the space is none, or W&B has no way to say it; a run of it could not be; the file is there already.
    """
    asked = OmegaConf.masked_copy(config, OWN)
    check(asked, Asked)
    if asked.trials is not None and asked.trials < 1:
        raise InputError(f"trials must be at least 1, found {asked.trials}")
    if not asked.objective.startswith(STAGES):
        raise InputError(f"objective={asked.objective}: expected a name that begins with {', '.join(STAGES)}")
    path = Path(asked.output).expanduser()
    if path.exists():
        raise InputError(f"output={path}: is there already; choose another one or remove it")
    space = _space([word for word in asked.words if _key(word) not in OWN], asked.conditions)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_text(yaml.safe_dump(described(space, asked), sort_keys=False, width=120))
    echo(f"sweep   {len(space.parameters)} parameters, {asked.objective}: {path}")
    echo(f"next    wandb sweep {path}, then on each machine the wandb agent … that it names")


def _key(word: str) -> str:
    return re.split(r"[=./@]", word.lstrip("+~"))[0]


def _space(words: Sequence[str], conditions: Sequence[str]) -> "Space":
    """Of words that say what runs are, one of which was composed and checked."""
    if typed := next((word for word in words if _key(word) in NO_PART_OF_A_RUN), None):
        raise InputError(f"{typed}: is no part of a run, and W&B's agents start the runs of this sweep")
    if conditions:
        raise InputError(f"hydra.sweeper.conditions: W&B's sweeps know no conditions, found {list(conditions)}")
    try:
        from unbraid.sweeps.search.space import Space
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise InputError("wandb_sweep reads spaces with the package optuna: pip install 'unbraid[optuna]'") from error
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    space = Space(parser.parse_overrides(list(words)), [], parser)
    for example in _examples(space):
        config = compose("train", [*_fixed(space), *example])
        check_experiment(config)
        if not _tells_wandb(config):
            raise InputError(f"logger: has no wandb, which is how W&B hears of the objective; expected {TOLD} or the like")
    return space


def _fixed(space: "Space") -> list[str]:
    """What all runs have in common, W&B among those who are told unless something else was typed."""
    fixed = space.fixed_overrides()
    return fixed if any(_key(word) == "logger" for word in fixed) else [TOLD, *fixed]


def _tells_wandb(config: DictConfig) -> bool:
    return any(one is not None and one.get("_target_") == WANDB for one in (config.get("logger") or {}).values())


def _examples(space: "Space") -> Iterator[list[str]]:
    """Of runs: each choice at least once, beside the first ones of the others."""
    first = space.example()
    yield first
    for number, one in enumerate(space.parameters):
        for choice in getattr(one.distribution, "choices", ())[1:]:
            yield [*first[:number], f"{one.typed}={choice}", *first[number + 1 :]]


def described(space: "Space", asked: Any) -> dict[str, Any]:
    """As W&B wants it."""
    script = CONF.parent / "train.py"
    # Where the package is installed there is no checkout with a train.py, and `unbraid train` is the same.
    program, start = (os.path.relpath(script), ["${interpreter}", "${program}"]) if script.is_file() else ("unbraid", INSTALLED)
    own: dict[str, Any] = {"project": asked.project} | ({"entity": asked.entity} if asked.entity else {})
    return {
        "program": program,
        "method": asked.method,
        **own,
        **({"run_cap": asked.trials} if asked.trials else {}),
        "metric": {"name": asked.objective, "goal": asked.direction},
        "parameters": {one.typed: parameter(one, asked.method) for one in space.parameters},
        "command": ["${env}", *start, *_fixed(space), "${args_no_hyphens}"],
    }


def parameter(one: "Parameter", method: str) -> dict[str, Any]:
    """A parameter in W&B's words; InputError where the method cannot list its values."""
    distribution: Any = one.distribution
    if hasattr(distribution, "choices"):
        return {"values": [_number(value) for value in distribution.choices]}
    low, high, step, whole = distribution.low, distribution.high, distribution.step, isinstance(distribution.low, int)
    if method == "grid":
        return {"values": one.values()}
    bounds: dict[str, Any] = {"min": low, "max": high}
    if distribution.log:
        return {"distribution": "q_log_uniform_values", **bounds, "q": step or 1} if whole else {
            "distribution": "log_uniform_values", **bounds
        }  # fmt: skip
    if whole and step == 1:
        return {"distribution": "int_uniform", **bounds}
    if step is not None:
        return {"values": one.values()}  # W&B's own steps begin at 0
    return {"distribution": "uniform", **bounds}


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
