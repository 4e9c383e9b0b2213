"""Check configs, build objects from configs, and read the config of a run folder.

A config consists of nested mappings. A mapping with the key `_target_` is called a node. A node describes an object: the value
of `_target_` is the name of the class, and the other keys are the arguments. `check` compares the keys with the signature of
the class, by name and type, so no key is silently ignored. Only classes in an allowlist are accepted.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from typeguard import CollectionCheckStrategy, ForwardRefPolicy, TypeCheckError, check_type

from unbraid.runs import plugins
from unbraid.runs.allowlist import ALLOWED, TRAINING_ONLY, resolve
from unbraid.runs.documents import read_yaml
from unbraid.runs.errors import InputError, closest, refuse_unset, unknown
from unbraid.runs.files import refuse_missing
from unbraid.runs.type_names import type_name, union_types

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
# Exceptions of constructors for invalid values. Other exceptions are bugs and keep their traceback.
REFUSALS = (ValueError, TypeError, ArithmeticError, RuntimeError, ModuleNotFoundError)
# Exceptions of OmegaConf for trees that are not configs, in addition to its own class.
OMEGACONF_ERRORS = (ValueError, RecursionError, AssertionError, AttributeError, TypeError)
HYDRA_KEYS = {"_target_", "_partial_"}


def check(config: DictConfig, schema: Callable[..., Any], allowed: Sequence[str] = (*ALLOWED, *TRAINING_ONLY)) -> None:
    """Check names and types of all keys in a config.

    The keys of the top level are compared with `schema`. The keys of each node are compared with the signature of the class
    at the key `_target_` of the node.

    Args:
        config: composed config.
        schema: function or class whose parameters are the keys of the top level.
        allowed: names of packages, modules and classes that the config may use.

    Raises:
        InputError: a value is missing, has the wrong type, or is NaN or infinite; a key is unknown; or a class is not allowed.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            refuse_unset(missing[0])
        tree: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"config: a value cannot be computed: {error}") from error
    _bind(tree, schema, "", allowed)
    _check_nodes(tree, "", allowed)


def _check_nodes(value: Any, where: str, allowed: Sequence[str]) -> None:
    if isinstance(value, Mapping):
        if "_target_" in value:
            _bind(value, resolve(value["_target_"], where, allowed), where, allowed)
        elif "_partial_" in value:
            raise InputError(where, "this config group has the key _partial_, but the key _target_ is missing")
        for key, item in value.items():
            _check_nodes(item, f"{where}.{key}".lstrip("."), allowed)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_nodes(item, f"{where}[{i}]", allowed)
    elif isinstance(value, float) and not math.isfinite(value):  # NaN passes every `value < bound` of a constructor
        raise InputError(where, found=value, expected="a finite number")


def _bind(node: Mapping[str, Any], function: Callable[..., Any], where: str, allowed: Sequence[str]) -> None:
    """Check the keys and types of one config node against the signature of a class or function."""
    signature = inspect.signature(function).parameters
    parameters = {name: parameter for name, parameter in signature.items() if parameter.kind not in VARIADIC}
    hints = _hints(function)
    place = f"{where}." if where else ""
    for key, value in node.items():
        if key == "_partial_" and not isinstance(value, bool):
            raise InputError(f"{place}{key}", found=repr(value), expected="true or false")
        if key in HYDRA_KEYS:
            continue
        if key not in parameters:
            hint = unknown(key, parameters)
            if "_target_" in node and not closest(key, parameters, cutoff=0.5):  # another class may have replaced the first one
                hint += f". To remove the key, type ~{place}{key}"
            raise InputError(f"{place}{key}", "unknown key", hint=hint)
        if key in hints and not _fits(value, hints[key], allowed):
            raise InputError(f"{place}{key}", found=repr(value), expected=type_name(hints[key]))
    if not node.get("_partial_"):
        for name, parameter in parameters.items():
            if parameter.default is parameter.empty and name not in node:
                raise InputError(f"{place}{name}", "this required key is missing", expected=type_name(hints.get(name, Any)))


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    callable_ = function.__init__ if inspect.isclass(function) else function
    try:
        return get_type_hints(inspect.unwrap(callable_))
    except NameError:  # a library imports the names of its annotations only for type checkers
        return {}


