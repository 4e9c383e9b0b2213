"""Make names of run folders, such as `up=transposed-seed=0`, from the swept keys (keys with several values in a sweep)."""

import re
from collections.abc import Collection, Sequence

LONGEST_VALUE = 24  # characters
LONGEST_NAME = 100  # characters; file systems allow 255 bytes


def run_name(words: Sequence[str], swept: Collection[str]) -> str:
    """Return the name of a run folder: the swept keys of a run and their values, such as `up=transposed-seed=0`.

    Characters that are not safe in paths are replaced, and long values and names are cut. Two runs can therefore get the same
    name.

    Args:
        words: overrides of the run.
        swept: keys with several values in the sweep.

    Returns:
        The name; empty if no override sets a swept key. A key is shortened to its last part, or to more parts if two keys have
        the same last part. The name consists of ASCII letters, digits and `.`, `+`, `-`, `_`, `=`.
    """
    values = {key: value for key, _, value in (word.lstrip("+~").partition("=") for word in words) if key in swept}
    return "-".join(f"{_short(key, values)}={_safe(value)}" for key, value in values.items())[:LONGEST_NAME]


def _short(key: str, keys: Collection[str]) -> str:
    """Return a short form of a dotted key, such as `lr` for `optim.lr`: the shortest end that identifies the key."""
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
