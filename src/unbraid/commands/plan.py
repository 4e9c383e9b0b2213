"""`plan=true`."""

from collections.abc import Sequence

from unbraid.records import Run


def planned(runs: Sequence[Run]) -> str:
    return ""
