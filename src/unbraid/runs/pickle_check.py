"""Check the pickle (serialized Python objects) in a torch file. The pickle is not run.

The check follows the operations of the pickle as `torch.load(weights_only=True)` would, but makes placeholders instead of
tensors. Errors are raised for too many operations, too deep nesting and too large sizes. The module `torch_files` describes the
attacks that the check prevents.
"""

import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pickletools import genops
from typing import Any

import torch

MOST_DIMENSIONS, LARGEST_SIZE = 64, 2**63  # of a tensor, as in torch; larger products of sizes would take minutes
MAPS, COPIES = {"collections OrderedDict"}, {"collections Counter", "__builtin__ set", "builtins set", "torch Size"}
MOST_OPERATIONS = 400_000  # a pickle of 4000 tensors has 140,000
MOST_VALUES = 1_000_000  # in an object; shared parts count at each use
DEEPEST = 100
MOST_SHARED = 4  # largest ratio of the size of all tensors, which may share storages, to the size of all storages
STORAGES = {
    f"torch {name}Storage": size
    for name, size in {
        "Bool": 1, "Byte": 1, "Char": 1, "Short": 2, "Half": 2, "BFloat16": 2, "Int": 4, "Float": 4, "Long": 8, "Double": 8,
        "ComplexFloat": 8, "ComplexDouble": 16,
    }.items()
}  # fmt: skip
DTYPES = {f"torch {name}" for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
CALLED = MAPS | COPIES | {"torch device", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"}
PUSHED = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}


class UnsafePickleError(ValueError):
    """Report that a pickle contains operations or objects that could execute code."""


@dataclass(eq=False, slots=True)
class _Group:
    """Represent a list, dictionary, set or tuple of the pickle.

    Args:
        kind: class of the group, such as list.
        items: values of a tuple; empty for a list, dictionary or set, whose values are only counted.
        size: number of values in the group and in its nested groups.
        depth: number of nested levels of the group.
        is_part: True if the group is part of another group. Values must not be added to such a group.
    """

    kind: type
    items: tuple[Any, ...] = ()
    size: int = 1
    depth: int = 1
    is_part: bool = False

    def add(self, values: Iterable[Any]) -> "_Group":
        """Add the size of each value to the size of the group.

        Raise ValueError if the group is too large, has too many levels, or is part of another group.
        """
        if self.is_part:
            raise ValueError("the file is damaged: its pickle contains an invalid step. Copy or download the file again")
        for value in values:
            if isinstance(value, _Group):
                self.size, self.depth, value.is_part = self.size + value.size, max(self.depth, value.depth + 1), True
            else:
                self.size += 1 + (len(value) // 64 if isinstance(value, str) else 0)
        if self.is_part:
            raise ValueError("the file is damaged: a list or dictionary contains itself. Copy or download the file again")
        if self.size > MOST_VALUES:
            raise ValueError(f"the pickle of the file is too large, found {self.size} values, expected at most {MOST_VALUES}")
        if self.depth > DEEPEST:
            raise ValueError(f"the pickle of the file is nested too deeply, expected at most {DEEPEST} levels")
        return self


class _Name(str):
    """Represent a class or function of the pickle by its name."""


@dataclass(frozen=True, slots=True)
class _Storage:
    """Represent a tensor storage (memory that tensors share) by its number of elements and the bytes of one element."""

    elements: int
    item_bytes: int


class _Tensor:
    """Represent a tensor of the pickle, without its values."""


class PickleMachine:
    """Follow the operations of a pickle, as `torch._weights_only_unpickler` does, and make placeholders instead of objects.

    Args:
        entries: dictionary from the key of each tensor storage in the zip archive to the size of the storage in bytes; None if
            the file is not a zip archive.
    """

    def __init__(self, entries: dict[str, int] | None = None) -> None:
        self.entries = entries
        self.storages: dict[str, int] = {}
        self.work = self.tensor_bytes = 0

    def run(self, file: io.BytesIO) -> Any:
        """Check all operations of one pickle. A damaged pickle raises one of the exceptions in the tuple `torch_files.BROKEN`.

        Args:
            file: file at the start of the pickle.

        Returns:
            The value that the pickle describes, with placeholders instead of tensors, lists and dictionaries.

        Raises:
            UnsafePickleError: the pickle contains an operation that `torch.save` does not write.
        """
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        for operation, argument, _ in genops(file):
            self._spend(1)
            name = operation.name
            if name in PUSHED:
                self.stack.append(argument)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name in EMPTY:
                self.stack.append(_Group(EMPTY[name]))
            elif name in ACTIONS:
                ACTIONS[name](self, argument)
            elif name != "STOP":  # after which genops ends
                raise UnsafePickleError(
                    f"the file may be unsafe: its pickle contains the operation {name}, which torch.save does not write"
                )
        return self.stack.pop()

    def check_shared(self) -> None:
        """Check that the total size of all tensors is at most `MOST_SHARED` times the total size of all storages."""
        if self.tensor_bytes > MOST_SHARED * sum(self.storages.values()):
            raise ValueError(
                f"the file is damaged: its tensors need {self.tensor_bytes} bytes, "
                f"but the file stores only {sum(self.storages.values())} bytes for them"
            )

    def _spend(self, work: int) -> None:
        self.work += work
        if self.work > MOST_OPERATIONS:
            raise ValueError(f"the pickle of the file is too large, expected at most {MOST_OPERATIONS} operations")

    def _protocol(self, version: int) -> None:
        if version != 2:
            raise ValueError(f"the file was not written by torch.save: its pickle has protocol {version}, expected protocol 2")

    def _mark(self, _: None) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.marks.pop()
        return values

    def _tuple(self, values: list[Any]) -> None:
        self.stack.append(_Group(tuple, tuple(values)).add(values))

    def _short_tuple(self, count: int) -> None:
        values = [self.stack.pop() for _ in range(count)]
        self._tuple(values[::-1])

    def _append(self, values: list[Any]) -> None:
        if self.stack[-1].kind is not list:
            raise ValueError("the file is damaged: its pickle appends values to an object that is not a list")
        self.stack[-1].add(values)

    def _set_items(self, values: list[Any]) -> None:
        if self.stack[-1].kind is not dict:
            raise ValueError("the file is damaged: its pickle sets items in an object that is not a dictionary")
        if len(values) % 2:
            raise ValueError("the file is damaged: its pickle sets a key of a dictionary without a value")
        if not all(
            key is None or isinstance(key, str | int | float) for key in values[::2]
        ):  # other keys may take long to hash
            raise UnsafePickleError(
                "the file may be unsafe: a dictionary in its pickle has a key that is neither text nor a number"
            )
        self.stack[-1].add(values)

    def _put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def _global(self, name: str) -> None:
        if name not in CALLED and name not in STORAGES and name not in DTYPES:
            raise UnsafePickleError(
                f"the file may be unsafe: its pickle uses {name!r}, which is not needed for tensors and plain values"
            )
        self.stack.append(_Name(name))

    def _persistent(self, _: None) -> None:
        """Check and record the size of a tensor storage."""
        word, kind, key, _device, elements, *view = self.stack.pop().items
        size = elements * STORAGES[kind] if isinstance(kind, _Name) else -1
        if word != "storage" or not isinstance(key, str) or type(elements) is not int or size < 0 or view not in ([], [None]):
            raise ValueError("the file was not written by torch.save: its pickle describes tensor data in an unknown form")
        if self.entries is not None and self.entries[key] != size:
            raise ValueError(f"the file is damaged: the data of a tensor have {self.entries[key]} bytes, expected {size} bytes")
        if self.storages.setdefault(key, size) != size:
            raise ValueError("the file is damaged: it states two sizes for the data of the same tensor")
        self.stack.append(_Storage(elements, STORAGES[kind]))

    def _reduce(self, _: None) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        values = arguments.items if arguments.kind is tuple else None
        if not isinstance(name, _Name) or name not in CALLED or values is None:
            raise UnsafePickleError(
                "the file may be unsafe: its pickle calls an object that is not needed for tensors and plain values"
            )
        self._spend(arguments.size)
        if name in MAPS | COPIES:
            kind = dict if name in MAPS or name.endswith("Counter") else tuple
            if name in MAPS and values:
                raise ValueError("the file was not written by torch.save: its pickle creates an OrderedDict with arguments")
            items = values[0].items if values and kind is tuple else ()
            self.stack.append(_Group(kind, items).add(values))
        elif name == "torch device":
            self.stack.append(str(name))
        else:
            self._tensor(values) if name.endswith("_v2") else _parameter(*values)
            self.stack.append(_Tensor())

    def _tensor(self, values: tuple[Any, ...]) -> None:
        storage, offset, sizes, strides, _requires_grad, hooks = values
        shape, steps = sizes.items, strides.items
        if any(type(number) is not int or not 0 <= number < LARGEST_SIZE for number in (offset, *shape, *steps)):
            raise ValueError(
                "the file is damaged: a tensor has an invalid offset, size or stride, expected integers from 0 to 2**63 - 1"
            )
        if len(shape) != len(steps):
            raise ValueError(f"the file is damaged: a tensor has {len(shape)} dimensions, but {len(steps)} strides")
        if len(shape) > MOST_DIMENSIONS:
            raise ValueError(f"a tensor in the file has {len(shape)} dimensions, expected at most {MOST_DIMENSIONS}")
        _check_hooks(hooks)
        count = math.prod(shape)
        last = offset + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
        if count and (count > storage.elements or last >= storage.elements):
            raise ValueError("the file is damaged: it stores only a part of a tensor. Copy or download the file again")
        self.tensor_bytes += count * storage.item_bytes

    def _build(self, _: None) -> None:
        """Count the attributes that the pickle adds to an OrderedDict."""
        state = self.stack.pop()
        if state.kind is not dict or self.stack[-1].kind is not dict:
            raise ValueError("the file is damaged: its pickle adds attributes to an object that cannot have attributes")
        self.stack[-1].add([state])


def _parameter(data: Any, requires_grad: Any, hooks: Any) -> None:
    _check_hooks(hooks)
    if not isinstance(data, _Tensor):
        raise ValueError("the file is damaged: its pickle makes a parameter from an object that is not a tensor")


def _check_hooks(hooks: Any) -> None:
    if hooks is not None and (hooks.kind is not dict or hooks.size != 1):
        raise UnsafePickleError("the file may be unsafe: its pickle adds hooks (functions that PyTorch would call) to a tensor")


ACTIONS: dict[str, Callable[[PickleMachine, Any], None]] = {
    "PROTO": PickleMachine._protocol,
    "MARK": PickleMachine._mark,
    "TUPLE": lambda machine, _: machine._tuple(machine._since_mark()),
    "TUPLE1": lambda machine, _: machine._short_tuple(1),
    "TUPLE2": lambda machine, _: machine._short_tuple(2),
    "TUPLE3": lambda machine, _: machine._short_tuple(3),
    "APPEND": lambda machine, _: machine._append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine._append(machine._since_mark()),
    "SETITEM": lambda machine, _: machine._set_items([machine.stack.pop(), machine.stack.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine._set_items(machine._since_mark()),
    "BINPUT": PickleMachine._put,
    "LONG_BINPUT": PickleMachine._put,
    "BINGET": PickleMachine._get,
    "LONG_BINGET": PickleMachine._get,
    "GLOBAL": PickleMachine._global,
    "BINPERSID": PickleMachine._persistent,
    "REDUCE": PickleMachine._reduce,
    "BUILD": PickleMachine._build,
}
