"""unbraid: an experiment framework for autoencoders and music source separation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unbraid.inference.loading import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import the function `unbraid.load` when it is first used, because importing it also imports PyTorch."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from unbraid.inference.loading import load

    return load
