"""Hydra sweeper of `wandb_sweep`: it passes the overrides of a sweep to the command as text, and does not start runs.

Hydra imports this file at every start, so this file must not import large packages. `from __future__ import annotations` must
not be used here, because it breaks Hydra's scan of plugins with dataclasses.
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
    """Config node of this sweeper.

    Args:
        params: keys and values that an experiment sweeps over.
        conditions: conditions between the searched parameters of an experiment.
    """

    _target_: str = "hydra_plugins.unbraid_words.WordsSweeper"
    params: dict[str, str] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)


ConfigStore.instance().store(group="hydra/sweeper", name="unbraid_words", node=WordsConf, provider="unbraid")


class WordsSweeper(Sweeper):
    """Call the command once, and pass the overrides of the experiment and of the command line in the config key `words`.

    Args:
        params: keys and values that an experiment sweeps over.
        conditions: conditions between the searched parameters of an experiment, see `unbraid.sweeps.search.options`.
    """

    def __init__(self, params: Mapping[str, str], conditions: Sequence[str]) -> None:
        self.params, self.conditions = params, conditions

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the config and the function of the command."""
        self.master, self.call = config, task_function

    def sweep(self, arguments: list[str]) -> None:
        """Call the command once. Its config gets all overrides in the key `words`, and the conditions in the key `conditions`.

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
