"""List the config folders of a command. Config folders contain yaml files that the user can choose (`model=unet`).

The config folders are the folder `conf` of unbraid, the folder `conf` of each plugin (package of the user), and the folder of
Hydra's option `--config-dir`. The module `hydra_plugins/unbraid_sources.py` adds the config folders to Hydra's search path.
Help texts and hints of error messages list the choices in the config folders. This module imports only small packages.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from unbraid.runs import plugins
from unbraid.runs.errors import InputError
from unbraid.runs.text import echo

PACKAGE = Path(__file__).parents[1]
# The wheel contains the configs inside the package. A checkout has them next to src/.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
OWN = "unbraid"
CONFIG_DIR = "--config-dir"
LOADS_NO_RUN = frozenset({"train", "prepare", "wandb_sweep"})
COMPOSED = LOADS_NO_RUN | {"evaluate", "ensemble"}  # commands that compose the config of an experiment
PARSER = OverridesParser.create()


@dataclass(frozen=True)
class AddedFolders:
    """Store the config folders that are used in addition to the folder `conf` of unbraid.

    These added folders come from plugins and from Hydra's option `--config-dir`.

    Args:
        folders: dictionary from origin (name of a plugin, or `--config-dir`) to added folder, in the order of the search path.
        first: decides which file is used if an added folder and the folder `conf` of unbraid contain a yaml file of the same
            name. True: the file in the added folder. False: the file in `conf`.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)
    first: bool = False


added: ContextVar[AddedFolders] = ContextVar("added", default=AddedFolders())  # noqa: B039  # frozen


def folders() -> dict[str, Path]:
    """Return a dictionary from origin (`unbraid`, a plugin or `--config-dir`) to config folder, in Hydra's search order."""
    others = added.get()
    return {**others.folders, OWN: CONF} if others.first else {OWN: CONF, **others.folders}


def choices(group: str) -> dict[str, str]:
    """Return the choices of a config group in sorted order, each with its origin (`unbraid`, a plugin or `--config-dir`)."""
    names: dict[str, str] = {}
    for origin, folder in folders().items():
        for path in (folder / group).glob("*.yaml"):
            names.setdefault(path.stem, origin)
    return dict(sorted(names.items()))


def group_names() -> list[str]:
    """Return the sorted names of all config groups, such as `model`. Each subfolder of a config folder is a config group."""
    return sorted({path.name for folder in folders().values() for path in folder.iterdir() if path.is_dir()} - {"__pycache__"})


def file_of(group: str, name: str) -> Path | None:
    """Search all config folders in order. Return the path of the first file `<group>/<name>.yaml`; None if no file exists."""
    return next((path for folder in folders().values() if (path := folder / group / f"{name}.yaml").is_file()), None)


@contextmanager
def command_line(config_name: str, words: Sequence[str]) -> Iterator[None]:
    """Trust plugins (packages of the user with classes and configs), and add their configs, inside a `with` block.

    The user lists plugins in the key `plugins` of the command line or in the environment variable `UNBRAID_PLUGINS`. Listed
    plugins are always trusted.

    A package can also register itself as a plugin when it is installed. Registered plugins are trusted here only for commands
    that never load a run, because a run of another person could misuse the code of a registered plugin.

    Args:
        config_name: name of the main config of the command: a yaml file directly in `conf`, without the suffix.
        words: arguments of the command line.

    Yields:
        None. InputError is raised if a plugin is not installed, or if a plugin replaces the main config of a command.
    """
    installed = plugins.entry_points() if config_name in COMPOSED else []
    directory = _config_dir(words)
    first = _value(words, "plugins_first") is True
    typed = list[str]()
    token = added.set(_found([*plugins.names(), *installed], directory, first))
    try:
        typed = _typed(words)
        with plugins.named(typed), plugins.named(installed if config_name in LOADS_NO_RUN else []):
            added.set(_found([*plugins.names(), *installed], directory, first))
            if config_name in COMPOSED:
                _print_notices(typed)
            yield
    finally:
        added.reset(token)


def _found(names: Sequence[str], directory: Path | None, first: bool) -> AddedFolders:
    found = {name: conf for name in names if (conf := plugins.conf_folder(name)) is not None}
    if first:
        _check_commands(found)
    return AddedFolders(found | ({CONFIG_DIR: directory} if directory else {}), first)


def _check_commands(found: Mapping[str, Path]) -> None:
    for conf in found.values():
        if own := next((path for path in sorted(conf.glob("*.yaml")) if (CONF / path.name).is_file()), None):
            hint = "Move this file into the folder of a config group, or rename it"
            raise InputError(own, "a plugin cannot replace the config of a command", hint=hint)


def _config_dir(words: Sequence[str]) -> Path | None:
    """Return the folder of Hydra's option `--config-dir`; None if the option or the folder is missing."""
    value = _option(words, CONFIG_DIR, "-cd")
    folder = Path(value).absolute() if value else None
    return folder if folder and folder.is_dir() else None


def _option(words: Sequence[str], *options: str) -> str | None:
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else next(iter(words[number + 1 :]), None)
    return None


def _typed(words: Sequence[str]) -> list[str]:
    """Return the plugins that the key `plugins` lists.

    If the command line does not contain the key, the key is read from the chosen yaml file. The key `experiment` or the option
    `--config-name` chooses this file.
    """
    value = _value(words, "plugins")
    if value is None:
        experiment = _value(words, "experiment")
        own = [file_of("experiment", experiment)] if isinstance(experiment, str) else []
        own += [file_of("", name)] if (name := _option(words, "--config-name", "-cn")) else []
        value = next((listed for path in own if path and (listed := _plugins_in(path))), [])
    listed = [value] if isinstance(value, str) else value
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def _plugins_in(path: Path) -> Any:
    config = OmegaConf.load(path)
    return OmegaConf.to_container(config.plugins) if isinstance(config, DictConfig) and config.get("plugins") else None


def _value(words: Sequence[str], key: str) -> Any:
    """Return the last value of a key on the command line; None if the key is missing or Hydra cannot read the value."""
    for word in reversed(words):
        if word.lstrip("+").startswith(f"{key}="):
            try:
                return PARSER.parse_override(word).value()
            except HydraException:
                return None
    return None


def _print_notices(typed: Sequence[str]) -> None:
    """Print the plugins that lack a config folder, and the yaml files that are not used.

    A yaml file is not used if another config folder comes first in the search order and contains a file of the same name.
    """
    others, used = added.get(), dict[str, str]()
    for name in typed:
        if name not in others.folders:
            echo(f"plugin  {name} lacks a folder conf/, so it only adds classes", file=sys.stderr)
    for origin, folder in folders().items():
        names = sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))
        if twice := [name.replace("/", "=", 1) for name in names if name in used]:
            hint = "" if others.first else "; plugins_first=true uses them"
            echo(f"plugin  {origin}: not used, because these names exist already: {', '.join(twice)}{hint}", file=sys.stderr)
        used |= dict.fromkeys(names, origin)
