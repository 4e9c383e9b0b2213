"""Type hints are described in words, without Python's notation."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from unbraid.runs.type_names import type_name


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "an integer"),
        (Optional[int], "an integer or null"),  # noqa: UP045
        (float | None, "a number or null"),
        (Literal["best", "last"] | None, "best or last or null"),
        (bool, "true or false"),
        (str | Path, "a text or a path"),
        (dict[str, list[str]] | None, "a mapping {key: value} or null"),
        (Mapping[str, Any], "a mapping {key: value}"),
        (Sequence[int], "a list [item, …], each item an integer"),
        (tuple[float, ...], "a list [item, …], each item a number"),
        (list[Any], "a list [item, …]"),
        (Any, "a value"),
        (object, "a value"),
        (Callable[[int], int], "a config group with _target_ that builds Callable"),
    ],
)
def test_a_type_is_described_in_words(hint, words):
    assert type_name(hint) == words
