"""Name the runs of a sweep after their swept values: `up=transposed-seed=0`."""

import re
from collections.abc import Collection, Sequence

LONGEST_VALUE = 24  # characters
LONGEST_NAME = 100  # characters; file systems allow 255 bytes


def run_name(words: Sequence[str], swept: Collection[str]) -> str:
    """Return the name of a run, which is safe in paths. It does not distinguish values that differ only in other characters.

    Args:
        words: overrides of the run.
        swept: keys with several values in the sweep.

    Returns:
        Last part of each swept key and its value, as ASCII letters, digits and `.`, `+`, `-`, `_`, `=`; empty without swept
        keys. Two keys with the same last part are told apart by more parts. Long values and names are cut.
    """
    values = {key: value for key, _, value in (word.lstrip("+~").partition("=") for word in words) if key in swept}
    return "-".join(f"{_short(key, values)}={_safe(value)}" for key, value in values.items())[:LONGEST_NAME]


def _short(key: str, keys: Collection[str]) -> str:
    """Return as many of the last parts of a key as are needed to tell it from the other keys."""
    parts = re.split(r"[./@]", key)
    for count in range(1, len(parts) + 1):
        end = parts[-count:]
        if sum(re.split(r"[./@]", other)[-count:] == end for other in keys) == 1:
            return ".".join(end)
    return ".".join(parts)


def _safe(value: str) -> str:
    """Return a value for a file name; of a path its last part."""
    last = value.strip("'\"").rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", last).strip("_")[:LONGEST_VALUE]
