"""A config is a tree of `_target_`s that is checked before anything is built from it; and what a trained run is rebuilt from.

Checking binds every key to the signature it is for, both names and types, so that no key is silently ignored. Building takes
only what the allowlist names.
"""

import inspect
import json
import math
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from typeguard import CollectionCheckStrategy, ForwardRefPolicy, TypeCheckError, check_type

from unbraid.runs.documents import read_yaml
from unbraid.runs.errors import InputError, unknown
from unbraid.runs.files import atomic_write

OURS = (
    "nets", "models.separators", "models.features", "models.corruptions", "models.losses", "dsp", "tasks", "data", "scoring",
    "evaluation.scorer", "evaluation.reconstruction", "evaluation.resynthesis", "inference.chunked",
)  # fmt: skip
ALLOWED = (*(f"unbraid.{part}" for part in OURS), "torch.nn", "torch.optim", "torchaudio.models")
TRAINING_ONLY = (
    "unbraid.training.callbacks", "unbraid.training.loggers", "unbraid.sweeps.launchers", "unbraid.sweeps.search.pruning",
    "pytorch_lightning.trainer", "pytorch_lightning.callbacks", "pytorch_lightning.Trainer",
)  # fmt: skip
COPYING = "torch.nn.modules.transformer"  # its classes copy a layer any number of times, which `limited_size` cannot count
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
# How constructors refuse a value; whatever else they raise is a bug and keeps its traceback.
NOT_TAKEN = (ValueError, TypeError, ArithmeticError, RuntimeError, ModuleNotFoundError)
# What OmegaConf also raises about a tree that is no config.
STUMBLES = (ValueError, RecursionError, AssertionError, AttributeError, TypeError)
HYDRA_KEYS = {"_target_", "_partial_"}
PACKAGES = (
    "torch",
    "torchaudio",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "av",
    "soundfile",
    "soxr",
    "unbraid",
)


def resolve(target: str, where: str, allowed: Sequence[str] = (*ALLOWED, *TRAINING_ONLY)) -> Callable[..., Any]:
    """The class that a `_target_` names, if the allowlist has it.

    Only classes with public names are built: what a class does when it is made is to take its arguments. Its own module counts
    as well as the name it is asked by, so that `unbraid.data.layouts.demo.os.system` is refused.
    """
    if not isinstance(target, str) or not _is_under(target, allowed) or "._" in target or ":" in target:
        raise InputError(f"{where}._target_: '{target}' may not be built; allowed are names under {', '.join(allowed)}")
    try:
        found = resolve_name(target)
    except (ImportError, ValueError, AttributeError, RuntimeError) as error:  # the last where a package beside is missing
        raise InputError(f"{where}._target_: there is no '{target}'") from error
    if not inspect.isclass(found) or not _is_under(found.__module__, allowed):
        raise InputError(f"{where}._target_: '{target}' may not be built; it is no class of {', '.join(allowed)}")
    if found.__module__ == COPYING:
        raise InputError(f"{where}._target_", f"'{target}' may not be built", hint="It copies layers without a limit.")
    return found


