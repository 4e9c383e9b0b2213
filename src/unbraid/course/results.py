"""Results that a lesson records while it runs, and its fast form.

The text of a lesson prints some of these results. `course/build.py` compares them with `course/results.json`.
"""

import json
import os
from pathlib import Path
from typing import TypeVar

from unbraid.runs.files import atomic_write

RESULTS = Path("results.json")  # in the folder in which the lesson runs
T = TypeVar("T")


def record(**values: float) -> None:
    """Add numbers to the results of the lesson. A name that was recorded before gets the new value.

    Args:
        **values: numbers by name.
    """
    recorded = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    with atomic_write(RESULTS) as partial:
        partial.write_text(json.dumps(recorded | {name: float(value) for name, value in values.items()}, indent=2) + "\n")


def fast(full: T, short: T) -> T:
    """Return one of two values: `full`, or `short` if the environment variable `UNBRAID_COURSE` is `fast`.

    Args:
        full: value for readers.
        short: value for a quick test of the lesson.

    Returns:
        The selected value.
    """
    return short if os.environ.get("UNBRAID_COURSE") == "fast" else full
