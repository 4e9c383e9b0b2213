"""Rebuild a trained model from its config and the tensors of its checkpoint.

An untrusted config may describe a model of any size. Therefore, the memory and the number of modules and tensors are counted
while a model is built. If the model is much larger than its checkpoint, `InputError` is raised before the memory is allocated.
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
MOST_PARTS_PER_TENSOR, SPARE_PARTS = 10, 1000  # the separators have 2 to 3 for each tensor
SPARE = 2**30  # bytes for windows, filters and other tensors that are not in the checkpoint
ELEMENT_BYTES = 4
AREAS = {
    torch.empty,
    torch.zeros,
    torch.ones,
    torch.full,
    torch.rand,
    torch.randn,
    torch.eye,
}  # functions whose arguments are a shape
LINES = {torch.arange, torch.linspace, torch.hann_window}  # functions with a number of elements as argument
CHECKPOINT = "the checkpoint of a run"
ADAPTER = ".lora_A.default."  # part of the names of the matrices of LoRA in the package peft
NOT_FINITE = "the tensors contain NaN or infinity"
MOST_LISTED = 1000  # names of tensors in an error message
OTHER_MODEL = "the tensors in the file do not fit the model that the config describes"
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def tensors_of(
    checkpoint: Path, merge: bool = True, pick: Callable[[Any], Mapping[str, Any]] | None = None
) -> dict[str, Tensor]:  # fmt: skip
    """Read the tensors of a checkpoint file.

    Args:
        checkpoint: path of the checkpoint.
        merge: True to add the matrices of LoRA to the weights of the layers. The tensors then have the same names as in a model
            that was trained without LoRA. False to keep the matrices of LoRA as separate tensors.
        pick: function that returns other tensors in the content of the checkpoint, such as an average of the weights. None: the
            trained weights.

    Returns:
        A dictionary from name to tensor.

    Raises:
        InputError: the file is damaged or is not a checkpoint.
    """
    content = read_torch_file(checkpoint, CHECKPOINT)
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if isinstance(state, Mapping) and pick is not None:
        state = pick(content)
    if not isinstance(state, Mapping) or any(not isinstance(name, str) for name in state):
        raise InputError(checkpoint, f"the file is damaged or is not {CHECKPOINT}")
    if not merge or not any(ADAPTER in name for name in state):
        return dict(state)
    task = content.get("task")
    lora = task.get("lora") if isinstance(task, Mapping) else None
    if not isinstance(lora, Mapping) or not all(
        isinstance(lora.get(key), float) and lora[key] > 0 for key in ("rank", "alpha")
    ):
        raise InputError(checkpoint, "the checkpoint is damaged: it contains matrices of LoRA without their rank and alpha")
    return merged(state, lora["alpha"] / lora["rank"], checkpoint)


def merged(state: Mapping[str, Tensor], scale: float, where: object) -> dict[str, Tensor]:
    """Add the product of both LoRA (low-rank adaptation) matrices of each layer to the weight of the layer.

    Args:
        state: dictionary from name to tensor. The names have the form that the package peft uses.
        scale: factor by which the product of the matrices is multiplied.
        where: file of the tensors, for error messages.

    Returns:
        A dictionary from name to tensor, with the same names as in a model that was trained without LoRA.

    Raises:
        InputError: the shapes of the matrices of a layer do not fit the weight of the layer.
    """
    plain = {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}
    for name in (name for name in state if name.endswith(f"{ADAPTER}weight")):
        layer = name.removesuffix(f"{ADAPTER}weight")
        down, up, weight = state[name], state.get(f"{layer}.lora_B.default.weight"), plain.get(f"{layer}.weight")
        if not (isinstance(down, Tensor) and isinstance(up, Tensor) and isinstance(weight, Tensor)) or (
            up.shape[:2] != (len(weight), len(down)) or up[0, 0].numel() != 1 or down.shape[1:] != weight.shape[1:]
        ):
            raise InputError(where, "the checkpoint is damaged: the matrices of LoRA do not fit a layer", found=layer)
        product = torch.einsum("or,r...->o...", up.flatten(1), down)
        plain[f"{layer}.weight"] = weight + scale * product
    return plain


def rebuilt(make: Callable[[], ModuleT], checkpoint: Path, part: str = "") -> ModuleT:
    """Build a module, and load the weights of a checkpoint into the module.

    A damaged checkpoint, or the checkpoint of another model, raises `InputError`.

    Args:
        make: function that builds the module from the config of the run.
        checkpoint: path of the checkpoint.
        part: name of the module in the saved task (LightningModule), such as `separator`; empty if the module is the whole
            task.

    Returns:
        The module with the weights of the checkpoint.
    """
    state = tensors_of(checkpoint)
    if part:
        state = {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")}
    return filled(make, state, checkpoint)


def filled(make: Callable[[], ModuleT], state: Mapping[str, Tensor], where: Path) -> ModuleT:
    """Build a module and load tensors into it.

    InputError is raised if the names or shapes of the tensors do not fit the module, or if the module is much larger than all
    tensors together.

    Args:
        make: function that builds the module.
        state: dictionary from name to tensor, as in the state dict of the module.
        where: file that contains the tensors, for error messages.

    Returns:
        The module with these tensors.
    """
    with limited_size(where, memory_of(state), len(state)):
        module = make()
    fill(module, state, where)
    return module


def memory_of(state: Mapping[str, Any]) -> int:
    """Return the memory in bytes that the tensors in a state dict need as 32-bit floats."""
    return ELEMENT_BYTES * sum(tensor.numel() for tensor in state.values() if isinstance(tensor, Tensor))


def fill(module: nn.Module, state: Mapping[str, Tensor], where: Path) -> None:
    """Load tensors into a module.

    InputError is raised if a name or a shape does not fit the module, or if a tensor contains NaN or infinity.

    Args:
        module: module that receives the tensors.
        state: dictionary from name to tensor, as in the state dict of the module.
        where: file of the tensors, for error messages.
    """
    if wrong := misfits(state, module.state_dict()):
        refuse_misfits(where, OTHER_MODEL, wrong)
    check_finite(where, state)
    module.load_state_dict(state)


def misfits(state: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Find the tensors that do not fit a module, because the name or the shape differs.

    Args:
        state: dictionary from name to tensor, for example of a checkpoint.
        expected: state dict of the module.

    Returns:
        A dictionary whose keys are the names of the tensors that do not fit. Each value is a pair of texts: the found shape and
        the expected shape. For a missing tensor, the text is `missing`.
    """
    shapes = {name: (_shape(state.get(name)), _shape(expected.get(name))) for name in dict(expected) | dict(state)}
    return {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}


