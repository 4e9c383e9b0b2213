"""ONNX files: they say what PyTorch says, of batches and chunks of any size, and are read as separators; nothing else is."""

import json
import sys

import pytest
import torch

from tests.inference.export.conftest import SMALL, made
from unbraid.inference.export.onnx_file import OnnxSeparator, quantise, write_onnx
from unbraid.inference.loading import Loaded, load
from unbraid.runs.errors import InputError

onnx = pytest.importorskip("onnx", reason="pip install 'unbraid[export]'")
pytest.importorskip("onnxruntime", reason="pip install 'unbraid[export]'")
KINDS = ("unet", "unscaled", "consistent", "mapping", "open_unmix", "conv_tasnet")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A separator of each kind and its file, made when it is asked for."""
    folder, known = tmp_path_factory.mktemp("onnx"), {}

    def write(kind):
        if kind not in known:
            separator, path = made(*SMALL[kind]), folder / f"{kind}.onnx"
            write_onnx(separator, path, kind)
            known[kind] = separator, path
        return known[kind]

    return write


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_it_says_what_pytorch_says_of_real_music_of_any_size(kind, written, music):
    separator, path = written(kind)
    read = OnnxSeparator(path)
    for samples in (separator.min_samples, separator.chunk_samples // 2 + 11, separator.chunk_samples * 4 // 3 + 7):
        mixture = music(separator.sample_rate, separator.channels, samples)
        if kind == "mapping":  # whose phases in silence are those of rounding
            mixture = mixture + 0.1 * torch.randn(mixture.shape)
        expected, one = separator(mixture).sources, separator(mixture[:1]).sources
        assert expected.abs().max() > 1e-3
        assert (read(mixture).sources - expected).abs().max() < 1e-4
        assert (read(mixture[:1]).sources - one).abs().max() < 1e-4


def test_it_says_of_itself_what_a_program_needs(written):
    separator, path = written("open_unmix")
    found = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert (found["sample_rate"], found["channels"], found["targets"]) == (44100, 2, ["vocals"])
    assert found["chunk_samples"] == separator.chunk_samples == 44100 and found["model"] == "open_unmix"
    assert found["unbraid"] and found["receptive_field"] is None
    read = OnnxSeparator(path)
    assert (read.targets, read.min_samples, read.chunk_alignment) == (
        separator.targets,
        separator.min_samples,
        separator.chunk_alignment,
    )
    assert OnnxSeparator(written("unscaled")[1]).receptive_field == written("unscaled")[0].receptive_field > 0


def test_the_library_takes_it_in_the_place_of_a_run(written, music):
    separator, path = written("unet")
    waveform = music(44100, 2, 44100 * 8)[0]
    found = load(path).separate(waveform, 44100)["vocals"]
    assert found.shape == waveform.shape
    assert (found - Loaded(separator, path).separate(waveform, 44100)["vocals"]).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["unet", "open_unmix"])
def test_eight_bits_are_smaller_and_nearly_the_same(kind, written, music, tmp_path):
    separator, path = written(kind)
    quantise(path, tmp_path / "int8.onnx")
    mixture = music(separator.sample_rate, separator.channels, separator.chunk_samples)
    coarse, fine = (OnnxSeparator(one) for one in (tmp_path / "int8.onnx", path))
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
    ("facts", "sentence"),
    [
        ({"sample_rate": "0"}, "its sample_rate is 0, expected a number above 0"),
        ({"sample_rate": "[" * 100_000}, "its sample_rate is"),
        ({"channels": "7"}, "channels: found 7"),
        ({"targets": '"vocals"'}, 'its targets is "vocals", expected'),
        ({"targets": "[]"}, "targets:"),
        ({"targets": '["../vocals"]'}, "'../vocals' is no name of a target"),
        ({"targets": '["vocals", "drums"]'}, "its graph gives [1, 1, 2, 512], expected [1, 2, 2, 512]"),
        ({"channels": "1"}, "its graph cannot be run: "),
        ({"min_samples": "10000000000000"}, "its min_samples is 10000000000000, expected no number above 67108864"),
        ({"chunk_samples": "true"}, "its chunk_samples is true, expected"),
        ({"receptive_field": '"far"'}, 'its receptive_field is "far", expected'),
    ],
)
def test_what_a_file_says_wrongly_of_itself_is_refused(facts, sentence, written, tmp_path):
    with pytest.raises(InputError) as caught:
        load(tampered(written("open_unmix")[1], tmp_path, **facts))
    assert sentence in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_files_of_others_are_refused(written, tmp_path):
    with pytest.raises(InputError, match=r"missing\.onnx: no such file"):
        load(tmp_path / "missing.onnx")
    (tmp_path / "broken.onnx").write_bytes(written("unet")[1].read_bytes()[:5000])
    with pytest.raises(InputError, match=r"broken\.onnx: is damaged or no ONNX file"):
        load(tmp_path / "broken.onnx")
    model = onnx.load(written("unet")[1])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"other\.onnx: does not say its sample_rate; expected a file that scripts/export.py"):
        load(tmp_path / "other.onnx")
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(InputError, match="torch evaluates what such a file says"):
        load(tmp_path / "model.pt2")


def test_without_the_packages_a_sentence_says_what_to_install(monkeypatch, tmp_path, written):
    path = written("unet")[1]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs the package onnxruntime: pip install 'unbraid\[export\]'"):
        OnnxSeparator(path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match="needs the package onnxscript"):
        write_onnx(written("unet")[0], tmp_path / "new.onnx", "unet")
