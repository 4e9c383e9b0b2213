"""Describe type hints in words, for error messages about values in a config."""

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

PLAIN = {bool: "true or false", int: "an integer", float: "a number", str: "a text", Path: "a path"}
LISTS = (list, tuple, set, Sequence, Iterable, Collection)
MAPPINGS = (dict, Mapping)


def union_types(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union type as a tuple; for another type, return a tuple that contains the type."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def type_name(hint: Any) -> str:
    """Describe in words which values in a yaml file fit a type hint.

    Args:
        hint: type hint of a parameter.

    Returns:
        Text such as `an integer or null`.
    """
    kinds = union_types(hint)
    names = [_one_name(kind) for kind in kinds if kind is not NoneType]
    return " or ".join(dict.fromkeys([*names, *(["null"] if NoneType in kinds else [])]))


def _one_name(hint: Any) -> str:
    kind, items = get_origin(hint) or hint, [item for item in get_args(hint) if item is not Ellipsis]
    if kind is Literal:
        return " or ".join(map(str, items))
    if kind in PLAIN:
        return PLAIN[kind]
    if kind in MAPPINGS:
        return "a mapping {key: value}"
    if kind in LISTS:
        return f"a list [item, …], each item {type_name(items[0])}" if items and items[0] is not Any else "a list [item, …]"
    if inspect.isclass(kind) and kind not in (object, Any):
        return f"a config group with _target_ that builds {kind.__name__}"
    return "a value"
