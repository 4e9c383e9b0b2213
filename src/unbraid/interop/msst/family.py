"""Description of a network family of Music-Source-Separation-Training (MSST, github.com/ZFTurbo)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Family:
    """Store how a network family is configured and named in MSST, and which class of unbraid computes the same function.

    Args:
        model_types: values of the option `--model_type` of MSST for this network.
        network: class in `unbraid.nets`, whose first argument is the number of sources.
        marks: regular expressions. A checkpoint belongs to the family if each of them matches the name of a tensor.
        arguments: function that converts the content of an MSST config file to the arguments of `network` except `sources`.
            It raises `InputError` for an option that `network` does not support.
        guess: function that returns the arguments of `network` that can be derived from the shapes of the tensors in a
            checkpoint, by their names in MSST. It is used if no config file is given.
        renames: pairs of a regular expression and its replacement, which convert tensor names of MSST to names of `network`.
            All pairs are applied in order.
        unused: regular expressions of the MSST names of tensors that `network` does not store, such as constant windows.
        absent: regular expressions. A checkpoint with a tensor whose name matches one of them belongs to another family.
        spare: regular expressions of names in `network` that MSST does not store. The output does not depend on these tensors.
    """

    model_types: tuple[str, ...]
    network: type[nn.Module]
    marks: tuple[str, ...]
    arguments: Callable[[Mapping[str, Any]], dict[str, Any]]
    guess: Callable[[Shapes], dict[str, Any]]
    renames: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()

    def recognises(self, names: Mapping[str, Any]) -> bool:
        """Return whether tensor names of a checkpoint belong to this family.

        Args:
            names: content of the checkpoint by tensor name.

        Returns:
            True if each mark matches a name, and no name matches a regular expression of `absent`.
        """
        found, refused = (
            [any(re.search(pattern, name) for name in names) for pattern in patterns] for patterns in (self.marks, self.absent)
        )
        return all(found) and not any(refused)

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of a checkpoint to their names in `network`, without the unused tensors.

        Args:
            tensors: tensors by their names in MSST.

        Returns:
            Tensors by their names in `network`.
        """
        state = {}
        for name, tensor in tensors.items():
            if any(re.search(pattern, name) for pattern in self.unused):
                continue
            for pattern, replacement in self.renames:
                name = re.sub(pattern, replacement, name)
            state[name] = tensor
        return state
