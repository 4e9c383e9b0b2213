"""Separators of other software: they say what they say there, and what does not fit is named."""

import json
import shutil

import pytest
import torch
import yaml
from openunmix.model import OpenUnmix as Package
from openunmix.model import Separator as PackageSeparator
from openunmix.utils import load_separator
from safetensors.torch import save_file

import unbraid
from tests.conftest import NARROW, make_run
from unbraid.inference.chunked import InferenceOptions
from unbraid.runs.errors import InputError


@pytest.fixture
def openunmix(tmp_path):
    """A folder as the package writes it."""
    torch.manual_seed(0)
    folder = tmp_path / "umx"
    folder.mkdir()
    (folder / "separator.json").write_text(json.dumps({"sample_rate": 8000, "nfft": 512, "nhop": 128, "nb_channels": 2}))
    for target in ("drums", "vocals"):
        net = Package(257, 2, 8, max_bin=200)
        torch.save(net.state_dict(), folder / f"{target}-12345678.pth")
        arguments = {"target": target, "hidden_size": 8, "nfft": 512, "nhop": 128, "nb_channels": 2}
        (folder / f"{target}.json").write_text(json.dumps({"args": arguments}))
    return folder


@torch.no_grad()
def test_an_openunmix_folder_is_a_run(openunmix):
    mixture = 0.1 * torch.randn(2, 20_011)
    theirs: PackageSeparator = load_separator(str(openunmix), ["drums", "vocals"], niter=1).eval()
    expected = theirs(mixture[None])[0]
    separator = unbraid.load(openunmix)
    found = separator.separate(mixture, 8000, InferenceOptions(chunk_seconds=60.0))
    assert [*found] == ["drums", "vocals"]
    assert (torch.stack([*found.values()]) - expected).abs().max() < 1e-4 < expected.abs().max()


def test_a_folder_may_be_called_as_published_weights_are(openunmix, monkeypatch):
    """And is not taken for them."""
    monkeypatch.chdir(openunmix.parent)
    assert unbraid.load("umx").targets == ["drums", "vocals"]


def test_one_target_has_no_filter(openunmix):
    (openunmix / "drums.json").unlink()
    assert [*unbraid.load(openunmix).separate(torch.randn(1, 9000), 8000)] == ["vocals"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "separator.json").write_text("[1]"), "expected JSON with the numbers sample_rate"),
        (lambda folder: (folder / "separator.json").write_text('{"sample_rate": "x"}'), "expected JSON with the numbers"),
        (lambda folder: [path.unlink() for path in folder.glob("[dv]*.json")], "has no <target>.json"),
        (lambda folder: (folder / "drums-12345678.pth").unlink(), "has no drums.pth; it has weights of vocals"),
        (lambda folder: (folder / "drums-12345678.pth").write_bytes(b"x"), "is damaged or no file of weights"),
        (lambda folder: torch.save({}, folder / "drums-12345678.pth"), "drums has no weights of an Open-Unmix network"),
        (lambda folder: torch.save({}, folder / "vocals-12345678.pth"), "vocals: "),
    ],
)
def test_a_folder_that_is_not_whole_is_said(openunmix, change, sentence):
    change(openunmix)
    with pytest.raises(InputError, match=sentence):
        unbraid.load(openunmix)


@pytest.fixture
def translated(tmp_path):
    """A run, and a folder with its weights under other names; and what translates them."""
    run, folder = make_run(tmp_path / "run", NARROW), tmp_path / "theirs"
    folder.mkdir()
    shutil.copy(run / "config.yaml", folder)
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    theirs = {}
    for name, tensor in state.items():
        assert name.startswith("separator.nets.0.")
        part, layer, rest = name.removeprefix("separator.nets.0.").split(".", 2)
        theirs[f"net.{'down' if part == 'encoder' else 'up'}{layer}.{rest}"] = tensor
    torch.save({"model": theirs | {"step": torch.tensor(3)}, "epoch": 5}, folder / "theirs.pth")
    names = {f"net.down{n}.*.*": f"nets.0.encoder.{n}.*.*" for n in range(6)}
    names |= {f"net.up{n}.*.*": f"nets.0.decoder.{n}.*.*" for n in range(6)}
    said = {"config": "config.yaml", "weights": "theirs.pth", "key": "model", "names": names, "unused": ["step"]}
    (folder / "names.yaml").write_text(yaml.safe_dump(said))
    return run, folder / "names.yaml", said


def test_a_state_dict_of_other_names_is_a_run(translated):
    run, path, _ = translated
    waveform = torch.randn(1, 60_000)
    assert torch.equal(*(unbraid.load(one).separate(waveform, 8192)["vocals"] for one in (run, path)))


def test_safetensors_too(translated):
    run, path, said = translated
    state = torch.load(path.parent / "theirs.pth", weights_only=True)["model"]
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path.parent / "theirs.safetensors")
    path.write_text(yaml.safe_dump({**said, "weights": "theirs.safetensors", "key": None}))
    waveform = torch.randn(1, 60_000)
    assert torch.equal(*(unbraid.load(one).separate(waveform, 8192)["vocals"] for one in (run, path)))
    (path.parent / "theirs.safetensors").write_bytes(b"12345678{")
    with pytest.raises(InputError, match=r"theirs.safetensors: is damaged or no file of weights"):
        unbraid.load(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"key": "modle"}, "theirs.pth has no modle; did you mean 'model'?"),
        ({"key": None}, "model is no tensor"),
        ({"names": {}}, "there is no name for net.down0.0.weight; add it to names, or to unused"),
        ({"names": {"net.*.*.*": "nets.0.encoder.0.0.weight"}}, "would be nets.0.encoder.0.0.weight, which another"),
        ({"names": {"net.*.*.*": "nets.0.x.*.*.*"}}, "missing, expected"),
        ({"unused": []}, "there is no name for step"),
        ({"weights": "nothing.pth"}, "nothing.pth: is damaged or no file of weights"),
        ({"weights": "../run/checkpoints/best.ckpt"}, "lies elsewhere, expected a file in the same folder"),
        ({"config": "/etc/passwd"}, "lies elsewhere"),
        ({"config": "nothing.yaml"}, "nothing.yaml: No such file"),
        ({"nmes": {}}, "nmes: unknown key. Did you mean 'names'?"),
        ({"names": 3}, "names: found 3, expected dict"),
        ({"key": "${oc.env:HOME}"}, "names.yaml: "),
    ],
)
def test_what_a_translation_lacks_is_said(translated, change, sentence):
    _, path, said = translated
    path.write_text(yaml.safe_dump(said | change))
    with pytest.raises(InputError, match=sentence.replace("?", r"\?")):
        unbraid.load(path)


@pytest.mark.parametrize("text", ["a: [", "[1]", "", "!!python/object/apply:os.system [ls]"])
def test_a_file_that_translates_nothing_is_said(tmp_path, text):
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(InputError, match=r"names\.yaml") as error:
        unbraid.load(tmp_path / "names.yaml")
    assert len(str(error.value).splitlines()) == 1
