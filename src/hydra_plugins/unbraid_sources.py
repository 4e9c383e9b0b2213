"""Add to Hydra's search path: the configs of plugins, and every source of a data set as a choice of the config group `targets`.

`targets=piano` is a target with that source. The yaml files of `conf/targets` have precedence. Hydra imports this file at every
start, so it imports no heavy module.
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
    """Provide a config for every name. Whether the data has such a source is checked later, when its tracks are listed."""

    @staticmethod
    def scheme() -> str:
        """Return the scheme in Hydra's search path."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the config of one target.

        Args:
            config_path: `targets/NAME`.

        Returns:
            Config in which the target NAME consists of the source NAME.

        Raises:
            InputError: the name is not the name of a source, such as `-vocals` or `*`.
        """
        name = config_path.removeprefix(GROUP)
        if name.startswith("-") or name == "*":
            hint = f"A sum of sources needs a name: '~targets' '+targets.NAME=[{name}]'"
            raise InputError(f"targets={name}", "is not the name of a source", hint=hint)
        return ConfigResult(self.provider, f"{SCHEME}://", OmegaConf.create({name: [name]}), {"package": None})

    def available(self) -> bool:
        """Return True: the names are always available."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return False: this source has no groups in addition to those of the yaml files."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Return whether the path is a choice of the group `targets`."""
        return config_path.startswith(GROUP)

    def list(self, config_path: str, results_filter: Optional[ObjectType]) -> list[str]:  # noqa: UP045
        """Return an empty list: the names are not known before the data is listed."""
        return []


class UnbraidSearchPath(SearchPathPlugin):
    """Add the configs of plugins and the names of sources to Hydra's search path, in commands of unbraid only."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folders of plugins, then the names of sources, if the search path contains unbraid's configs."""
        from unbraid.commands.choices import CONF, added

        ours = next((e for e in search_path.get_path() if e.path and Path(e.path.removeprefix("file://")) == CONF), None)
        if ours is None:
            return
        others = added.get()
        for name, folder in others.folders.items():
            if others.first:
                search_path.prepend(name, f"file://{folder}", anchor=ours.provider)
            else:
                search_path.append(name, f"file://{folder}")
        search_path.append("unbraid", f"{SCHEME}://")
