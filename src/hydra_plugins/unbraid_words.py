"""Hydra sweeper of the command `wandb_sweep`: pass the overrides of a sweep to the command as text, without starting runs.

Hydra imports this module at every start, so the module must not import large packages. `from __future__ import annotations`
must not be used here, because with this import, Hydra cannot load a plugin that contains a dataclass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict


@dataclass
class WordsConf:
    """Config node of the class `WordsSweeper`.

    Args:
        params: search space of each searched key in the chosen experiment: dictionary from key to the search space as text.
        conditions: conditions between searched keys, see `unbraid.sweeps.search.options`.
    """

    _target_: str = "hydra_plugins.unbraid_words.WordsSweeper"
    params: dict[str, str] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)


ConfigStore.instance().store(group="hydra/sweeper", name="unbraid_words", node=WordsConf, provider="unbraid")


class WordsSweeper(Sweeper):
    """Call the command `wandb_sweep` with the overrides of the experiment and of the command line, without starting runs.

    Args:
        params: search space of each searched key in the chosen experiment: dictionary from key to the search space as text.
        conditions: conditions between searched keys, see `unbraid.sweeps.search.options`.
    """

    def __init__(self, params: Mapping[str, str], conditions: Sequence[str]) -> None:
        self.params, self.conditions = params, conditions

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the config and the function of the command `wandb_sweep`."""
        self.master, self.call = config, task_function

    def sweep(self, arguments: list[str]) -> None:
        """Set the config keys `words` and `conditions`, and call the command `wandb_sweep` with the config.

        `words` contains the overrides of the experiment, and then the overrides of the command line. `conditions` contains the
        conditions of the experiment.

        Args:
            arguments: overrides of the command line.
        """
        setup_globals()
        with open_dict(self.master):
            self.master.hydra.runtime.output_dir = "."
        HydraConfig.instance().set_config(self.master)
        config = OmegaConf.masked_copy(self.master, [str(key) for key in self.master if key != "hydra"])
        config.words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        config.conditions = list(self.conditions)
        self.call(config)
