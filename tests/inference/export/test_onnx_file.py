"""ONNX files: they agree with PyTorch for every batch size and length, load as separators, and are checked when loaded."""

import json
import sys

import pytest
import torch

from tests.inference.export.conftest import SMALL, SPECTRAL, made
from unbraid.inference.export.onnx_file import OnnxSeparator, quantise, write_onnx
from unbraid.inference.loading import Loaded, load
from unbraid.runs.errors import InputError

onnx = pytest.importorskip("onnx", reason="pip install 'unbraid[export]'")
pytest.importorskip("onnxruntime", reason="pip install 'unbraid[export]'")
KINDS = ("unet", "unscaled", "consistent", "mapping", "open_unmix", "conv_tasnet", "chunk")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a function that writes the ONNX file of a separator, once per kind."""
    folder, known = tmp_path_factory.mktemp("onnx"), {}

    def write(kind):
        if kind not in known:
            separator, path = made(*(SMALL | SPECTRAL)[kind]), folder / f"{kind}.onnx"
            write_onnx(separator, path, kind)
            known[kind] = separator, path
        return known[kind]

    return write


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_file_and_pytorch_agree_on_music(kind, written, music):
    separator, path = written(kind)
    read = OnnxSeparator(path)
    for samples in (separator.min_samples, separator.chunk_samples // 2 + 11, separator.chunk_samples * 4 // 3 + 7):
        mixture = music(separator.sample_rate, separator.channels, samples)
        if kind == "mapping":  # its phase in silence is a rounding error
            mixture = mixture + 0.1 * torch.randn(mixture.shape)
        expected, expected_first = separator(mixture).sources, separator(mixture[:1]).sources
        assert expected.abs().max() > 1e-3
        assert (read(mixture).sources - expected).abs().max() < 1e-4
        assert (read(mixture[:1]).sources - expected_first).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPECTRAL)
@torch.no_grad()
def test_networks_with_an_stft_accept_every_length(kind, written, music):
    separator, path = written(kind)
    read = OnnxSeparator(path)
    for samples in (separator.chunk_samples, 1701, 2944):
        mixture = music(separator.sample_rate, separator.channels, samples)
        expected, expected_first = separator(mixture).sources, separator(mixture[:1]).sources
        peak = expected.abs().max()
        assert peak > 1e-3 and read(mixture).sources.shape == expected.shape == (2, 1, 1, samples)
        assert (read(mixture).sources - expected).abs().max() < 1e-4 * peak
        assert (read(mixture[:1]).sources - expected_first).abs().max() < 1e-4 * peak


@pytest.mark.slow
def test_metadata_has_all_values_a_program_needs(written):
    separator, path = written("open_unmix")
    metadata = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert (metadata["sample_rate"], metadata["channels"], metadata["targets"]) == (44100, 2, ["vocals"])
    assert metadata["chunk_samples"] == separator.chunk_samples == 44100 and metadata["model"] == "open_unmix"
    assert metadata["unbraid"] and metadata["receptive_field"] is None
    read = OnnxSeparator(path)
    assert (read.targets, read.min_samples, read.chunk_alignment) == (
        separator.targets,
        separator.min_samples,
        separator.chunk_alignment,
    )
    assert OnnxSeparator(written("unscaled")[1]).receptive_field == written("unscaled")[0].receptive_field > 0


@pytest.mark.slow
def test_free_dimensions_have_names(written):
    _, path = written("unet")
    graph = onnx.load(path).graph
    (mixture,), (sources,) = (
        [[size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in values]
        for values in (graph.input, graph.output)
    )
    assert mixture == ["batch", 1, "samples"] and sources == ["batch", 1, 1, "samples"]


def test_load_accepts_an_onnx_file(written, music):
    separator, path = written("unet")
    waveform = music(44100, 2, 44100 * 8)[0]
    vocals = load(path).separate(waveform, 44100)["vocals"]
    assert vocals.shape == waveform.shape
    assert (vocals - Loaded(separator, path).separate(waveform, 44100)["vocals"]).abs().max() < 1e-4


def test_exported_separators_normalise_songs(written, music):
    separator, path = written("song")
    loud = 5 * music(8000, 1, 8000 * 3)[0] + 0.1
    stems = load(path).separate(loud, 8000)["vocals"]
    assert (stems - Loaded(separator, path).separate(loud, 8000)["vocals"]).abs().max() < 1e-4
    assert OnnxSeparator(path).facts.normalisation == "song"
    separator.normalisation = "none"
    assert (stems - Loaded(separator, path).separate(loud, 8000)["vocals"]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["unet", "open_unmix"])
def test_eight_bits_are_close_and_smaller(kind, written, music, tmp_path):
    separator, path = written(kind)
    quantise(path, tmp_path / "int8.onnx")
    mixture = music(separator.sample_rate, separator.channels, separator.chunk_samples)
    coarse, fine = (OnnxSeparator(file) for file in (tmp_path / "int8.onnx", path))
    expected = fine(mixture).sources
    error = (coarse(mixture).sources - expected).norm() / expected.norm()
    assert 0 < error < 0.1
    assert coarse.facts == fine.facts
    if kind == "open_unmix":
        assert (tmp_path / "int8.onnx").stat().st_size < 0.8 * path.stat().st_size


def tampered(path, folder, **facts):
    model = onnx.load(path)
    for entry in list(model.metadata_props):
        if entry.key in facts:
            entry.value = facts[entry.key]
    onnx.save(model, folder / "tampered.onnx")
    return folder / "tampered.onnx"


@pytest.mark.parametrize(
    ("facts", "name", "found"),
    [
        ({"sample_rate": "0"}, "sample_rate", "0"),
        ({"sample_rate": "[" * 100_000}, "sample_rate", "[" * 80),
        ({"channels": "7"}, "channels", "7"),
        ({"targets": '"vocals"'}, "targets", '"vocals"'),
        ({"targets": "[]"}, "targets", ""),
        ({"targets": '["../vocals"]'}, "tampered.onnx", "'../vocals'"),
        ({"targets": '["vocals", "drums"]'}, "tampered.onnx", "[1, 1, 2, 512]"),
        ({"channels": "1"}, "tampered.onnx", ""),
        ({"min_samples": "10000000000000"}, "min_samples", "10000000000000"),
        ({"chunk_samples": "true"}, "chunk_samples", "true"),
        ({"receptive_field": '"far"'}, "receptive_field", '"far"'),
        ({"receptive_field": "-1"}, "receptive_field", "-1"),
    ],
)
def test_wrong_metadata_is_refused(facts, name, found, written, tmp_path):
    with pytest.raises(InputError) as error:
        load(tampered(written("open_unmix")[1], tmp_path, **facts))
    assert name in error.value.where and found in str(error.value)


def test_files_of_others_are_refused(written, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(written("unet")[1].read_bytes()[:5000])
    (tmp_path / "model.pt2").write_bytes(b"")
    model = onnx.load(written("unet")[1])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    for name, key in {"missing.onnx": "", "broken.onnx": "", "other.onnx": ", sample_rate", "model.pt2": ""}.items():
        with pytest.raises(InputError) as error:
            load(tmp_path / name)
        assert error.value.where.removeprefix("run=") == f"{tmp_path / name}{key}"


def test_missing_packages_are_named(monkeypatch, tmp_path, written):
    separator, path = written("unet")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError) as error:
        OnnxSeparator(path)
    assert "onnxruntime" in error.value.problem and "pip install 'unbraid[export]'" in error.value.hint
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError) as error:
        write_onnx(separator, tmp_path / "new.onnx", "unet")
    assert "onnxscript" in error.value.problem
