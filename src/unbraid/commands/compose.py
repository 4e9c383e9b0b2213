"""Compose the config of a training in Python, as `unbraid train` does on the command line."""

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from unbraid.commands.choices import CONF, command_line
from unbraid.commands.data_sets import with_data_sets
from unbraid.commands.experiment import check_experiment
from unbraid.commands.overrides import list_plugins, quote_paths


def compose(*words: str) -> DictConfig:
    """Compose and check the config of a training.

    Example: `unbraid.compose("plugins=mypkg", "model=mine", "data=demo")`. The keys and values are
    checked as in `unbraid train`.

    Args:
        *words: words of the command line, such as `model=unet`.

    Returns:
        The config. If `data.root` is missing, it is set to `.`, because no data are read. A plugin that is not installed, or an
        invalid key or value, raises InputError.
    """
    GlobalHydra.instance().clear()
    with command_line("train", words):
        return _composed(quote_paths(with_data_sets(list_plugins(words)), sweeps=False))


def _composed(words: list[str]) -> DictConfig:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", ["name=composed", *words])
        if OmegaConf.is_missing(config.data, "root"):
            config.data.root = "."
        check_experiment(config)
    return config