def _is_under(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def check(config: DictConfig, schema: Callable[..., Any], allowed: Sequence[str] = (*ALLOWED, *TRAINING_ONLY)) -> None:
    """Bind a whole config, top level to `schema`, every node with a `_target_` to what it names.

    Args:
        config: as composed.
        schema: of its top level.
        allowed: packages whose classes may be named.

    Raises:
        InputError: a missing value, an unknown key (with the nearest known one), a value of the wrong type, NaN or infinity,
            a target that is not allowed.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise InputError(f"{missing[0]} has no default and must be given: {missing[0]}=…")
        tree: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(str(error)) from error
    _bind(tree, schema, "", allowed)
    _check_nodes(tree, "", allowed)


def _check_nodes(value: Any, where: str, allowed: Sequence[str]) -> None:
    if isinstance(value, Mapping):
        if "_target_" in value:
            _bind(value, resolve(value["_target_"], where, allowed), where, allowed)
        elif "_partial_" in value:
            raise InputError(f"{where}: has _partial_ but no _target_")
        for key, item in value.items():
            _check_nodes(item, f"{where}.{key}".lstrip("."), allowed)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_nodes(item, f"{where}[{i}]", allowed)
    elif isinstance(value, float) and not math.isfinite(value):  # NaN passes every `value < bound` of a constructor
        raise InputError(f"{where}: found {value}, expected a finite number")


def _bind(node: Mapping[str, Any], function: Callable[..., Any], where: str, allowed: Sequence[str]) -> None:
    """Names and types of one node against one signature."""
    signature = inspect.signature(function).parameters
    parameters = {name: parameter for name, parameter in signature.items() if parameter.kind not in VARIADIC}
    hints = _hints(function)
    place = f"{where}." if where else ""
    for key, value in node.items():
        if key == "_partial_" and not isinstance(value, bool):
            raise InputError(f"{place}{key}: found {value!r}, expected true or false")
        if key in HYDRA_KEYS:
            continue
        if key not in parameters:
            raise InputError(f"{place}{key}: there is no such key; {unknown(key, parameters)}")
        if key in hints and not _fits(value, hints[key], allowed):
            raise InputError(f"{place}{key}: found {value!r}, expected {_spell(parameters[key])}")
    if not node.get("_partial_"):
        for name, parameter in parameters.items():
            if parameter.default is parameter.empty and name not in node:
                raise InputError(f"{place}{name} is missing, expected {_spell(parameter)}")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    callable_ = function.__init__ if inspect.isclass(function) else function
    try:
        return get_type_hints(inspect.unwrap(callable_))
    except NameError:  # a library annotates with names that it imports for type checkers only
        return {}


def _fits(value: Any, hint: Any, allowed: Sequence[str]) -> bool:
    """Return whether a yaml value can stand for a parameter. A list stands for a tuple, a node for what its class makes."""
    if isinstance(value, Mapping) and "_target_" in value:
        return _makes(value, hint, allowed)
    if isinstance(value, bool) and not {bool, Any, object}.intersection(_kinds(hint)):  # to Python, true is a number too
        return False
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if any(isinstance(item, Mapping) and "_target_" in item for item in items):
        return True
    return _is(value, hint) or (isinstance(value, list) and _is(tuple(value), hint))


def _makes(node: Mapping[str, Any], hint: Any, allowed: Sequence[str]) -> bool:
    """Return whether a node makes an object of the type of a parameter, as far as its class tells."""
    kinds = _kinds(hint)
    if any(kind in (Any, object) or not inspect.isclass(kind) or getattr(kind, "_is_protocol", False) for kind in kinds):
        return True
    if node.get("_partial_"):
        return False
    try:
        made = resolve(node["_target_"], "", allowed)
    except InputError:  # raised again, with its key, where the node itself is checked
        return True
    return inspect.isclass(made) and issubclass(made, kinds)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is(value: Any, hint: Any) -> bool:
    try:
        check_type(
            value, hint,
            forward_ref_policy=ForwardRefPolicy.IGNORE, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS,
        )  # fmt: skip
    except TypeCheckError:
        return False
    return True


def _spell(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return "a value"
    return inspect.formatannotation(annotation).replace("collections.abc.", "").replace("typing.", "")


def build(node: DictConfig, **given: Any) -> Any:
    """What a checked config node describes, with all that is nested in it; `given` adds arguments no config can name.

    Raises:
        InputError: a constructor does not take a value, or the node names an argument that is given.
    """
    for name in given:
        if name in node:
            raise InputError(f"{node._get_full_key(name)}: the program sets it itself, found {node[name]!r}")
    try:
        return instantiate(node, _convert_="all", **given)
    except InstantiationException as error:
        if isinstance(error.__cause__, NOT_TAKEN):
            raise InputError(_say_where(node, str(error), str(error.__cause__))) from error
        raise


def _say_where(node: DictConfig, message: str, reason: str) -> str:
    """A constructor's reason with the key in front: `data.batch_size must …` where it names its argument, else `data: …`."""
    named = re.search(r"full_key: (\S+)", message)
    place = named[1] if named else node._get_full_key(None)
    keys = OmegaConf.select(node._get_root(), place, default={})
    return f"{place}{'.' if (reason.split() or [''])[0].rstrip(':') in keys else ': '}{reason}"


def own_config(folder: Path) -> DictConfig:
    """The config of a run, see `read_config`; InputError where the folder holds none."""
    path = folder / "config.yaml"
    if not folder.is_dir():
        raise InputError(f"run={folder}: {'is a file, expected the folder of a run' if folder.exists() else 'no such folder'}")
    if not path.is_file():
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
        raise InputError(f"run={folder}: has no config.yaml, found {found}; expected the folder of a run")
    return read_config(path)


def read_config(path: Path) -> DictConfig:
    """Return the config of a run, as it was resolved, see `config_tree`."""
    tree = config_tree(path)
    try:
        own = OmegaConf.create(tree)
    except (OmegaConfBaseException, *STUMBLES) as error:
        raise InputError(path, f"not a config: {error}") from error
    assert isinstance(own, DictConfig)
    return own


def config_tree(path: Path) -> dict[str, Any]:
    """Return the config of a run as plain values.

    A stranger's could name a resolver, which is code that runs when a value is looked at, or links that grow.

    Raises:
        InputError: the file is missing, is not YAML, does not hold keys with values, or holds an interpolation.
    """
    try:
        tree = read_yaml(path)
    except OSError as error:
        raise InputError(path, str(error.strerror)) from error
    if not isinstance(tree, dict):
        raise InputError(path, found=type(tree).__name__, expected="the keys of the config of a run")
    _check_values(tree, path)
    return tree


def node_at(config: DictConfig, key: str) -> Any:
    """What lies there in the config of a run, which may be a stranger's; None where nothing can."""
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException:  # a list on the way
        return None


def _check_values(value: Any, path: Path) -> None:
    """Raise InputError if a tree holds an interpolation, or a key that is not a text."""
    if isinstance(value, str) and "${" in value:
        raise InputError(path, "an interpolation", found=repr(value[:80]), expected="the values of a run")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InputError(path, "a key is not a text", found=repr(key)[:80])
            _check_values(key, path)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_values(item, path)


def checkpoint_path(run: Path, asked: str) -> Path:
    """Of a run: `best`, `last`, or a file; InputError where it is not there."""
    path = run / "checkpoints" / f"{asked}.ckpt" if asked in ("best", "last") else Path(asked).expanduser()
    if not path.is_file():
        found = ", ".join(sorted(p.name for p in run.glob("checkpoints/*.ckpt"))) or "none"
        raise InputError(f"checkpoint={asked}: {path} is not there; checkpoints of the run: {found}")
    return path


def versions() -> dict[str, str]:
    """Name and version of each package that a result may depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that is whole or not there; NaN is refused."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as partial:
        partial.write_text(text)
