"""Find plugins: Python packages of the user that add classes and configs to unbraid.

The user can name a plugin in three ways:

- with the key `plugins=mypkg` on the command line,
- with the environment variable `UNBRAID_PLUGINS`,
- by installing a package with an entry point in the group `unbraid.plugins`.

A config may then use the classes of the plugin. The key `plugins` in the config of a run is ignored, because the run may come
from another person.

While a command runs, `UNBRAID_PLUGINS` lists all plugins, so that child processes trust the same plugins. A plugin is imported
when a config first uses one of its classes.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unbraid.runs.errors import InputError
from unbraid.runs.source_version import source_hash

VARIABLE = "UNBRAID_PLUGINS"  # environment variable with the names of plugins, separated by commas
GROUP = "unbraid.plugins"  # group of entry points
CONF = "conf"  # folder of a plugin with its configs
NAME = re.compile(r"[A-Za-z]\w*(?:\.[A-Za-z]\w*)*", re.ASCII)
OURS = frozenset({"unbraid", "hydra_plugins"})
LIBRARIES = frozenset(
    {"torch", "torchaudio", "pytorch_lightning"}
)  # their classes are in the allowlist as far as they are safe
STARTUP = frozenset({"sitecustomize", "usercustomize"})
_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())  # in addition to those of the environment variable


def names() -> tuple[str, ...]:
    """Return the names of the plugins that this process trusts. An invalid name in `UNBRAID_PLUGINS` raises InputError."""
    listed = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return tuple(dict.fromkeys([*(checked(name, VARIABLE) for name in listed if name), *_trusted.get()]))


def checked(name: Any, where: str) -> str:
    """Check that a name is allowed as the name of a plugin.

    Args:
        name: name to check.
        where: key or argument that contains the name.

    Returns:
        The name.

    Raises:
        InputError: the name is not a valid package name, or is the name of a package of Python, PyTorch or unbraid.
    """
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise InputError(where, "this is not a valid name of a package", found=repr(name), expected="a name such as mypkg")
    if name.split(".")[0] in sys.stdlib_module_names | OURS | LIBRARIES:
        raise InputError(
            where, "a package of Python, PyTorch or unbraid cannot be a plugin", found=name, expected="a package of your own"
        )
    return name


@contextmanager
def trusted(packages: Sequence[str], where: str = "plugins") -> Iterator[None]:
    """Trust packages as plugins inside the `with` block, in this thread only. Configs may use the classes of trusted packages.

    Args:
        packages: names of the packages.
        where: config key or argument that lists the packages, for error messages.

    Yields:
        None. An invalid name, or a package that is not installed, raises InputError.
    """
    token = _trusted.set((*_trusted.get(), *_installed(packages, where)))
    try:
        yield
    finally:
        _trusted.reset(token)


@contextmanager
def named(packages: Sequence[str], where: str = "plugins") -> Iterator[None]:
    """Trust packages as plugins inside the `with` block, in this process and its child processes.

    Args:
        packages: names of the packages.
        where: config key that lists the packages, for error messages.

    Yields:
        None. An invalid name, or a package that is not installed, raises InputError.
    """
    before = os.environ.get(VARIABLE)
    _installed(names(), VARIABLE)
    trusted_names = dict.fromkeys([*names(), *_installed(packages, where)])
    if trusted_names:
        os.environ[VARIABLE] = ",".join(trusted_names)
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        os.environ |= {} if before is None else {VARIABLE: before}


def _installed(packages: Sequence[str], where: str) -> list[str]:
    for name in packages:
        if not _places(checked(name, where)):
            hint = "Run pip install -e FOLDER, or add the folder that contains the package to PYTHONPATH"
            raise InputError(where, "the package is not installed", found=name, hint=hint)
    return list(packages)


def _places(name: str) -> list[Path]:
    """Return the folders of a package, or the file of a module; an empty list if the package is not installed.

    The package itself is not imported. For a dotted name such as `a.b`, Python must import the outer package `a`.
    """
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return []
    except Exception as error:
        raise import_error(name, error) from error
    if spec is None:
        return []
    places = spec.submodule_search_locations or ([spec.origin] if spec.origin else [])
    return [Path(place) for place in places]


def import_error(name: str, error: BaseException, where: str = "plugins") -> InputError:
    """Return an InputError about the exception that the import of a plugin has raised."""
    hint = "HYDRA_FULL_ERROR=1 prints the traceback"
    return InputError(where, f"{name} cannot be imported: {type(error).__name__}: {error}", hint=hint)


def conf_folder(name: str) -> Path | None:
    """Return the folder with the configs of a plugin: the folder `conf` in the package.

    If the package lacks this folder and is in a folder `src`, the folder `conf` next to `src` is returned.

    Args:
        name: name of the package.

    Returns:
        The folder; None if neither folder exists.
    """
    places = _places(name)
    projects = [place.parents[1] for place in places if place.parent.name == "src" and len(place.parents) > 1]
    projects = [project for project in projects if (project / "pyproject.toml").is_file()]
    return next((folder for place in (*places, *projects) if (folder := place / CONF).is_dir()), None)


def entry_points() -> list[str]:
    """Return the plugins that installed distributions register in the entry-point group `unbraid.plugins`.

    A registered package that Python cannot find is left out.
    """
    packages = dict.fromkeys(point.module for point in metadata.entry_points(group=GROUP))
    return [name for name in packages if _places(checked(name, f"entry point in {GROUP}"))]


def package_of(target: str) -> str | None:
    """Return the trusted plugin that contains the class `target` (a dotted name); None if there is no such plugin."""
    return next((name for name in names() if target.startswith(f"{name}.")), None)


def advice(target: object) -> str:
    """Return a hint about a class that is not allowed. The hint shows how to trust the package of the class as a plugin.

    The hint is empty if the package cannot be a plugin.
    """
    top = str(target).partition(".")[0]
    if NAME.fullmatch(str(target)) is None or top in sys.stdlib_module_names | OURS | LIBRARIES | STARTUP:
        return ""
    return f'If you trust the package {top}, add plugins={top} to the command, or plugins=["{top}"] to unbraid.load'


def used(tree: Any) -> dict[str, dict[str, str | None]]:
    """Return the name, version and source hash of each trusted plugin whose classes a config uses.

    Args:
        tree: resolved config as plain values.

    Returns:
        For each plugin name, a dictionary with two entries. `version` is the version of the plugin (None if no installed
        distribution contains the plugin). `source` is the hash of the source code.
    """
    packages = sorted({name for target in _targets(tree) if (name := package_of(target))})
    return {name: {"version": _version(name), "source": source_hash(_places(name))} for name in packages}


def _targets(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping) and isinstance(target := tree.get("_target_"), str):
        yield target
    for item in tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ():
        yield from _targets(item)


def _version(name: str) -> str | None:
    top = name.partition(".")[0]
    for distribution in (top, *metadata.packages_distributions().get(top, ())):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def changes(before: Any, now: Mapping[str, Mapping[str, str | None]]) -> list[str]:
    """Return a text about each plugin whose version or source code has changed since a run was recorded.

    Args:
        before: value of the key `plugins` in `run.json`, the record of the run. An invalid value is ignored.
        now: plugins of this process, see `used`.

    Returns:
        One line of text for each changed plugin.
    """
    recorded = before if isinstance(before, Mapping) else {}
    lines = []
    for name, plugin in now.items():
        earlier = recorded.get(name)
        if isinstance(earlier, Mapping) and dict(earlier) != dict(plugin):
            versions = [str(facts.get("version") or "without a version") for facts in (earlier, plugin)]
            detail = f" ({versions[0]}, now {versions[1]})" if versions[0] != versions[1] else ""
            lines.append(f"plugin  {name}: its source code has changed since the run was trained last{detail}")
    return lines
