"""Helpers of `unbraid.nets.adapters`, which adapts networks of torchaudio.

torchaudio is imported when a network of torchaudio is built. All other models work without torchaudio.
"""

from typing import Any

from unbraid.runs.errors import InputError


def torchaudio_class(name: str, model: str) -> Any:
    """Import a network class of torchaudio.

    Args:
        name: name of the class.
        model: name of the model config (`model=NAME`), used in the error message.

    Returns:
        The class. A missing torchaudio raises InputError, see `import_torchaudio`.
    """
    return getattr(import_torchaudio(f"model={model}").models, name)


def import_torchaudio(where: str) -> Any:
    """Import torchaudio.

    Args:
        where: key of the config that needs torchaudio, for the error message.

    Returns:
        The module.

    Raises:
        InputError: torchaudio is not installed, or the installed versions of torchaudio and torch do not work together.
    """
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError, AttributeError) as error:  # any of these if the version is for another torch
        hint = "Install torch and torchaudio of the same version"
        raise InputError(where, f"torchaudio cannot be imported: {type(error).__name__}: {error}", hint=hint) from error
    return torchaudio


def check_length(samples: int, minimum: int, argument: str) -> None:
    """Check that a chunk of audio is long enough for a network.

    Args:
        samples: length of the chunk in samples.
        minimum: smallest length that the network accepts, in samples.
        argument: name and value of the network argument on which `minimum` depends, for the error message.

    Raises:
        InputError: the chunk is too short.
    """
    if samples < minimum:
        expected = f"at least {minimum} samples"
        raise InputError(
            "mixture", f"the chunk is too short for a network with {argument}", found=f"{samples} samples", expected=expected
        )


def create(make: Any, *arguments: Any) -> Any:
    """Create a network of another library, and convert the exceptions of the library to InputError.

    Args:
        make: network class of the library.
        *arguments: positional arguments of the class.

    Returns:
        The network.

    Raises:
        InputError: the library raises an error for these arguments.
    """
    try:
        return make(*arguments)
    except Exception as error:
        raise InputError(make.__name__, f"the library refuses these arguments: {type(error).__name__}: {error}") from error
