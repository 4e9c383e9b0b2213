"""Rebuild what was trained: tensors of a checkpoint, and a module of the same shapes that is filled with them.

A config from someone else may describe a model of any size. So the tensors and parts of a model are counted while it is built,
and a model that is much larger than its file is refused before memory is taken.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from unbraid.runs.errors import InputError
from unbraid.runs.torch_files import read_torch_file

MOST_PARTS = 10_000  # modules, parameters and buffers of a model; the large RoFormers have 2000
SPARE = 2**30  # bytes for windows, filters and other tensors that no file holds
BYTES = 4  # of an element, at least
AREAS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye}  # their arguments are sizes
LINES = {torch.arange, torch.linspace, torch.hann_window}
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
    """Build a module and fill it with tensors.

    Args:
        make: builds the module.
        state: tensors by name: those of the module and no others.
        where: file of the tensors.

    Raises:
        InputError: names or shapes differ, or the module is much larger than the tensors.
    """
    with limited_size(where, sum(tensor.nbytes for tensor in state.values() if isinstance(tensor, Tensor))):
        module = make()
    own = module.state_dict()
    for name in own | dict(state):
        given, wanted = _shape(state.get(name)), _shape(own.get(name))
        if given != wanted:
            raise InputError(where, OTHER_MODEL, found=f"{name} {given}", expected=wanted)
    module.load_state_dict(state)
    return module


@contextmanager
def limited_size(where: object, size: int) -> Iterator[None]:
    """Limit the size of the model that is built meanwhile.

    Args:
        where: file or key that describes the model.
        size: memory of its weights, in bytes; `SPARE` more is granted to what is built on the way.

    Raises:
        InputError: the model needs more, or has more than `MOST_PARTS` modules, parameters and buffers.
    """
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
        yield stack.enter_context(_Allowance(where, size + SPARE))


class _Allowance(TorchFunctionMode):
    """Counts the memory of new tensors before torch takes it.

    Args:
        where: file or key that describes the model.
        size: memory that is allowed, in bytes.
    """

    def __init__(self, where: object, size: int) -> None:
        super().__init__()
        self.where, self.size, self.taken = where, size, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in AREAS or func in LINES:
            given = args[0] if args and isinstance(args[0], Sequence) else kwargs.get("size", args)
            sizes = [int(number) for number in given if isinstance(number, int | float)]
            self.taken += BYTES * (math.prod(sizes) if func in AREAS else max(sizes, default=0))
            if self.taken > self.size:
                found, expected = (f"{size / 1e9:.3g} GB" for size in (self.taken, self.size))
                raise InputError(self.where, "describes too large a model", found=found, expected=f"at most {expected}")
        return func(*args, **kwargs)


def _shape(tensor: Any) -> str:
    if tensor is None:
        return "not there"
    return str(list(tensor.shape)) if isinstance(tensor, Tensor) and not is_lazy(tensor) else f"a {type(tensor).__name__}"
