"""Select names of tensors and layers by their beginnings, for the keys `init.only`, `init.skip`, `freeze` and `lora.layers`."""

import re
from collections.abc import Iterable, Sequence

from unbraid.runs.errors import InputError, unknown


def below(names: Iterable[str], prefixes: Sequence[str], key: str) -> set[str]:
    """Return the names that begin with one of some prefixes.

    Args:
        names: names, such as `nets.0.encoder.0.weight`.
        prefixes: beginnings of names up to a dot, such as `nets.0.encoder`. `*` stands for any text between two dots.
        key: config key of the prefixes, for error messages.

    Returns:
        The names.

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
                "no name of a layer or tensor in the model begins with this text",
                hint=unknown(prefix, known),
            )
        found |= fitting
    return found


def pattern_of(prefix: str) -> re.Pattern[str]:
    """Convert the beginning of a name, which ends at a dot or at the end of the name, to a regular expression."""
    return re.compile(re.escape(prefix).replace(r"\*", r"[^.]+") + r"(\.|$)")
