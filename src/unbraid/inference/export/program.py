"""`torch.export`: a separator as a program of torch's own operators, which needs torch and not this project.

    program = torch.export.load("model.pt2").module(check_guards=False)
    sources = program(mixture=mixture)  # [B, C, T] -> [B, S, C, T]

Such files are written here and never read: torch evaluates expressions that they hold, so one from a stranger may do anything.
"""

import json
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
    """One file, as `write_onnx`; what it says of itself lies in it as `unbraid.json`.

    Raises:
        InputError: see `in_real_numbers`; or the network is recurrent, which torch writes frame by frame.
    """
    if any(isinstance(module, nn.RNNBase) for module in separator.modules()):
        raise InputError("torch.export writes a recurrent network frame by frame, for one length only; use format=onnx")
    graph = in_real_numbers(frozen(separator)).eval()
    inputs = example(separator, 2, separator.chunk_samples)
    try:
        with torch.no_grad():
            program = torch.export.export(graph, (), inputs, dynamic_shapes=any_size(inputs))
    except Exception as error:  # torch's own kinds, around whatever went wrong
        raise InputError(f"cannot be written as a program: {reason(error)}") from error
    torch.export.save(program, path, extra_files={FACTS: json.dumps(asdict(facts_of(separator, model)))})
