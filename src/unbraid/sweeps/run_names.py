"""Name the run folders of a sweep after the swept keys and values (those that differ between runs): `up=transposed-seed=0`."""

import re
from collections.abc import Collection, Sequence

LONGEST_VALUE = 24  # characters
LONGEST_NAME = 100  # characters; file systems allow 255 bytes


def run_name(words: Sequence[str], swept: Collection[str]) -> str:
    """Return the name of a run folder, made of the swept keys and values of the run, such as `up=transposed-seed=0`.

    Characters that are not safe in paths are replaced, and long values and names are cut. Two different values can therefore
    have the same name.

    Args:
        words: overrides of the run.
        swept: keys with several values in the sweep.

    Returns:
        The name, which contains the last part of each swept key and the value of the key. It consists of ASCII letters, digits
        and `.`, `+`, `-`, `_`, `=`. The name is empty if `words` contain no swept key. If two keys have the same last part,
        more parts of these keys are included.
    """
    values = {key: value for key, _, value in (word.lstrip("+~").partition("=") for word in words) if key in swept}
    return "-".join(f"{_short(key, values)}={_safe(value)}" for key, value in values.items())[:LONGEST_NAME]


def _short(key: str, keys: Collection[str]) -> str:
    """Return the shortest end of a dotted key that differs from the ends of all other keys, such as `lr` for `optim.lr`."""
    parts = re.split(r"[./@]", key)
    for count in range(1, len(parts) + 1):
        end = parts[-count:]
        if sum(re.split(r"[./@]", other)[-count:] == end for other in keys) == 1:
            return ".".join(end)
    return ".".join(parts)


def _safe(value: str) -> str:
    """Replace the characters of a value that are not safe in a file name. If the value is a path, keep only its last part."""
    last = value.strip("'\"").rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", last).strip("_")[:LONGEST_VALUE]
