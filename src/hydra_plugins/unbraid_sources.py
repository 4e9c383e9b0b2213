"""Make every source of a data set a choice of the config group `targets`: `targets=piano` is the target `piano` of that source.

The yaml files of `conf/targets` come first. Hydra executes this file at every start, so it imports nothing heavy.
"""

from pathlib import Path
from typing import Optional

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from unbraid.runs.errors import InputError

GROUP = "targets/"
SCHEME = "sources"


class SourceNames(ConfigSource):
    """Holds a config for each name, whether or not the data has such a source: that is checked when the data is listed."""

    @staticmethod
    def scheme() -> str:
        """Return the scheme in Hydra's search path."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the config of one target.

        Raises:
            InputError: the name is a term of a sum, as `-vocals` is.
        """
        name = config_path.removeprefix(GROUP)
        if name.startswith("-") or name == "*":
            hint = f"A target that is a sum has a name of its own: '~targets' '+targets.NAME=[{name}]'"
            raise InputError(f"targets={name}", "is not the name of a source", hint=hint)
        return ConfigResult(self.provider, f"{SCHEME}://", OmegaConf.create({name: [name]}), {"package": None})

    def available(self) -> bool:
        """Return that the names are always there."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return that the groups are those of the yaml files."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Return whether the path is a choice of the group `targets`."""
        return config_path.startswith(GROUP)

    def list(self, config_path: str, results_filter: Optional[ObjectType]) -> list[str]:  # noqa: UP045
        """Return no names: only the data has them."""
        return []


class SourceSearchPath(SearchPathPlugin):
    """Looks for targets among the sources after the yaml files, in the commands of unbraid only."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the names of sources if the configs are those of unbraid."""
        from unbraid.commands.cli import CONF

        if any(Path(entry.path.removeprefix("file://")) == CONF for entry in search_path.get_path() if entry.path):
            search_path.append("unbraid", f"{SCHEME}://")