def refuse_misfits(
    where: object, problem: str, wrong: Mapping[str, tuple[str, str]], hint: str = "", most: int = MOST_LISTED
) -> None:  # fmt: skip
    """Raise an error that lists the tensors that do not fit a module.

    Args:
        where: file of the tensors.
        problem: description of the fault.
        wrong: result of `misfits`, with at least one tensor.
        hint: action that the user can take.
        most: largest number of listed tensors.

    Raises:
        InputError: always.
    """
    (name, (found, expected)), *others = wrong.items()
    if not others:
        raise InputError(where, problem, found=f"{name} {found}", expected=expected, hint=hint)
    listed = [f"{name} {found} instead of {expected}" for name, (found, expected) in wrong.items()]
    more = f"; and {len(listed) - most} more" if len(listed) > most else ""
    raise InputError(where, problem, found=f"{len(listed)} tensors: {'; '.join(listed[:most])}{more}", hint=hint)


def check_finite(where: object, state: Mapping[str, Any]) -> None:
    """Check that tensors contain neither NaN nor infinity.

    Args:
        where: file of the tensors, for error messages.
        state: dictionary from name to tensor.

    Raises:
        InputError: a tensor contains NaN or infinity.
    """
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor) and tensor.is_floating_point()}
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise InputError(where, NOT_FINITE, found=", ".join(broken[:MOST_LISTED]), expected="finite numbers")


@contextmanager
def limited_size(where: object, size: int, tensors: int = MOST_PARTS) -> Iterator[None]:
    """Limit the size of the model that the `with` block builds.

    If the model needs too much memory, or has too many modules, parameters and buffers, `InputError` is raised.

    Args:
        where: file or key that describes the model, for error messages.
        size: memory of the weights, in bytes. The model may need up to `SPARE` bytes more, for tensors that are not weights.
        tensors: number of tensors of the weights. The model may have `MOST_PARTS_PER_TENSOR` times as many modules, parameters
            and buffers, and `SPARE_PARTS` more, but at most `MOST_PARTS`.

    Yields:
        None.
    """
    parts, most = 0, min(MOST_PARTS, MOST_PARTS_PER_TENSOR * tensors + SPARE_PARTS)

    def count(module: nn.Module, name: str, part: Any) -> None:
        nonlocal parts
        parts += 1
        if parts > most:
            raise InputError(where, "the model has too many modules and tensors", expected=f"at most {most}")

    with ExitStack() as stack:
        for register in (
            registration.register_module_module_registration_hook,
            registration.register_module_parameter_registration_hook,
            registration.register_module_buffer_registration_hook,
        ):
            stack.callback(register(count).remove)
        yield stack.enter_context(_Allowance(where, size + SPARE))


class _Allowance(TorchFunctionMode):
    """Count the memory of new tensors, and raise InputError before torch allocates more than a limit.

    Args:
        where: file or key that describes the model, for error messages.
        size: memory limit, in bytes.
    """

    def __init__(self, where: object, size: int) -> None:
        super().__init__()
        self.where, self.size, self.taken = where, size, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in AREAS or func in LINES:
            given = args[0] if args and isinstance(args[0], Sequence) else kwargs.get("size", args)
            sizes = [int(number) for number in given if isinstance(number, int | float)]
            self.taken += ELEMENT_BYTES * (math.prod(sizes) if func in AREAS else max(sizes, default=0))
            if self.taken > self.size:
                found, expected = (f"{size / 1e9:.3g} GB" for size in (self.taken, self.size))
                raise InputError(
                    self.where,
                    "the model needs too much memory for its weights file",
                    found=found,
                    expected=f"at most {expected}",
                )
        return func(*args, **kwargs)


def _shape(tensor: Any) -> str:
    if tensor is None:
        return "missing"
    return str(list(tensor.shape)) if isinstance(tensor, Tensor) and not is_lazy(tensor) else f"a {type(tensor).__name__}"


def named_checkpoint(run: Path, asked: str) -> Path:
    """Return the path of a checkpoint of a run, see `checkpoint_path`, even if the file does not exist."""
    return run / "checkpoints" / f"{asked}.ckpt" if asked in ("best", "last") else Path(asked).expanduser()


def checkpoint_path(run: Path, asked: str) -> Path:
    """Return the path of a checkpoint file of a run.

    Args:
        run: run folder.
        asked: `best`, `last` or a file path.

    Returns:
        The path of the existing file.

    Raises:
        InputError: the file does not exist.
    """
    path = named_checkpoint(run, asked)
    if not path.is_file():
        names = ", ".join(sorted(p.name for p in run.glob("checkpoints/*.ckpt"))) or "none"
        raise InputError(
            f"checkpoint={asked}", f"the checkpoint file {path} does not exist", hint=f"Checkpoints of the run: {names}."
        )
    return path