def _fits(value: Any, hint: Any, allowed: Sequence[str]) -> bool:
    """Return whether a value from a yaml file fits the type hint of a parameter.

    A list also fits the type hint of a tuple. A config node fits if it describes an object of the right class.
    """
    if isinstance(value, Mapping) and "_target_" in value:
        return _builds_type(value, hint, allowed)
    if _is_wrong_boolean(value, hint):
        return False
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if any(isinstance(item, Mapping) and "_target_" in item for item in items):
        return True
    return _has_type(value, hint) or (isinstance(value, list) and _has_type(tuple(value), hint))


def _is_wrong_boolean(value: Any, hint: Any) -> bool:
    """Return whether a value, or an item of a list or mapping, is a boolean instead of a number. In Python, True is an int."""
    kinds = union_types(hint)
    if {bool, Any, object}.intersection(kinds):
        return False
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    hints = [item for kind in kinds for item in get_args(kind) if not isinstance(item, list)]
    wrong = (all(_is_wrong_boolean(item, item_hint) for item_hint in hints) for item in items)
    return isinstance(value, bool) or (bool(hints) and any(wrong))


def _builds_type(node: Mapping[str, Any], hint: Any, allowed: Sequence[str]) -> bool:
    """Return whether a config node describes an object that fits a type hint; True if the type hint does not name a class."""
    kinds = union_types(hint)
    if any(kind in (Any, object) or not inspect.isclass(kind) or getattr(kind, "_is_protocol", False) for kind in kinds):
        return True
    if node.get("_partial_"):
        return False
    try:
        class_ = resolve(node["_target_"], "", allowed)
    except InputError:  # `_check_nodes` raises it again with the key of the node
        return True
    return inspect.isclass(class_) and issubclass(class_, kinds)


def _has_type(value: Any, hint: Any) -> bool:
    try:
        check_type(
            value, hint,
            forward_ref_policy=ForwardRefPolicy.IGNORE, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS,
        )  # fmt: skip
    except TypeCheckError:
        return False
    return True


def build(node: DictConfig, **given: Any) -> Any:
    """Build the object that a checked config node describes, with all objects in nested nodes.

    Args:
        node: node with a `_target_`, see `check`.
        **given: arguments of the constructor that the program sets. The config must not contain these arguments.

    Returns:
        The object.

    Raises:
        InputError: a constructor does not accept a value, or the config contains one of the `given` arguments.
        InstantiationException: a constructor has a bug.
    """
    for name in given:
        if name in node:
            problem = "this key is not allowed, because the program sets its value"
            raise InputError(node._get_full_key(name), problem, found=repr(node[name]))
    try:
        return instantiate(node, _convert_="all", **given)
    except InstantiationException as error:
        if not isinstance(error.__cause__, REFUSALS):
            raise
        cause: Any = error.__cause__
        reason = cause if isinstance(cause, InputError) else InputError(str(cause))
        if plugins.package_of(str(node.get("_target_"))) and not isinstance(cause, InputError):
            reason = InputError(f"{type(cause).__name__}: {cause}", hint="HYDRA_FULL_ERROR=1 prints the traceback")
        where = _with_key(node, str(error), reason.where)
        raise InputError(where, reason.problem, found=reason.found, expected=reason.expected, hint=reason.hint) from error


def build_kind(node: DictConfig, *kinds: type, **given: Any) -> Any:
    """Build the object that a config node describes, see `build`, and check the class of the object.

    Args:
        node: node with a `_target_`.
        *kinds: accepted classes. The object must be an instance of one of these classes.
        **given: arguments of the constructor that the program sets.

    Returns:
        The object.

    Raises:
        InputError: the object is not an instance of an accepted class, or `build` cannot build the object.
    """
    built = build(node, **given)
    if not isinstance(built, kinds):
        expected = f"a subclass of {' or '.join(f'{kind.__module__}.{kind.__qualname__}' for kind in kinds)}"
        raise InputError(
            node._get_full_key("_target_"), "this class cannot be used for this key", found=node._target_, expected=expected
        )
    return built


