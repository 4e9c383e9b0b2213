"""Tests of ONNX files with loops in their graph or with wrong sizes of tensors."""

import json

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from unbraid.inference.export.onnx_graph import check_graph  # noqa: E402
from unbraid.runs.errors import InputError  # noqa: E402

FLOAT = TensorProto.FLOAT
FACTS = {
    "sample_rate": 8000, "channels": 1, "targets": ["vocals"], "chunk_samples": 8000, "min_samples": 100,
    "chunk_alignment": 1, "receptive_field": None,
    "normalisation": "none", "settings": {}, "model": "unet", "unbraid": "0",
}  # fmt: skip


def value(name, shape=("b", 1, "n"), kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, number, kind=np.int64):
    return numpy_helper.from_array(np.array(number, kind), name)


def model(nodes, initializers=(), functions=(), **more):
    outputs = [value("sources", ("b", 1, 1, "n"))]
    graph = helper.make_graph(nodes, "g", [value("mixture")], outputs, [*initializers], **more)
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("own", 1)], functions=functions
    )
    made.ir_version = 10
    helper.set_model_props(made, {key: json.dumps(fact) for key, fact in FACTS.items()})
    return made


def body(name="body"):
    state = [value("i", (), TensorProto.INT64), value("go", (), TensorProto.BOOL), value("x", None)]
    nodes = [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Sin", ["x"], ["y"])]
    return helper.make_graph(nodes, name, state, [value("again", (), TensorProto.BOOL), value("y", None)])


def unsqueezed(name):
    return helper.make_node("Unsqueeze", [name, "one"], ["sources"])


def loop(turns=1 << 62):
    nodes = [helper.make_node("Loop", ["turns", "go", "mixture"], ["looped"], body=body()), unsqueezed("looped")]
    return model(nodes, [constant("turns", turns), constant("go", True, np.bool_), constant("one", [1])])


def branches():
    branch = helper.make_graph([helper.make_node("Identity", ["mixture"], ["z"])], "b", [], [value("z", None)])
    nodes = [helper.make_node("If", ["go"], ["chosen"], then_branch=branch, else_branch=branch), unsqueezed("chosen")]
    return model(nodes, [constant("go", True, np.bool_), constant("one", [1])])


def scan():
    inner = helper.make_graph([helper.make_node("Sin", ["s"], ["t"])], "s", [value("s", None)], [value("t", None)])
    return model([helper.make_node("Scan", ["mixture"], ["scanned"], body=inner, num_scan_inputs=1), unsqueezed("scanned")])


def function():
    nodes = [helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body())]
    made = helper.make_function("own", "Sleep", ["x", "turns"], ["y"], nodes, [helper.make_opsetid("", 20)])
    call = helper.make_node("Sleep", ["mixture", "turns"], ["looped"], domain="own")
    return model([call, unsqueezed("looped")], [constant("turns", 1 << 62), constant("one", [1])], [made])


def sparse():
    values = helper.make_tensor("huge", FLOAT, [1], [1.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
    tensor = helper.make_sparse_tensor(values, indices, [1 << 40])
    return model([unsqueezed("mixture")], [constant("one", [1])], sparse_initializer=[tensor])


def elsewhere():
    tensor = constant("one", [1])
    onnx.external_data_helper.set_external_data(tensor, "../../../etc/passwd")
    return model([unsqueezed("mixture")], [tensor])


def constant_elsewhere():
    tensor = constant("one", [1])
    onnx.external_data_helper.set_external_data(tensor, "/dev/zero")
    return model([helper.make_node("Constant", [], ["one"], value=tensor), unsqueezed("mixture")])


MODELS = [loop, branches, scan, function, sparse, elsewhere, constant_elsewhere]


def plain():
    return model([unsqueezed("mixture")], [constant("one", [1])])


@pytest.mark.parametrize("make", MODELS)
def test_graphs_with_subgraphs_are_refused(tmp_path, make):
    (tmp_path / "x.onnx").write_bytes(make().SerializeToString())
    with pytest.raises(InputError) as error:
        check_graph(tmp_path / "x.onnx")
    assert error.value.found


@pytest.mark.parametrize(
    "content",
    [
        plain().SerializeToString() + loop().SerializeToString(),  # readers merge the two
        plain().SerializeToString() + b"\xba\x80\x80\x80\x10\x02\x0a\x00",  # a number of 35 bits whose last 32 are a graph
        plain().SerializeToString()[:-3],
        b"",
        b"\xff" * 100,
        b"\x3b" * 1000,
        b"\x0a\x00" * 1_100_000,
    ],
    ids=["merged", "long number", "cut off", "empty", "endless number", "groups", "many fields"],
)
def test_ambiguous_files_are_refused(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(InputError):
        check_graph(tmp_path / "x.onnx")


def test_a_plain_graph_passes(tmp_path):
    (tmp_path / "x.onnx").write_bytes(plain().SerializeToString())
    check_graph(tmp_path / "x.onnx")


@pytest.mark.slow
def test_loading_does_not_run_a_loop(limited, tmp_path):
    paths = []
    for make in (loop, function, plain):
        paths.append(tmp_path / f"{make.__name__}.onnx")
        paths[-1].write_bytes(make().SerializeToString())
    code = (
        "import sys, unbraid\nfor path in sys.argv[1:]:\n  try: unbraid.load(path); print('loaded')\n"
        "  except ValueError as error: print('refused')"
    )
    result = limited("-c", code, *paths)
    assert result.stdout.split() == ["refused", "refused", "loaded"], result.stderr
