"""Add the configs of plugins (packages of the user) to Hydra, and accept any source name as a choice of the group `targets`.

For example, `targets=piano` configures one target that consists of the source `piano`. If the file `conf/targets/piano.yaml`
exists, Hydra reads this file instead. Hydra imports this module at every start, so the module imports only small modules.
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
    """Provide the config `targets=NAME` for every NAME. Whether the data set contains the source NAME is checked later."""

    @staticmethod
    def scheme() -> str:
        """Return `sources`, the prefix of this class in Hydra's search path."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the config of one target.

        Args:
            config_path: `targets/NAME`.

        Returns:
            Config in which the target NAME consists of the source NAME.

        Raises:
            InputError: NAME is `*` or begins with `-`, so NAME is not the name of a single source.
        """
        name = config_path.removeprefix(GROUP)
        if name.startswith("-") or name == "*":
            hint = f"Choose a name and type '~targets' '+targets.NAME=[{name}]'"
            raise InputError(f"targets={name}", "a target that is not a single source needs a name of its own", hint=hint)
        return ConfigResult(self.provider, f"{SCHEME}://", OmegaConf.create({name: [name]}), {"package": None})

    def available(self) -> bool:
        """Return True, because this class makes configs without reading files."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return False, because this class adds no config groups."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Return whether a config path belongs to the group `targets`."""
        return config_path.startswith(GROUP)

    def list(self, config_path: str, results_filter: Optional[ObjectType]) -> list[str]:  # noqa: UP045
        """Return an empty list, because the names of sources are unknown before the data set is read."""
        return []


class UnbraidSearchPath(SearchPathPlugin):
    """Add the config folders of plugins, and the class `SourceNames`, to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the config folders of plugins to Hydra's search path, and then `SourceNames` as the last entry.

        Hydra also calls this method in programs other than unbraid. In these programs, nothing is added.
        """
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
