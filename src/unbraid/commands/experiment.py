"""What a composed config holds, and what must agree in it: the same for every command that starts from one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unbraid.errors import InputError
from unbraid.runs import check

LONGEST_CHUNK_SECONDS = 600
LINKS = {
    "data.targets": "targets",
    "model.separator.targets": "targets",
    "data.sample_rate": "model.separator.sample_rate",
    "data.channels": "model.separator.channels",
}


@dataclass
class Experiment:
    """The top level of a config, which `unbraid.runs.check` binds like any signature.

    Args:
        seed: of weights, data order and dropout.
        name: ends the run folder's name.
        targets: what to take out of a mixture: each name and the sources it sums.
        augmentation: what changes training chunks, by name.
        copies: of training tracks at other pitches and tempos, by name.
        data: a DataModule.
        model: a task with its separator, network and loss.
        optim: optimizer and schedule, which the model refers to.
        trainer: a Lightning Trainer.
        callbacks: of the Trainer, by name.
        protocol: under which the test tracks are scored after training.
        evaluation: how they are separated.
    """

    seed: int
    name: str
    targets: dict[str, list[str]]
    augmentation: Mapping[str, Any]
    copies: Mapping[str, Any]
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    optim: Mapping[str, Any]
    trainer: Mapping[str, Any]
    callbacks: Mapping[str, Any]
    protocol: Mapping[str, Any]
    evaluation: Mapping[str, Any]


def check_experiment(config: DictConfig, schema: type[Experiment] = Experiment) -> None:
    """Bind every key, and see that data and separator agree.

    Raises:
        InputError: see `unbraid.runs.check`; or one end of a link between data and separator was overridden, so that the
            run would train on something else.
    """
    check(config, schema)
    for link, source in LINKS.items():
        found, expected = OmegaConf.select(config, link), OmegaConf.select(config, source)
        if found != expected:
            raise InputError(f"{link}: found {found}, expected what {source} says, {expected}; set that one instead")
    for key in ("model.separator.chunk_seconds", "data.chunk_seconds"):
        seconds = OmegaConf.select(config, key)
        if not 0 < seconds <= LONGEST_CHUNK_SECONDS:
            raise InputError(f"{key} must lie in (0, {LONGEST_CHUNK_SECONDS}], found {seconds}")
    if not 0 <= config.seed < 2**32:
        raise InputError(f"seed must lie in [0, 2**32 - 1], found {config.seed}")
