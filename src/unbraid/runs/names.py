"""Select names of tensors and layers by their beginnings, for the keys `init.only`, `init.skip`, `freeze` and `lora.layers`."""

import re
from collections.abc import Iterable, Sequence

from unbraid.runs.errors import InputError, unknown


def below(names: Iterable[str], prefixes: Sequence[str], key: str) -> set[str]:
    """Select the names that begin with one of the given prefixes.

    Args:
        names: names, such as `nets.0.encoder.0.weight`.
        prefixes: beginnings of names up to a dot, such as `nets.0.encoder`. `*` matches any text between two dots.
        key: config key of the prefixes, for error messages.

    Returns:
        The selected names.

    Raises:
        InputError: a prefix fits no name.
    """
    found, names = set[str](), [*names]
    for prefix in prefixes:
        fitting = {name for name in names if pattern_of(prefix).match(name)}
        if not fitting:
            known = sorted({".".join(name.split(".")[: prefix.count(".") + 1]) for name in names})
            raise InputError(
                f"{key}={prefix}",
                "no tensor or layer of the model has a name that begins with this prefix",
                hint=unknown(prefix, known),
            )
        found |= fitting
    return found


def pattern_of(prefix: str) -> re.Pattern[str]:
    """Convert a prefix to a regular expression. It matches the prefix, and all names that begin with the prefix and a dot."""
    return re.compile(re.escape(prefix).replace(r"\*", r"[^.]+") + r"(\.|$)")
