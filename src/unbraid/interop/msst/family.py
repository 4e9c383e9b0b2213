"""Description of a network family of Music-Source-Separation-Training (MSST, github.com/ZFTurbo)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]
REMOVE = "If the option does not change the output of the network, remove it. Otherwise unbraid cannot use this model"


@dataclass(frozen=True)
class Family:
    """Describe a network family of MSST: options, tensor names, and the class in unbraid that computes the same function.

    Args:
        model_types: values of the option `--model_type` of MSST for this network.
        network: class in `unbraid.nets`, whose first argument is the number of sources.
        marks: regular expressions. In a checkpoint of the family, each expression matches the name of at least one tensor.
        arguments: function that converts the content of an MSST config file to the arguments of `network` except `sources`. The
            function raises `InputError` for an option that `network` does not support.
        guess: function that derives arguments of `network` from a checkpoint, for use without a config file. The input is a
            mapping from the MSST name of each tensor to the shape of the tensor.
        renames: pairs of a regular expression and its replacement, which convert tensor names of MSST to names of `network`.
            All pairs are applied in order.
        unused: regular expressions that match tensor names of MSST. `network` does not store these tensors.
        absent: regular expressions. In a checkpoint of the family, none of these expressions matches the name of a tensor.
        spare: regular expressions that match tensor names of `network`. MSST does not store these tensors, because the output
            does not depend on these tensors.
        options: mapping from an argument of `network` to its option in a config file, such as `model.nfft`. An argument that is
            not listed has the same name in the section `model`.
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
    options: Mapping[str, str] = field(default_factory=dict)

    def recognises(self, names: Mapping[str, Any]) -> bool:
        """Return whether a checkpoint belongs to this family.

        Args:
            names: mapping whose keys are the tensor names of the checkpoint.

        Returns:
            True if each expression of `marks` matches a tensor name, and no tensor name matches an expression of `absent`.
        """
        found, refused = (
            [any(re.search(pattern, name) for name in names) for pattern in patterns] for patterns in (self.marks, self.absent)
        )
        return all(found) and not any(refused)

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of a checkpoint to their names in `network`. Tensors whose names match `unused` are dropped.

        Args:
            tensors: dictionary from MSST name to tensor.

        Returns:
            A dictionary from name in `network` to tensor.
        """
        state = {}
        for name, tensor in tensors.items():
            if any(re.search(pattern, name) for pattern in self.unused):
                continue
            for pattern, replacement in self.renames:
                name = re.sub(pattern, replacement, name)
            state[name] = tensor
        return state
