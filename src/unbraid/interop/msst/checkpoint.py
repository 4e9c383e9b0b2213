"""Read checkpoints of Music-Source-Separation-Training (MSST) and of other tools that use the networks of MSST.

Only tensors are read. A file that contains other Python objects is refused, because loading such a file can run any code.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unbraid.interop.msst.families import FAMILIES
from unbraid.interop.msst.family import Family
from unbraid.interop.published import read_weights
from unbraid.runs.errors import InputError, UnsafeFileError
from unbraid.runs.weights import MOST_PARTS, check_finite

KEYS = ("state_dict", "model_state_dict", "state", "model")  # under one of these, a file stores its tensors
PREFIXES = ("model.", "module.", "_orig_mod.")  # that training code adds to the names of all tensors
CONVERT = (
    'If you trust the file, convert it in an environment with the package that wrote the file: python -c "import torch; '
    "p = torch.load('{name}', map_location='cpu', weights_only=False); torch.save({{'state': p['state']}}, 'converted.ckpt')\""
)
AMBIGUOUS = "Write a translation file, see docs/how-to/other_checkpoints.md"
TRANSLATE = (
    "Write a translation file, such as names.yaml with the lines config: config.yaml, weights: {name}, key: {key} and "
    "names: {{'{example}.**': 'nets.0.**'}}, then type run=names.yaml"
)


@dataclass(frozen=True)
class ForeignState:
    """Store the tensors of a checkpoint of another tool.

    Args:
        path: path of the checkpoint.
        tensors: dictionary from name to tensor. A common prefix of all names, such as `model.`, is removed.
        key: key under which the file stores the tensors; None: the file contains only tensors.
        prefix: prefix that was removed from all names, such as `model.`.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    key: str | None
    prefix: str


def read_foreign(path: Path) -> ForeignState:
    """Read the tensors of a checkpoint of another tool.

    Args:
        path: file of `torch.save` or safetensors file. The file contains a dictionary from name to tensor, directly or under
            one of the keys `state_dict`, `model_state_dict`, `state` and `model`.

    Returns:
        The tensors, and the key and the prefix under which the file stores the tensors.

    Raises:
        InputError: the file is damaged, has too many tensors, or contains NaN or Python objects other than tensors.
    """
    try:
        content: Mapping[str, Any] = read_weights(path)
    except UnsafeFileError as error:
        problem = "the file contains Python objects, which unbraid never loads because they can run code"
        raise InputError(path, problem, hint=CONVERT.format(name=path.name)) from error
    key = next((key for key in KEYS if isinstance(content.get(key), Mapping)), None)
    tensors = content if key is None else content[key]
    others = [str(name) for name, value in tensors.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if not tensors:
        raise InputError(path, "the file contains no tensors", expected="a dictionary from name to tensor")
    if others:
        names = ", ".join(others[:20])
        raise InputError(path, "the file contains entries that are not tensors", found=names, expected="only tensors")
    if len(tensors) > MOST_PARTS:
        raise InputError(path, "the file has too many tensors", found=len(tensors), expected=f"at most {MOST_PARTS}")
    check_finite(path, tensors)
    prefix = ""
    while found := next((p for p in PREFIXES if all(name.startswith(prefix + p) for name in tensors)), None):
        prefix += found
    return ForeignState(path, {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, key, prefix)


def family_of(state: ForeignState, families: Sequence[Family] = FAMILIES) -> Family:
    """Identify the network family of a checkpoint by the names of its tensors.

    Args:
        state: tensors of the checkpoint.
        families: families that are compared.

    Returns:
        The family.

    Raises:
        InputError: the tensor names fit no family, or fit several families.
    """
    matching = [family for family in families if family.recognises(state.tensors)]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join([*state.tensors][:5])
    if matching:
        found = ", ".join(family.network.__name__ for family in matching)
        raise InputError(state.path, "the tensors fit several networks", found=found, hint=AMBIGUOUS)
    example = state.prefix.rstrip(".") or names.partition(".")[0]
    raise InputError(
        state.path, "the names of the tensors are not those of a network that unbraid knows", found=f"{names}, …",
        expected=f"a checkpoint of {', '.join(name for family in families for name in family.model_types)}",
        hint=TRANSLATE.format(name=state.path.name, key=state.key or "null", example=example),
    )  # fmt: skip


def separator_tensors(state: ForeignState) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint with the names that these tensors have in a `WaveformSeparator`."""
    return {f"net.{name}": tensor for name, tensor in family_of(state).renamed(state.tensors).items()}


def with_spare(state: ForeignState, tensors: Mapping[str, Tensor], separator: nn.Module) -> dict[str, Tensor]:
    """Complete the tensors of a checkpoint. Checkpoints of other tools lack some tensors of the networks in unbraid.

    The missing tensors are copied from the separator. The output of the network does not depend on these tensors.

    Args:
        state: tensors of the checkpoint.
        tensors: result of `separator_tensors`: a dictionary from name in the separator to tensor.
        separator: separator that receives the tensors.

    Returns:
        The given tensors, and copies of the missing tensors from the separator.
    """
    spare = family_of(state).spare
    own = {name: torch.clone(tensor) for name, tensor in separator.state_dict().items()}
    return {name: tensor for name, tensor in own.items() if any(re.search(p, name.removeprefix("net.")) for p in spare)} | dict(
        tensors
    )
