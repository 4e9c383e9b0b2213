"""List the packages whose classes a config may use (the allowlist), and import the classes by name."""

import inspect
import re
from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import Any

from unbraid.runs import plugins
from unbraid.runs.errors import InputError

# Packages and modules of unbraid.
OURS = (
    "nets", "models.separators", "models.features", "models.corruptions", "models.losses",
    "models.waveform_losses", "dsp", "tasks", "data", "scoring",
    "evaluation.scorer", "evaluation.reconstruction", "evaluation.resynthesis", "inference.chunked",
)  # fmt: skip
ALLOWED = (*(f"unbraid.{part}" for part in OURS), "torch.nn", "torch.optim", "torchaudio.models")
# Classes of the configs of a training, in addition to those of a trained run.
TRAINING_ONLY = (
    "unbraid.training.callbacks", "unbraid.training.loggers", "unbraid.sweeps.launchers", "unbraid.sweeps.search.pruning",
    "pytorch_lightning.trainer", "pytorch_lightning.callbacks", "pytorch_lightning.loggers",
    "pytorch_lightning.Trainer",
)  # fmt: skip
TARGET = re.compile(r"\w+(\.\w+)+")
COPIES_LAYERS = "torch.nn.modules.transformer"  # its classes copy layers, which `weights.limited_size` cannot count


def resolve(target: str, where: str, allowed: Sequence[str] = (*ALLOWED, *TRAINING_ONLY)) -> Callable[..., Any]:
    """Import the class at the key `_target_` of a config node, if the class is allowed.

    Only classes with public names are allowed. Functions are not allowed, because functions could have side effects. The name
    in the config must begin with an allowed package, and an allowed package must also define the class. Trusted plugins are
    allowed packages, too, see `unbraid.runs.plugins`.

    Args:
        target: dotted name of the class.
        where: key of the config node (the mapping with `_target_`), for error messages.
        allowed: names of packages, modules and classes that the config may use.

    Returns:
        The class.

    Raises:
        InputError: the class does not exist or is not allowed.
    """
    packages = (*allowed, *plugins.names())
    key, expected = f"{where}._target_", f"a public class of {', '.join(packages)}"
    if isinstance(target, str) and _is_under(target, packages) and ("._" in target or not TARGET.fullmatch(target)):
        raise InputError(key, "this is not the name of a public class", found=target, expected="a name such as mypkg.nets.Net")
    if not isinstance(target, str) or not _is_under(target, packages):
        raise InputError(
            key, "this class is not allowed in a config", found=target, expected=expected, hint=plugins.advice(target)
        )
    class_ = _imported(target, key)
    if not inspect.isclass(class_):
        raise InputError(key, "this object is not a class", found=target, expected="a public class")
    if not _is_under(class_.__module__, packages):
        problem = f"this class is not allowed in a config, because the package {class_.__module__} defines it"
        raise InputError(key, problem, found=target, expected="the name of the class in its own package")
    if class_.__module__ == COPIES_LAYERS:
        raise InputError(
            key,
            "this class is not allowed in a config",
            found=target,
            hint="Choose a class that does not copy layers, because copies could use unlimited memory.",
        )
    return class_


def _imported(target: str, key: str) -> Any:
    """Import the object with a dotted name. Raise InputError if the object is missing or a plugin cannot be imported."""
    plugin = plugins.package_of(target)
    try:
        return resolve_name(target)
    except Exception as error:
        missing = isinstance(error, AttributeError) or (
            isinstance(error, ModuleNotFoundError) and f"{target}.".startswith(f"{error.name}.")
        )
        if plugin and not missing:
            raise plugins.import_error(plugin, error, key) from error
        # RuntimeError: an optional package is missing; OSError: a library of torchaudio is for another torch
        if plugin or isinstance(error, ImportError | OSError | ValueError | AttributeError | RuntimeError):
            raise InputError(key, "no class of this name exists", found=target) from error
        raise


def _is_under(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
