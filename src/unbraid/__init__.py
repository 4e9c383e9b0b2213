"""unbraid: an experiment framework for autoencoders and music source separation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unbraid.inference.loading import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import and return the function `unbraid.load` at its first use, because the import also loads PyTorch, which is slow."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from unbraid.inference.loading import load

    return load
