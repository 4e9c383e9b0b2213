"""Load weights into a separator whose targets have another order or number than the targets of the weights.

Some parts of the separator belong to one target. Such a part gets the weights of the target with the same name. To find these
parts, the separator is built twice: with two and with three targets. If a module list has one more entry in the second case,
the list contains a network for each target. If an axis of a tensor is longer in the second case, the axis contains a block of
the same length for each target.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from unbraid.models.separators.base import Separator

PROBES = ("probe a", "probe b", "probe c")
RESIDUAL = object()  # name of the block for the rest of the mixture, which some networks estimate in addition to the targets


@dataclass(frozen=True)
class SourceParts:
    """Store which tensors of a separator depend on the targets.

    Args:
        lists: name prefixes of the module lists that have one entry for each target, such as `nets.`.
        axes: dictionary from the name of a tensor to the pair (axis, block length). Along this axis, the tensor contains one
            block for each target.
    """

    lists: tuple[str, ...]
    axes: Mapping[str, tuple[int, int]]


def parts_of(make: Callable[[Sequence[str]], nn.Module]) -> SourceParts:
    """Find the tensors of a separator that depend on the number of targets.

    Args:
        make: function that builds the separator with the given names of targets.

    Returns:
        The module lists and the tensors that depend on the targets.
    """
    few, many = ({name: tensor.shape for name, tensor in make(PROBES[:n]).state_dict().items()} for n in (2, 3))
    lists = set[str]()
    for name in many.keys() - few.keys():
        words = name.split(".")
        for place, word in enumerate(words):
            if word == "2" and ".".join([*words[:place], "0", *words[place + 1 :]]) in few:
                lists.add("".join(f"{part}." for part in words[:place]))
                break
    axes = {}
    for name in few.keys() & many.keys():
        differing = [axis for axis, (a, b) in enumerate(zip(few[name], many[name], strict=True)) if a != b]
        if len(differing) == 1:
            axes[name] = differing[0], many[name][differing[0]] - few[name][differing[0]]
    return SourceParts(tuple(sorted(lists)), axes)


def matched(
    given: Mapping[str, Tensor], separator: Separator, theirs: Sequence[str], make: Callable[[Sequence[str]], nn.Module]
) -> tuple[dict[str, Tensor], set[str]]:
    """Rename and reorder tensors so that each target of a separator gets the weights of the target with the same name.

    Args:
        given: dictionary from name to tensor, from a separator of the same kind with other targets.
        separator: separator that receives the tensors.
        theirs: names of the targets of the given tensors.
        make: function that builds the separator with the given names of targets.

    Returns:
        A dictionary from name in the separator to tensor, and the names of the tensors that contain a new target (a target
        without given weights). A new target keeps the values of the separator.
    """
    parts, result, new = parts_of(make), dict[str, Tensor](), set[str]()
    numbers = {theirs.index(target): number for number, target in enumerate(separator.targets) if target in theirs}
    own = separator.state_dict()
    for name, tensor in given.items():
        prefix = next((p for p in parts.lists if name.startswith(p)), None)
        if prefix is None:
            result[name] = tensor
            continue
        number, _, rest = name.removeprefix(prefix).partition(".")
        if number.isdigit() and int(number) in numbers:
            result[f"{prefix}{numbers[int(number)]}.{rest}"] = tensor
    known = {f"{prefix}{number}." for prefix in parts.lists for number in numbers.values()}
    new |= (
        {name for name in own if name.startswith(parts.lists) and not name.startswith(tuple(known))} if parts.lists else set()
    )
    for name, (axis, block) in parts.axes.items():
        if name in result and name in own:
            assigned = _assigned(result[name], own[name], axis, block, theirs, separator.targets)
            if assigned is not None:
                result[name] = assigned
                new |= {name} if {*separator.targets} - {*theirs} else set()
    return result, new


def _assigned(given: Tensor, own: Tensor, axis: int, block: int, theirs: Sequence[str], ours: Sequence[str]) -> Tensor | None:
    """Copy `own`, and replace the blocks of all targets that are in both `theirs` and `ours` by the blocks in `given`.

    The result is None if the shapes do not fit.
    """
    if given.ndim != own.ndim or given.shape[axis] % block or own.shape[axis] % block:
        return None
    if any(a != b for place, (a, b) in enumerate(zip(given.shape, own.shape, strict=True)) if place != axis):
        return None
    blocks, slots = given.split(block, axis), own.clone()
    if len(blocks) < len(theirs) or slots.shape[axis] // block < len(ours):
        return None
    names: list[object] = [*theirs, *[RESIDUAL] * (len(blocks) - len(theirs))]
    for number, target in enumerate([*ours, *[RESIDUAL] * (slots.shape[axis] // block - len(ours))]):
        if target in names:
            slots.narrow(axis, number * block, block).copy_(blocks[names.index(target)])
    return slots
