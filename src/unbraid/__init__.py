"""unbraid: an experiment framework for autoencoders and music source separation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unbraid.commands.compose import compose as compose
    from unbraid.inference.loading import load as load

__all__ = ["compose", "load"]
MODULES = {"compose": "unbraid.commands.compose", "load": "unbraid.inference.loading"}


def __getattr__(name: str) -> Any:
    """Import a function of this package when the function is first used, because the import of PyTorch is slow."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(MODULES[name]), name)
