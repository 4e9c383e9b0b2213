"""Find the folders of configs of a command: those of unbraid, those of plugins, and that of Hydra's option `--config-dir`.

Hydra reads `hydra_plugins/unbraid_sources.py` at every start, which puts these folders into the search path. Help texts and the
hints of errors list their choices too. This module imports only light packages.
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
LOADS_NO_RUN = frozenset({"train", "prepare", "wandb_sweep"})
COMPOSED = LOADS_NO_RUN | {"evaluate"}  # commands that compose the config of an experiment
PARSER = OverridesParser.create()


@dataclass(frozen=True)
class AddedFolders:
    """Store the folders of configs in addition to those of unbraid.

    Args:
        folders: folders by the name of the plugin or of the option that adds them, in the order of the search path.
        first: True if the choices of plugins replace choices of unbraid with the same name.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)
    first: bool = False


added: ContextVar[AddedFolders] = ContextVar("added", default=AddedFolders())  # noqa: B039  # frozen


def folders() -> dict[str, Path]:
    """Return all folders of configs by their origin, in the order of Hydra's search path."""
    others = added.get()
    return {**others.folders, OWN: CONF} if others.first else {OWN: CONF, **others.folders}


def choices(group: str) -> dict[str, str]:
    """Return the origin of each choice of a config group, sorted by the name of the choice."""
    names: dict[str, str] = {}
    for origin, folder in folders().items():
        for path in (folder / group).glob("*.yaml"):
            names.setdefault(path.stem, origin)
    return dict(sorted(names.items()))


def group_names() -> list[str]:
    """Return the names of the config groups of all folders, sorted."""
    return sorted({path.name for folder in folders().values() for path in folder.iterdir() if path.is_dir()} - {"__pycache__"})


def file_of(group: str, name: str) -> Path | None:
    """Return the first yaml file of a choice in the search path; None if it does not exist."""
    return next((path for folder in folders().values() if (path := folder / group / f"{name}.yaml").is_file()), None)


@contextmanager
def command_line(config_name: str, words: Sequence[str]) -> Iterator[None]:
    """Trust the plugins that the command line, the environment and installed packages name, and add their configs.

    Installed packages are trusted only by commands that load no run, because a run may come from someone else. `evaluate`
    trusts them itself if its config has no run.

    Args:
        config_name: name of the yaml directly below `conf/` that the command composes.
        words: words of the command line.

    Yields:
        None. A plugin that is not installed, or replaces the config of a command, raises InputError.
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
    return AddedFolders(found | ({"--config-dir": directory} if directory else {}), first)


def _check_commands(found: Mapping[str, Path]) -> None:
    for conf in found.values():
        if own := next((path for path in sorted(conf.glob("*.yaml")) if (CONF / path.name).is_file()), None):
            hint = "Move it into the folder of a config group"
            raise InputError(own, "a plugin cannot replace the config of a command", hint=hint)


def _config_dir(words: Sequence[str]) -> Path | None:
    """Return the folder of Hydra's option `--config-dir`; None without the option. Hydra reports a folder that is missing."""
    value = _option(words, "--config-dir", "-cd")
    folder = Path(value).absolute() if value else None
    return folder if folder and folder.is_dir() else None


def _option(words: Sequence[str], *options: str) -> str | None:
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else next(iter(words[number + 1 :]), None)
    return None


def _typed(words: Sequence[str]) -> list[str]:
    """Return the plugins that the command line names, else those that its experiment or its own config names."""
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
    """Return the last value of a key on the command line; None without the key or if Hydra cannot read it."""
    for word in reversed(words):
        if word.lstrip("+").startswith(f"{key}="):
            try:
                return PARSER.parse_override(word).value()
            except HydraException:
                return None
    return None


def _print_notices(typed: Sequence[str]) -> None:
    """Print which plugins have no configs, and which of their choices are not used."""
    others, used = added.get(), dict[str, str]()
    for name in typed:
        if name not in others.folders:
            echo(f"plugin  {name} has no folder conf/; it adds classes only", file=sys.stderr)
    for origin, folder in folders().items():
        names = sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))
        if twice := [name.replace("/", "=", 1) for name in names if name in used]:
            hint = "" if others.first else "; plugins_first=true uses them"
            echo(f"plugin  {origin}: not used, because these names exist already: {', '.join(twice)}{hint}", file=sys.stderr)
        used |= dict.fromkeys(names, origin)
