"""ONNX files: a separator written as one, in 32-bit floats or with 8-bit weights, and one read as a separator.

They run in onnxruntime, on any machine and without torch; what is read here runs on the CPU. Reading executes nothing but the
operators of onnxruntime itself, and none that repeats others, see `unbraid.inference.export.onnx_graph`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unbraid.inference.export.facts import facts_of, read_facts
from unbraid.inference.export.graphs import any_size, example, frozen, in_real_numbers, reason
from unbraid.inference.export.onnx_graph import check_graph
from unbraid.inference.export.recurrent import with_graph_lstms
from unbraid.models.separators.base import Estimate, Separator
from unbraid.runs.errors import InputError

OPSET = 20  # the first with an inverse DFT over any axis


def write_onnx(separator: Separator, path: Path, model: str) -> None:
    """One file for batches and chunks of any size from the transform's window on.

    Args:
        separator: with its weights, on the CPU; it is frozen.
        path: of the file.
        model: name of the choice on the command line, for the record.

    Raises:
        InputError: see `in_real_numbers`; or a package is not installed, or the network has operators that ONNX lacks.
    """
    _package("onnx")
    _package("onnxscript")
    graph = with_graph_lstms(in_real_numbers(frozen(separator)).eval())
    inputs = example(separator, 2, separator.chunk_samples)
    program = _traced(graph, inputs)
    program.model.metadata_props.update({key: json.dumps(value) for key, value in asdict(facts_of(separator, model)).items()})
    program.save(path)


def _traced(graph: nn.Module, inputs: dict[str, Tensor]) -> Any:
    try:
        with torch.no_grad():
            return torch.onnx.export(
                graph, kwargs=inputs, dynamo=True, opset_version=OPSET, dynamic_shapes=any_size(inputs),
                output_names=["sources"], verbose=False,
            )  # fmt: skip
    except Exception as error:  # the exporter's own kinds, around whatever went wrong in one of its steps
        raise InputError(f"cannot be written as a graph: {reason(error)}") from error


def quantise(source: Path, path: Path) -> None:
    """Weights of matrix products, convolutions and LSTMs as 8-bit integers, activations scaled as they come.

    Args:
        source: a file of `write_onnx`.
        path: of what is written.
    """
    _package("onnx")
    _package("onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, path, weight_type=QuantType.QUInt8)  # of convolutions the CPU knows the unsigned kind only


class OnnxSeparator(Separator):
    """An exported file in the place of a separator; on the CPU, and without the masks of its own.

    Args:
        path: of the file.

    Raises:
        InputError: onnxruntime is not installed; the file is damaged, no ONNX, or no separator that was exported here.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"run={path}: no such file")
        session = _session(path)
        facts = read_facts(session.get_modelmeta().custom_metadata_map, path)
        super().__init__(facts.targets, facts.sample_rate, facts.channels, facts.chunk_samples / facts.sample_rate)
        self.session, self.facts, self.path = session, facts, path
        inputs, outputs = ([one.name for one in ends] for ends in (session.get_inputs(), session.get_outputs()))
        if inputs != ["mixture"] or len(outputs) != 1:
            raise InputError(
                path, "is another graph", found=f"{', '.join(inputs)} to {', '.join(outputs)}", expected="mixture to sources",
                hint="Files of earlier versions have the input level: export the run again.",
            )  # fmt: skip
        self(torch.zeros(1, self.channels, self.min_samples))  # what the file says of itself may not be what its graph does

    @property
    def min_samples(self) -> int:
        return self.facts.min_samples

    @property
    def chunk_alignment(self) -> int:
        return self.facts.chunk_alignment

    @property
    def receptive_field(self) -> int | None:
        return self.facts.receptive_field

    def forward(self, mixture: Tensor) -> Estimate:
        b, c, n = mixture.shape
        sources = self._run({"mixture": mixture.float().cpu().numpy()})
        if sources.shape != (expected := (b, len(self.targets), c, n)):
            raise InputError(
                f"{self.path}: its graph gives {[*sources.shape]}, expected {[*expected]} of what it says of itself"
            )
        return Estimate(torch.from_numpy(sources).to(mixture.device))

    def _run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        try:
            (sources,) = self.session.run(None, inputs)
            return np.asarray(sources, np.float32)
        except Exception as error:  # of onnxruntime's own kinds, one for each way a graph can go wrong
            raise InputError(f"{self.path}: its graph cannot be run: {reason(error)}") from error

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        return Estimate(sources)


def _session(path: Path) -> Any:
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.load_model_format", "ONNX")  # the format that is checked
    check_graph(path)
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of its own kinds, one for each way a file can be damaged
        raise InputError(f"{path}: is damaged or no ONNX file: {reason(error)}") from error


def _package(name: str) -> ModuleType:
    try:
        return __import__(name)
    except ModuleNotFoundError as error:
        raise InputError(f"format=onnx needs the package {name}: pip install 'unbraid[export]'") from error
