"""ONNX files: write a separator as an ONNX file, quantise the file to 8 bits, and use the file as a separator.

Other programs can run the file with onnxruntime, without PyTorch and unbraid. In unbraid, the class `OnnxSeparator` runs the
file with onnxruntime on the CPU. Before onnxruntime opens a file, `unbraid.inference.export.onnx_graph` checks that the file
cannot do harm.
"""

import json
import logging
import warnings
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
from unbraid.runs.files import refuse_missing

OPSET = 20  # the first version of the ONNX operators that has an inverse DFT over any axis


def write_onnx(separator: Separator, path: Path, model: str) -> None:
    """Write a separator as an ONNX file with 32-bit floats.

    The ONNX file accepts any batch size. It accepts any number of samples that is at least the length of the STFT window. The
    variable dimensions have the names `batch` and `samples`. An InputError is raised if the separator needs complex numbers,
    if ONNX lacks an operator of the network, or if the package onnx or onnxscript is not installed.

    Args:
        separator: separator with its trained weights, on the CPU. This function switches off the gradients of the weights.
        path: ONNX file to write.
        model: name of the model config, such as `unet`. The name is stored in the file.
    """
    _package("onnx")
    _package("onnxscript")
    graph = with_graph_lstms(in_real_numbers(frozen(separator)).eval())
    inputs = example(separator, 2, separator.chunk_samples)
    program = _traced(graph, inputs)
    sizes = program.model.graph.inputs[0].shape
    program.rename_axes({sizes[0]: "batch", sizes[2]: "samples"})
    program.model.metadata_props.update({key: json.dumps(value) for key, value in asdict(facts_of(separator, model)).items()})
    program.save(path)


def _traced(graph: nn.Module, inputs: dict[str, Tensor]) -> Any:
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # lists operators of torchvision
    logging.getLogger("onnxscript.optimizer._constant_folding").setLevel(logging.ERROR)  # lists operators that it keeps
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)  # raised within PyTorch
            return torch.onnx.export(
                graph, kwargs=inputs, dynamo=True, opset_version=OPSET, dynamic_shapes=any_size(inputs),
                output_names=["sources"], verbose=False,
            )  # fmt: skip
    except Exception as error:  # the exporter wraps all errors in classes of its own
        raise InputError("format=onnx", f"the separator cannot be exported: {reason(error)}") from error


def quantise(source: Path, path: Path) -> None:
    """Write a copy of an ONNX file in which the weights are 8-bit integers.

    The weights of matrix products, convolutions and LSTMs are quantised. Activations are quantised during inference.

    Args:
        source: ONNX file with 32-bit weights, written by `write_onnx`.
        path: ONNX file to write.
    """
    _package("onnx")
    _package("onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, path, weight_type=QuantType.QUInt8)  # onnxruntime cannot compute signed convolutions on the CPU


class OnnxSeparator(Separator):
    """Use an exported ONNX file as a separator. The separator runs on the CPU, and returns waveforms but no masks.

    Args:
        path: ONNX file, written by `write_onnx` or `quantise`.

    Raises:
        InputError: onnxruntime is not installed, the file is damaged, or the file was not exported by unbraid.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            refuse_missing(f"run={path}", path, expected="an ONNX file")
        session = _session(path)
        try:
            metadata = session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise InputError(path, "the metadata of the file are not encoded in UTF-8") from error
        facts = read_facts(metadata, path)
        super().__init__(facts.targets, facts.sample_rate, facts.channels, facts.chunk_samples / facts.sample_rate)
        self.session, self.facts, self.path, self.normalisation = session, facts, path, facts.normalisation
        inputs, outputs = ([tensor.name for tensor in ends] for ends in (session.get_inputs(), session.get_outputs()))
        if inputs != ["mixture"] or len(outputs) != 1:
            raise InputError(
                path, "the ONNX graph has the wrong inputs or outputs",
                found=f"the inputs {', '.join(inputs)} and the outputs {', '.join(outputs)}",
                expected="the input mixture and one output",
                hint="Export the run again with this version of unbraid.",
            )  # fmt: skip
        self(torch.zeros(1, self.channels, self.min_samples))  # fails if the graph does not fit the metadata

    @property
    def min_samples(self) -> int:
        """Length of the shortest input in samples, read from the metadata of the ONNX file."""
        return self.facts.min_samples

    @property
    def chunk_alignment(self) -> int:
        """Number of samples, read from the ONNX file. Each chunk of a signal must start at a multiple of this number."""
        return self.facts.chunk_alignment

    @property
    def receptive_field(self) -> int | None:
        """Number n, read from the ONNX file: an output sample depends only on n input samples before and n after its position.

        None: an output sample depends on all input samples.
        """
        return self.facts.receptive_field

    def forward(self, mixture: Tensor) -> Estimate:
        """Separate a batch of mixture chunks with onnxruntime."""
        b, c, n = mixture.shape
        sources = self._run({"mixture": mixture.float().cpu().numpy()})
        if sources.shape != (expected := (b, len(self.targets), c, n)):
            problem = "the shape of the graph's output contradicts the metadata of the file"
            raise InputError(self.path, problem, found=[*sources.shape], expected=str([*expected]), hint="Export the run again")
        return Estimate(torch.from_numpy(sources).to(mixture.device))

    def _run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        try:
            (sources,) = self.session.run(None, inputs)
            return np.asarray(sources, np.float32)
        except Exception as error:  # onnxruntime has many exception classes without a common base
            raise InputError(self.path, f"onnxruntime cannot run the graph: {reason(error)}") from error

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """Return the true sources in the form of an `Estimate`."""
        return Estimate(sources)


def _session(path: Path) -> Any:
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.load_model_format", "ONNX")  # `check_graph` checks this format only
    check_graph(path)
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many exception classes without a common base
        raise InputError(path, f"the file is damaged or is not an ONNX file: {reason(error)}") from error


def _package(name: str) -> ModuleType:
    try:
        return __import__(name)
    except ModuleNotFoundError as error:
        hint = "Install it with: pip install 'unbraid[export]'"
        raise InputError("ONNX files", f"the Python package {name} is not installed", hint=hint) from error
