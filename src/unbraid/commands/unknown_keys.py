"""Find the keys and choices that a user may have meant by an unknown key or choice on the command line."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from unbraid.commands.choices import CONF, choices
from unbraid.runs import plugins
from unbraid.runs.errors import InputError, unknown

MOST_SUGGESTIONS = 3
COULD_NOT_OVERRIDE = r"Could not override '([^']+)'"  # begin of Hydra's error message


def unknown_choice(file: str, options: Sequence[str] | None) -> InputError:
    """Return the error about an unknown choice of a config group, such as `model=unett`.

    Args:
        file: path of the missing yaml file, relative to `conf` and without the suffix.
        options: names of the existing choices of the group; None if Hydra does not list the choices.

    Returns:
        The error, which is not raised here.
    """
    is_data = file.startswith("data/")  # the rest may be a path
    group, _, name = file.partition("/") if is_data else file.rpartition("/")
    hint = unknown(name, options or choices(group))
    if not plugins.names():
        hint = f"{hint}. To use a choice of your own package, add plugins=PACKAGE"
    if is_data and (Path(name).expanduser().exists() or "/" in name):
        hint = f"To set the folder of a data set, type data=NAME data.root={name}. {hint}"
    return InputError(group or "config", "unknown choice", found=name, hint=hint)


def similar_keys(typed: str, config: DictConfig) -> list[str]:
    """Return keys of a config that are similar to an unknown key, because the user may have meant one of these keys.

    There are three kinds of similar keys. The most similar kind comes first:

    - The similar key and the typed key have the same last part, such as `optim.optimizer.lr` for the typed key `lr`.
    - The last part of the similar key contains the last part of the typed key, such as `trainer.max_epochs` for `epochs`.
    - The spelling of the whole key is similar.

    Args:
        typed: unknown key, with dots between its parts.
        config: composed config.

    Returns:
        At most three similar keys with dots between their parts. All are of the same kind: the first kind in the list above
        that the config contains.
    """
    paths = [path for path in _paths(OmegaConf.to_container(config, resolve=False)) if not typed.startswith(f"{path}.")]
    last = typed.rpartition(".")[2]
    first = typed.partition(".")[0]
    by_rank: tuple[list[str], ...] = ([], [], [])
    for path in paths:
        end = path.rpartition(".")[2]
        if end == last:
            by_rank[0].append(path)
        elif last in end.split("_"):
            by_rank[1].append(path)
    by_rank[2].extend(get_close_matches(typed, paths, n=1, cutoff=0.75))
    nearest = next((rank for rank in by_rank if rank), [])
    return sorted(nearest, key=lambda path: (not path.startswith(f"{first}."), path.count("."), path))[:MOST_SUGGESTIONS]


def _paths(tree: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of all values and mappings in a config, without Hydra's own keys."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if not str(key).startswith("_") and f"{prefix}{key}" != "hydra":
                yield f"{prefix}{key}"
                yield from _paths(value, f"{prefix}{key}.")


def unknown_key(message: str, config_name: str) -> str | None:
    """Turn Hydra's error message about an unknown key into an error message that lists similar keys.

    Args:
        message: error message of Hydra.
        config_name: name of the main config of the command: a yaml file directly in `conf`, without the suffix.

    Returns:
        The new message; None if Hydra's message is about another error.
    """
    match = re.match(COULD_NOT_OVERRIDE, message)
    if match is None:
        return None
    config = _compose_without(match[1], config_name)
    known: Any = config
    parts = match[1].split(".")
    for depth, part in enumerate(parts):
        if not isinstance(known, DictConfig):
            return str(InputError(match[1], f"unknown key, because {'.'.join(parts[:depth])} is a single value without keys"))
        key = ".".join(parts[: depth + 1])
        if part not in known:
            if parts[0] != "hydra" and depth + 1 == len(parts) and _has_parameter(known, part):
                return str(
                    InputError(
                        key, "this option is valid, but the config does not contain it yet", hint=f"Add it with +{key}=VALUE"
                    )
                )
            paths = similar_keys(match[1], config)
            close = " or ".join(f"'{path}'" for path in paths)
            elsewhere = "" if close else ", ".join(_choices_with(part))
            hint = f"did you mean {close}?" if close else f"This key needs another choice: {elsewhere}" if elsewhere else ""
            hint = hint or unknown(part, map(str, known))
            return str(InputError(match[1], "unknown key", hint=hint))
        known = known._get_node(part)
        if known._is_interpolation() and depth + 1 < len(parts):
            return str(
                InputError(key, f"the value of this key is a copy of {known._value()}", hint="Set the original key instead")
            )
    return None


def _choices_with(key: str) -> list[str]:
    """Return the choices of config groups whose yaml file contains a key, such as `model=ae` for the key `code`."""
    line = re.compile(rf"(?m)^(?:[^#\n]*[{{, ])?{re.escape(key)}:")
    files = [file for file in sorted(CONF.glob("*/*.yaml")) if file.parent.name != "base"]
    return [f"{file.parent.name}={file.stem}" for file in files if line.search(file.read_text())]


def _has_parameter(node: DictConfig, name: str) -> bool:
    """Return whether the class in the key `_target_` of a config node has a parameter of this name.

    The class is imported, which takes seconds. So it is imported only if the name occurs in its source folder.
    """
    if "_target_" not in node or not _occurs(name, node._target_):
        return False
    from unbraid.runs.config import resolve

    return name in signature(resolve(node._target_, "config")).parameters


def _occurs(name: str, target: str) -> bool:
    """Return whether the python files next to a class contain a name in the form of a parameter. Nothing is imported."""
    package, *modules = target.split(".")[:-1]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return True
    path = Path(spec.submodule_search_locations[0]).joinpath(*modules)
    parameter = re.compile(rf"[(,\n]\s*{re.escape(name)}\s*[:=,)]")
    files = (path if path.is_dir() else path.parent).rglob("*.py")
    return any(parameter.search(file.read_text("utf-8", errors="ignore")) for file in files)


def _compose_without(key: str, config_name: str) -> DictConfig:
    """Compose the config with only those overrides of the command line that choose a yaml file, such as `model=unet`.

    Overrides of `key` and of other unknown keys are not used. If a sweep lists several choices of a group, the first choice
    is used.
    """
    words = [word.split(",")[0] for word in sys.argv[1:] if re.fullmatch(r"[\w/]+=[\w/,]+", word)]
    choices = [word for word in words if not word.startswith(f"{key}=")]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        while True:
            try:
                return hydra.compose(config_name, choices, return_hydra_config=key.startswith("hydra."))
            except ConfigCompositionException as error:
                other = re.match(COULD_NOT_OVERRIDE, str(error))
                known = [word for word in choices if other and not word.startswith(f"{other[1]}=")]
                if other is None or known == choices:
                    raise
                choices = known
