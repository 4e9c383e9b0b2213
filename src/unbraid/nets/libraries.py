"""Helpers of `unbraid.nets.adapters`, which adapts networks of torchaudio."""

from typing import Any

from unbraid.runs.errors import InputError


def check_length(samples: int, minimum: int, argument: str) -> None:
    """Check that a chunk of audio is long enough for a network.

    Args:
        samples: length of the chunk in samples.
        minimum: smallest length that the network accepts, in samples.
        argument: argument of the network that determines `minimum`, with its value, for the error message.

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
