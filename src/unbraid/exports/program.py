"""`torch.export`: a separator as a program of torch's own operators, complex ones among them, which needs torch and not this project.

    program = torch.export.load("model.pt2").module()
    sources = program(mixture=mixture)  # [B, C, T] -> [B, S, C, T]

Such files are written here and never read: torch evaluates expressions that they hold, so one from a stranger may do anything.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch

from unbraid.errors import InputError
from unbraid.exports.facts import facts_of
from unbraid.exports.graphs import Whole, any_size, check_graph, example, frozen, reason
from unbraid.separators import Separator

FACTS = "unbraid.json"


def write_program(separator: Separator, path: Path, model: str) -> None:
    """One file, as `write_onnx`; what it says of itself lies in it as `unbraid.json`.

    Raises:
        InputError: the separator decides in a way that no graph can.
    """
    check_graph(separator)
    inputs = example(separator, 2, separator.chunk_samples)
    try:
        with torch.no_grad():
            program = torch.export.export(Whole(frozen(separator)), (), inputs, dynamic_shapes=any_size(inputs))
    except Exception as error:  # torch's own kinds, around whatever went wrong
        raise InputError(f"cannot be written as a program: {reason(error)}") from error
    torch.export.save(program, path, extra_files={FACTS: json.dumps(asdict(facts_of(separator, model)))})
