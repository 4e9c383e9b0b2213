"""Load the initial weights (config key `init`) into the model that a run trains."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unbraid.interop.initial import Init, Started, initialise
from unbraid.models.separators.base import Separator
from unbraid.runs.config import build
from unbraid.tasks.separation import SeparationTask
from unbraid.tasks.task import Task
from unbraid.training.callbacks.last_checkpoint import latest


def use_initial_weights(config: DictConfig, task: Task, folder: Path) -> Started | None:
    """Load the weights of the config key `init` into the model of a run.

    If the weights do not fit the model, InputError is raised.

    Args:
        config: config of the run.
        task: task of the run, before training.
        folder: run folder. If the folder contains a checkpoint, the run resumes from this checkpoint, and the weights of `init`
            are not loaded.

    Returns:
        A description of the loaded weights; None if no weights were loaded.
    """
    options = Init.of(config.get("init"))
    if options.path is None or latest(folder) is not None:
        return None
    tree: Any = OmegaConf.to_container(config, resolve=True)

    def make(targets: Sequence[str]) -> Separator:
        other = OmegaConf.create(tree)
        OmegaConf.update(other, "model.separator.targets", [*targets], merge=False)
        separator: Separator = build(other.model.separator)
        return separator

    return initialise(task.separator if isinstance(task, SeparationTask) else task, options, make)
