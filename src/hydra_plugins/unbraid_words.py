"""A sweeper that starts nothing: it hands what is swept over to a command, as it was typed.

Hydra executes this file at every start, so it imports nothing heavy. (Annotations that are strings break Hydra's scan of
plugins with dataclasses.)
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
    _target_: str = "hydra_plugins.unbraid_words.WordsSweeper"
    params: dict[str, str] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)


ConfigStore.instance().store(group="hydra/sweeper", name="unbraid_words", node=WordsConf, provider="unbraid")


class WordsSweeper(Sweeper):
    """Calls the command once; its config has all words in `words`, those of an experiment first.

    Args:
        params: of an experiment: key and values.
        conditions: of an experiment, see `unbraid.sweeps.search.options`.
    """

    def __init__(self, params: Mapping[str, str], conditions: Sequence[str]) -> None:
        self.params, self.conditions = params, conditions

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.master, self.call = config, task_function

    def sweep(self, arguments: list[str]) -> None:
        setup_globals()
        with open_dict(self.master):
            self.master.hydra.runtime.output_dir = "."
        HydraConfig.instance().set_config(self.master)
        own = OmegaConf.masked_copy(self.master, [str(key) for key in self.master if key != "hydra"])
        own.words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        own.conditions = list(self.conditions)
        self.call(own)
