"""Rebuild what was trained: tensors of a checkpoint, and a module of the same shapes that is filled with them.

A config from someone else may describe a model of any size. So a module is first sketched on torch's `meta` device, where
tensors have shapes and no memory, and compared with the tensors of the file. Only a module that fits the file is built.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration
from torch.nn.parameter import is_lazy

from unbraid.errors import InputError
from unbraid.torch_files import read_torch_file

MOST_PARTS = 20_000  # modules, parameters and buffers of a model; the large RoFormers have 4000
LARGEST_REST = 2**30  # bytes of buffers that no file holds, such as windows
NO_CHECKPOINT = "is damaged or no checkpoint of a run"
OTHER_MODEL = "is of another model than the config describes"
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def tensors_of(checkpoint: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name; InputError if it is damaged or not a checkpoint."""
    content = read_torch_file(checkpoint, NO_CHECKPOINT)
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or any(not isinstance(name, str) for name in state):
        raise InputError(checkpoint, NO_CHECKPOINT)
    return dict(state)


def rebuilt(make: Callable[[], ModuleT], checkpoint: Path, part: str = "") -> ModuleT:
    """Build a module with the weights of a checkpoint.

    Args:
        make: builds the module that the config of the run describes.
        checkpoint: file of the run.
        part: name of the part of the task that the module is; empty for the whole task.

    Raises:
        InputError: the file is damaged or not a checkpoint, or the module does not fit it.
    """
    state = tensors_of(checkpoint)
    if part:
        state = {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")}
    return filled(make, state, checkpoint)


def filled(make: Callable[[], ModuleT], state: Mapping[str, Tensor], where: Path) -> ModuleT:
    """Build a module and fill it with tensors, after its sketch has been compared with them.

    Args:
        make: builds the module.
        state: tensors by name: those of the module and no others.
        where: file of the tensors.

    Raises:
        InputError: names or shapes differ, or the sketch is too large, see `sketched`.
    """
    own = sketched(make, where).state_dict()
    for name in own | dict(state):
        given, wanted = _shape(state.get(name)), _shape(own.get(name))
        if given != wanted:
            raise InputError(where, OTHER_MODEL, found=f"{name} {given}", expected=wanted)
    module = make()
    module.load_state_dict(state)
    return module


def sketched(make: Callable[[], ModuleT], where: object) -> ModuleT:
    """Build a module without memory for its tensors.

    Args:
        make: builds the module.
        where: file or key that describes the module.

    Raises:
        InputError: the module has too many parts, or buffers of more than `LARGEST_REST` bytes that no file holds.
    """
    with torch.device("meta"), _counted(where):
        module = make()
    stored = {*module.state_dict(keep_vars=True).values()}
    rest = sum(buffer.nbytes for buffer in module.buffers() if buffer not in stored)
    if rest > LARGEST_REST:
        raise InputError(where, "describes a model with large buffers", found=f"{rest} bytes", expected=f"{LARGEST_REST}")
    return module


def check_memory(make: Callable[[], nn.Module], where: object) -> None:
    """Check that a module fits into the memory of this machine.

    Args:
        make: builds the module.
        where: key that describes the module.

    Raises:
        InputError: it does not fit, or it has too many parts, see `sketched`.
    """
    size, memory = size_of(sketched(make, where)), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        found, expected = (f"{count / 1e9:.3g} GB" for count in (size, memory))
        raise InputError(where, "is larger than the memory of this machine", found=found, expected=f"at most {expected}")


def size_of(module: nn.Module) -> int:
    """Return the size of all parameters and buffers of a module in bytes, also of a sketch."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@contextmanager
def _counted(where: object) -> Iterator[None]:
    """Refuse models of too many parts while they are built."""
    parts = 0

    def count(module: nn.Module, name: str, part: Any) -> None:
        nonlocal parts
        parts += 1
        if parts > MOST_PARTS:
            raise InputError(where, "describes a model of too many parts", expected=f"at most {MOST_PARTS}")

    with ExitStack() as stack:
        for register in (
            registration.register_module_module_registration_hook,
            registration.register_module_parameter_registration_hook,
            registration.register_module_buffer_registration_hook,
        ):
            stack.callback(register(count).remove)
        yield


def _shape(tensor: Any) -> str:
    if tensor is None:
        return "not there"
    return str(list(tensor.shape)) if isinstance(tensor, Tensor) and not is_lazy(tensor) else f"a {type(tensor).__name__}"
