"""Descriptions of files with weights, and the commands that are printed for them."""

import json
import math

import pytest
import torch
from openunmix.model import OpenUnmix as Package

from tests.conftest import NARROW, make_run
from tests.interop.test_msst import CONFIG, theirs
from unbraid.commands.inspect import commands
from unbraid.inference.description import describe, layers_of
from unbraid.inference.export.onnx_file import quantise, write_onnx
from unbraid.inference.loading import load_separator
from unbraid.interop.msst.config import read_msst_config
from unbraid.interop.origins import sha256_of
from unbraid.nets.adapters import HDemucs
from unbraid.runs.errors import InputError


@pytest.fixture
def run(tmp_path):
    folder = make_run(tmp_path / "run", NARROW, "targets=vocals_accompaniment", "data=musdb")
    (folder / "run.json").write_text(
        json.dumps({"choices": {"model": "unet", "data": "musdb"}, "state": "done", "identity": "1", "overrides": []})
    )
    return folder


def test_a_run_and_its_checkpoint(run):
    best = run / "checkpoints/best.ckpt"
    for path, kind in ((run, "run"), (best, "checkpoint of a run")):
        found = describe(path)
        assert (found.kind, found.model) == (kind, "separator unet, trained on musdb, state done")
        assert (found.targets, found.sample_rate, found.channels) == (("vocals", "accompaniment"), 8192, 1)
        assert (found.files[0].name, found.bytes, found.sha256) == ("best.ckpt", best.stat().st_size, sha256_of(best))
        assert {*found.layers} == {"nets.0", "nets.1"} and len({*found.layers.values()}) == 1
    lines = commands(describe(run), run, None)
    assert [line.split()[1] for line in lines] == ["separate", "evaluate", "export", "train"]
    assert lines[1] == f"unbraid evaluate run={run}"  # the run has its own data


def test_an_autoencoder(tmp_path):
    run = make_run(tmp_path / "run", "model=ae", "data=digits")
    torch.save({"state_dict": {"net.encoder.0.weight": torch.zeros(2, 3)}}, run / "checkpoints/best.ckpt")
    found = describe(run)
    assert (found.kind, found.model, found.targets, found.layers) == ("run", "autoencoder", (), {"net.encoder.0": 6})
    assert [line.split()[1] for line in commands(found, run, None)] == ["encode", "train"]


def test_checkpoints_of_another_tool(tmp_path):
    path, config = tmp_path / "a b.ckpt", tmp_path / "model.yaml"
    torch.save({"state": theirs(HDemucs(2, channels=4))}, path)
    config.write_text(CONFIG)
    found = describe(path, config=str(config))
    assert (found.kind, found.model) == ("checkpoint of another tool", "separator HDemucs")
    assert (found.targets, found.chunk_seconds, found.note) == (("drums", "vocals"), 2.0, "")
    assert found.options == {"chunk_seconds": "2", "overlap": "0.75", "join": "average", "normalisation": "none"}
    assert f"unbraid separate 'run={path}' config={config} input=song.wav" == commands(found, path, str(config))[0]
    other = CONFIG.replace("num_overlap: 4", "num_overlap: 2, normalize: true").replace("instrument: null", "instrument: bass")
    config.write_text(other)
    assert read_msst_config(config).options == {
        "chunk_seconds": "2", "overlap": "0.5", "join": "average", "normalisation": "song", "target_instrument": "bass",
    }  # fmt: skip
    alone = describe(path)
    assert "channels=4" in alone.model and "config=FILE" in alone.note and commands(alone, path, None) == []
    torch.save({"state_dict": {"model.x.weight": torch.zeros(3), "model.y.weight": torch.zeros(4)}}, path)
    unknown = describe(path)
    assert (
        unknown.kind == "tensors of an unknown network" and unknown.layers == {"x": 3, "y": 4} and "names.yaml" in unknown.note
    )


def test_a_folder_of_openunmix(tmp_path):
    (tmp_path / "separator.json").write_text(json.dumps({"sample_rate": 8000, "nfft": 512, "nhop": 128, "nb_channels": 2}))
    torch.save(Package(257, 2, 8, max_bin=200).state_dict(), tmp_path / "drums-12345678.pth")
    (tmp_path / "drums.json").write_text("{}")
    found = describe(tmp_path)
    assert (found.kind, found.targets, found.sample_rate) == ("folder of the openunmix package", ("drums",), 8000)


def test_an_onnx_file(run, tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    path = tmp_path / "model.onnx"
    write_onnx(load_separator(run, device="cpu").model, path, "unet")
    found = describe(path)
    assert (found.kind, found.targets, found.sample_rate) == ("ONNX file", ("vocals", "accompaniment"), 8192)
    assert [line.split()[1] for line in commands(found, path, None)] == ["separate"]
    stored = onnx.load(path).graph.initializer
    assert {*found.layers} == {"nets.0", "nets.1", "constants"}
    assert sum(found.layers.values()) == sum(math.prod(tensor.dims) for tensor in stored)
    of_run = describe(run).layers  # the exporter adds the batch normalisation to the convolutions
    assert 0 < found.layers["nets.0"] == found.layers["nets.1"] < of_run["nets.0"]
    quantise(path, tmp_path / "small.onnx")
    assert describe(tmp_path / "small.onnx").layers["nets.0"] >= found.layers["nets.0"]


@pytest.mark.parametrize("name", ["nothing", "model.pt2", "song.wav"])
def test_other_files_are_refused(tmp_path, name):
    if name != "nothing":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError) as error:
        describe(tmp_path / name)
    assert name in error.value.where


def test_layers_are_named_as_briefly_as_two_parts_allow():
    tensors = {f"net.{part}.{number}.weight": torch.zeros(2) for part in ("a", "b") for number in range(3)}
    assert layers_of(tensors) == {"net.a": 6, "net.b": 6}
    assert layers_of({"only.weight": torch.zeros(3)}) == {"only": 3} and layers_of({}) == {}