def _with_key(node: DictConfig, message: str, where: str) -> str:
    """Put the key of a config node in front of `where`, the first part of a constructor's error message.

    If `where` begins with the name of an argument, a dot joins the two: the key `data` and the argument `batch_size` give
    `data.batch_size`. Otherwise a colon joins the two.
    """
    key = re.search(r"full_key: (\S+)", message)
    place = key[1] if key else node._get_full_key(None)
    first_word = (where.split() or [""])[0].rstrip(":")
    keys = OmegaConf.select(node._get_root(), place, default={})
    return f"{place}{'.' if first_word in keys else ': '}{where}"


def own_config(folder: Path) -> DictConfig:
    """Read `config.yaml` in a run folder, see `read_config`.

    Args:
        folder: run folder.

    Returns:
        The resolved config of the run.

    Raises:
        InputError: the folder does not exist, is a file, or does not contain `config.yaml`.
    """
    path, expected = folder / "config.yaml", "the folder of a run"
    or_model = f"{expected}, or a model file such as .ckpt, .safetensors or .onnx"
    if not folder.exists():
        refuse_missing(f"run={folder}", folder, or_model)
    if not folder.is_dir():
        raise InputError(f"run={folder}", "this file is not a model", expected=or_model)
    if not path.is_file():
        names = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "an empty folder"
        raise InputError(f"run={folder}", "config.yaml is missing", found=names, expected=expected)
    return read_config(path)


def read_config(path: Path) -> DictConfig:
    """Read the `config.yaml` of a run as an OmegaConf config.

    Args:
        path: path of the file.

    Returns:
        The config. Values that do not form a config raise InputError.
    """
    return _as_config(config_tree(path), path)


def plain_config(tree: Any, path: Path) -> DictConfig:
    """Convert the content of a file (nested dictionaries and lists) to an OmegaConf config.

    Args:
        tree: content of the file, a mapping. The mapping must not contain interpolations such as `${x}`.
        path: path of the file, for error messages.

    Returns:
        The config. Content that is not a mapping, contains interpolations or does not form a config raises InputError.
    """
    return _as_config(_plain(tree, path), path)


def _as_config(tree: dict[str, Any], path: Path) -> DictConfig:
    try:
        config = OmegaConf.create(tree)
    except (OmegaConfBaseException, *OMEGACONF_ERRORS) as error:
        raise InputError(path, f"the file is not a config: {error}") from error
    assert isinstance(config, DictConfig)
    return config


def config_tree(path: Path) -> dict[str, Any]:
    """Read the `config.yaml` of a run as nested dictionaries and lists.

    Interpolations such as `${x}` raise InputError, because they can run functions of OmegaConf and produce very long values.

    Args:
        path: path of the file.

    Returns:
        The content of the file, a mapping from keys to values.

    Raises:
        InputError: the file is missing, is not YAML, is not a mapping, or contains an interpolation.
    """
    try:
        tree = read_yaml(path)
    except OSError as error:
        raise InputError(path, f"the file cannot be read ({error.strerror})") from error
    return _plain(tree, path)


def _plain(tree: Any, path: Path) -> dict[str, Any]:
    """Check that the content of a file is a mapping without interpolations, and return the mapping."""
    if not isinstance(tree, dict):
        raise InputError(path, "the file is not a config", found=type(tree).__name__, expected="a mapping from keys to values")
    _check_plain(tree, path)
    return tree


def node_at(config: DictConfig, key: str) -> Any:
    """Return the value at a dotted key in the config of a run; None if the key does not exist."""
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException:  # a part of the key names a list
        return None


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Convert nested mappings to one mapping from dotted keys, such as `data.root`, to values. Empty mappings are kept."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return values


def _check_plain(value: Any, path: Path) -> None:
    """Check that nested values contain no interpolations `${…}` and that all keys are texts."""
    if isinstance(value, str) and "${" in value:
        raise InputError(
            path,
            "the config of a run must not contain interpolations such as ${x}",
            found=repr(value[:80]),
            expected="plain values",
        )
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InputError(path, "a key in the file is not a text", found=repr(key)[:80], expected="texts as keys")
            _check_plain(key, path)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_plain(item, path)
