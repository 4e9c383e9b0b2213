"""Separators of other software compute the same stems in unbraid, and files that do not fit are named."""

import json
import re
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
    """Return a folder in the format of the openunmix package."""
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


def test_a_folder_named_like_published_weights_is_loaded(openunmix, monkeypatch):
    monkeypatch.chdir(openunmix.parent)
    assert unbraid.load("umx").targets == ["drums", "vocals"]


def test_one_target_has_no_filter(openunmix):
    (openunmix / "drums.json").unlink()
    assert [*unbraid.load(openunmix).separate(torch.randn(1, 9000), 8000)] == ["vocals"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda folder: (folder / "separator.json").write_text("[1]"), "separator.json"),
        (lambda folder: (folder / "separator.json").write_text('{"sample_rate": "x"}'), "separator.json"),
        (lambda folder: [path.unlink() for path in folder.glob("[dv]*.json")], ""),
        (lambda folder: (folder / "drums-12345678.pth").unlink(), "drums.pth"),
        (lambda folder: (folder / "drums-12345678.pth").write_bytes(b"x"), "drums-12345678.pth"),
        (lambda folder: torch.save({}, folder / "drums-12345678.pth"), "drums-12345678.pth"),
    ],
)
def test_an_incomplete_folder_is_refused(openunmix, change, where):
    change(openunmix)
    with pytest.raises(InputError) as error:
        unbraid.load(openunmix)
    assert error.value.where == str(openunmix / where)


def test_a_target_without_tensors_is_refused(openunmix):
    torch.save({}, openunmix / "vocals-12345678.pth")
    with pytest.raises(InputError) as error:
        unbraid.load(openunmix)
    assert "vocals: " in error.value.where


@pytest.fixture
def translated(tmp_path):
    """Return a run, a translation file of the same weights under other names, and its content."""
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
    content = {"config": "config.yaml", "weights": "theirs.pth", "key": "model", "names": names, "unused": ["step"]}
    (folder / "names.yaml").write_text(yaml.safe_dump(content))
    return run, folder / "names.yaml", content


def test_a_state_dict_of_other_names_is_a_run(translated):
    run, path, _ = translated
    waveform = torch.randn(1, 60_000)
    assert torch.equal(*(unbraid.load(path).separate(waveform, 8192)["vocals"] for path in (run, path)))


def test_safetensors_too(translated):
    run, path, content = translated
    state = torch.load(path.parent / "theirs.pth", weights_only=True)["model"]
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path.parent / "theirs.safetensors")
    path.write_text(yaml.safe_dump({**content, "weights": "theirs.safetensors", "key": None}))
    waveform = torch.randn(1, 60_000)
    assert torch.equal(*(unbraid.load(path).separate(waveform, 8192)["vocals"] for path in (run, path)))
    (path.parent / "theirs.safetensors").write_bytes(b"12345678{")
    with pytest.raises(InputError) as error:
        unbraid.load(path)
    assert error.value.where.endswith("theirs.safetensors")


@pytest.mark.parametrize("prefix", ["model.", "net.", ""])
def test_the_hint_for_a_lightning_checkpoint_can_be_used(tmp_path, prefix):
    run = make_run(tmp_path / "run", NARROW)
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    theirs = {name.replace("separator.nets.0.", prefix): tensor for name, tensor in state.items()}
    path = tmp_path / "theirs.ckpt"
    torch.save({"state_dict": theirs, "epoch": 3, "hyper_parameters": {"lr": 0.1}, "optimizer_states": []}, path)
    with pytest.raises(InputError) as error:
        unbraid.load(path)
    *fields, names = re.search("with the lines (.*), then type", error.value.hint)[1].split(", ", 3)
    (tmp_path / "names.yaml").write_text("\n".join([*fields, names.removeprefix("key: state_dict and ")]))
    if names.startswith("key: state_dict and "):
        (tmp_path / "names.yaml").open("a").write("\nkey: state_dict\n")
    shutil.copy(run / "config.yaml", tmp_path)
    waveform = torch.randn(1, 60_000)
    assert torch.equal(*(unbraid.load(path).separate(waveform, 8192)["vocals"] for path in (run, tmp_path / "names.yaml")))


@pytest.mark.parametrize(
    ("change", "where", "found"),
    [
        ({"key": "modle"}, ", key", "modle"),
        ({"key": None}, "names.yaml: model", None),
        ({"names": {}}, ": net.down0.0.weight", None),
        ({"names": {"net.*.*.*": "nets.0.encoder.0.0.weight"}}, "names.yaml: net.", "nets.0.encoder.0.0.weight"),
        ({"unused": []}, "names.yaml: step", None),
        ({"weights": "nothing.pth"}, "nothing.pth", None),
        ({"weights": "../run/checkpoints/best.ckpt"}, "names.yaml", "../run/checkpoints/best.ckpt"),
        ({"config": "/etc/passwd"}, "names.yaml", "/etc/passwd"),
        ({"config": "nothing.yaml"}, "nothing.yaml", None),
    ],
)
def test_an_invalid_translation_is_refused(translated, change, where, found):
    _, path, content = translated
    path.write_text(yaml.safe_dump(content | change))
    with pytest.raises(InputError) as error:
        unbraid.load(path)
    assert where in error.value.where and (found is None or error.value.found == found)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"nmes": {}}, "nmes"),
        ({"names": 3}, "names"),
        ({"key": "${oc.env:HOME}"}, "names.yaml"),
        ({"names": {"net.*.*.*": "nets.0.x.*.*.*"}}, "nets.0."),
    ],
)
def test_an_invalid_key_of_a_translation_is_named(translated, change, name):
    _, path, content = translated
    path.write_text(yaml.safe_dump(content | change))
    with pytest.raises(InputError) as error:
        unbraid.load(path)
    assert name in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "[1]", "", "!!python/object/apply:os.system [ls]"])
def test_an_unreadable_translation_is_refused(tmp_path, text):
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        unbraid.load(tmp_path / "names.yaml")
    assert "names.yaml" in error.value.where and len(str(error.value).splitlines()) == 1
