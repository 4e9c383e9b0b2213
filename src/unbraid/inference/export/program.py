"""Write a separator as a `.pt2` file, a program of `torch.export`.

The program runs with PyTorch and without unbraid:

    program = torch.export.load("model.pt2").module(check_guards=False)
    sources = program(mixture=mixture)  # [B, C, T] -> [B, S, C, T]

unbraid loads a `.pt2` file only to check it, immediately after writing it. PyTorch evaluates expressions in a `.pt2` file, so a
file from another person could run any code.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from unbraid.inference.export.facts import facts_of
from unbraid.inference.export.graphs import any_size, example, frozen, in_real_numbers, reason
from unbraid.models.separators.base import Separator
from unbraid.runs.errors import InputError

FACTS = "unbraid.json"


def write_program(separator: Separator, path: Path, model: str) -> None:
    """Write a separator as a `.pt2` file, which also contains the metadata of the separator as `unbraid.json`.

    Args:
        separator: separator with its trained weights, on the CPU. The gradients of the weights are switched off.
        path: `.pt2` file to write.
        model: name of the model config, such as `unet`. The name is stored in the metadata.

    Raises:
        InputError: the separator needs complex numbers, the network is recurrent, or PyTorch cannot export the network.
    """
    if any(isinstance(module, nn.RNNBase) for module in separator.modules()):
        problem = "the network of this run is recurrent, so torch.export can only store the network for one signal length"
        raise InputError("format=torch_export", problem, hint="Use format=onnx.")
    graph = in_real_numbers(frozen(separator)).eval()
    inputs = example(separator, 2, separator.chunk_samples)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)  # raised within PyTorch
            program = torch.export.export(graph, (), inputs, dynamic_shapes=any_size(inputs))
    except Exception as error:  # the exporter wraps all errors in classes of its own
        raise InputError("format=torch_export", f"the separator cannot be exported: {reason(error)}") from error
    with path.open("wb") as file, warnings.catch_warnings():  # an open file may have any name
        warnings.filterwarnings("ignore", "No complete tensor found", UserWarning)  # only for weights on a GPU
        torch.export.save(program, file, extra_files={FACTS: json.dumps(asdict(facts_of(separator, model)))})


def written_program(path: Path) -> Callable[..., torch.Tensor]:
    """Load a `.pt2` file that this process has just written, to compare it with the separator.

    Args:
        path: `.pt2` file of `write_program`. A file from another person could run any code.

    Returns:
        The program, a function from `mixture` of the shape [B, C, T] to the sources of the shape [B, S, C, T].
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)  # PyTorch does not write to it
        return torch.export.load(file).module(check_guards=False)
