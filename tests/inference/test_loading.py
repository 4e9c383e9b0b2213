"""`unbraid.load`: loading runs in Python, and refusing files from other people that would run code."""

import doctest
import pickle
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

import unbraid
from tests.conftest import make_run
from unbraid import audio
from unbraid.inference.loading import Loaded, load
from unbraid.runs.errors import InputError


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", "model=unet_small", "targets=vocals_accompaniment")


@pytest.mark.parametrize("documented", [load, Loaded])
def test_examples_of_docstrings_run(run, stem_file, tmp_path, monkeypatch, documented):
    shutil.move(run, tmp_path / "runs/unet")
    (song,), rate = audio.read(stem_file)
    soundfile.write(tmp_path / "song.wav", song[:, :rate].T, rate)
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder(recurse=False).find(documented, globs={})
    assert len(example.examples) > 4 and doctest.DocTestRunner().run(example).failed == 0


def test_runs_and_checkpoints_separate_waveforms(run):
    waveform = 0.1 * torch.randn(2, 50_001)
    separator = unbraid.load(run)
    stems = separator.separate(waveform, 22_050)
    assert [*stems] == separator.targets == ["vocals", "accompaniment"] and separator.sample_rate == 8192
    assert all(stem.shape == waveform.shape and stem.abs().max() > 0 for stem in stems.values())
    again = unbraid.load(str(run / "checkpoints/best.ckpt")).separate(waveform, 22_050)
    assert all(torch.equal(stems[name], again[name]) for name in stems)


@pytest.mark.slow
def test_import_does_not_import_torch():
    code = "import sys, unbraid; print(any(name in sys.modules for name in ('torch', 'numpy', 'hydra')), unbraid.load)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.startswith("False <function load")
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = unbraid.lode


@pytest.mark.slow
def test_loading_needs_no_lightning(run):
    code = f"import sys, unbraid; unbraid.load({str(run)!r}); print('pytorch_lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("waveform", "found"),
    [
        (torch.zeros(5), "[5]"),
        (torch.zeros(1, 0), "[1, 0]"),
        (torch.zeros(44100, 2), "[44100, 2]"),
        (np.zeros((44100, 1)), "[44100, 1]"),
        (torch.full((1, 5), torch.nan), None),
        (torch.full((1, 5), 1e39, dtype=torch.float64), None),
        (torch.zeros(1, 5, dtype=torch.complex64), "complex64"),
        (torch.ones(1, 5, dtype=torch.int16), "int16"),
        (np.ones((1, 5), np.int16), "int16"),
        ([[0.0, 1.0]], "list"),
    ],
)
def test_unusable_waveform_is_refused(run, waveform, found):
    with pytest.raises(InputError) as caught:
        unbraid.load(run).separate(waveform, 8000)
    assert caught.value.where == "waveform"
    assert (None if caught.value.found is None else str(caught.value.found)) == found


@pytest.mark.parametrize("rate", [0, 3, 999, "44100", float("nan"), 10**13])
def test_unusable_sample_rate_is_refused(run, rate):
    with pytest.raises(InputError) as caught:
        unbraid.load(run).separate(torch.zeros(1, 5), rate)
    assert (caught.value.where, caught.value.found) == ("sample_rate", repr(rate))


def test_numpy_arrays_are_separated_like_tensors(run):
    signal = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0)) / 10
    loaded = unbraid.load(run)
    expected = loaded.separate(signal, 8000)
    reversed_twice = np.ascontiguousarray(signal.numpy()[:, ::-1])[:, ::-1]
    for same in (signal.numpy(), signal.numpy().astype(np.float64), reversed_twice):
        assert all(torch.equal(stem, expected[name]) for name, stem in loaded.separate(same, 8000).items())


def test_surround_arrays_are_mixed_to_stereo(run):
    surround = torch.randn(6, 3000, generator=torch.Generator().manual_seed(0)) / 10
    loaded = unbraid.load(run)
    for choice in ("downmix", "front"):
        stereo = audio.downmix(surround.numpy(), choice)
        stems = loaded.separate(surround, 8000, channels=choice)
        assert all(torch.equal(stem, stems[name]) for name, stem in loaded.separate(stereo, 8000).items())


def test_unknown_device_is_refused(run):
    with pytest.raises(InputError) as error:
        unbraid.load(run, device="abacus")
    assert error.value.where == "device=abacus"


def change(run, **values):
    config = OmegaConf.load(run / "config.yaml")
    for key, value in values.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    OmegaConf.save(config, run / "config.yaml")


SEPARATOR, NET = "model__separator", "model__separator__net"


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (SEPARATOR, {"_target_": "os.system", "command": "touch owned"}),
        (f"{NET}___target_", "os.system"),
        (f"{NET}___target_", "builtins.eval"),
        (f"{NET}___target_", "builtins.exec"),
        (f"{NET}___target_", "subprocess.Popen"),
        (f"{NET}___target_", "torch.load"),
        (f"{NET}___target_", "torch.hub.load"),
        (f"{NET}___target_", "hydra.utils.instantiate"),
        (f"{NET}___target_", "unbraid.runs.config.subprocess.run"),
        (f"{NET}___target_", "unbraid.data.store.Store"),
        (f"{NET}___target_", "unbraid.nets.unet.torch.load"),
        (f"{NET}___target_", "torch.nn.modules.module.warnings.warn"),
        (f"{NET}___target_", "pytorch_lightning.Trainer"),
        (f"{NET}__channels", [{"_target_": "os.system", "command": "touch owned"}]),
        (f"{NET}__kernel_size", {"_target_": "os.system", "command": "touch owned"}),
        (f"{SEPARATOR}__stft__n_fft", {"a": {"_target_": "builtins.eval", "_args_": ["1"]}}),
        (f"{NET}___target_", "unbraid.nets.unet:UNet"),
        (f"{NET}___target_", "torchaudio.models.decoder.CTCDecoder"),
        (f"{NET}___partial_", "yes"),
        (f"{NET}___partial_", [True]),
        (f"{NET}___args_", ["touch owned"]),
        (f"{SEPARATOR}__phase___target_", "unbraid.evaluation.scorer.Evaluation"),
    ],
)
def test_hostile_config_builds_networks_only(run, tmp_path, monkeypatch, where, value):
    monkeypatch.chdir(tmp_path)
    change(run, **{where: value})
    with pytest.raises(InputError):
        unbraid.load(run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${hydra:runtime.cwd}", "${name}", "x ${oc.decode:y}"])
@pytest.mark.parametrize("key", ["name", "model.separator.net.drop_bin", "added"])
def test_interpolations_in_a_config_are_refused(run, key, value):
    text = (run / "config.yaml").read_text()
    config = OmegaConf.create(text)
    OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(InputError) as error:
        unbraid.load(run)
    assert (error.value.where, error.value.found) == (str(run / "config.yaml"), repr(value))


@pytest.mark.parametrize("name", ["../vocals", "/tmp/vocals", ".vocals", "", "a/b", "a\\b", "a\nb", "a\0b"])
def test_target_names_that_are_paths_are_refused(run, name):
    change(run, model__separator__targets={name: ["vocals"], "accompaniment": ["drums"]})
    with pytest.raises(InputError) as error:
        unbraid.load(run)
    assert (error.value.where, error.value.found) == (str(run), repr(name))


class Owned:
    def __reduce__(self):
        return (exec, ("open('owned', 'w')",))


# Streams of pickle opcodes with a changed byte, and the exception that they cause in PyTorch.
OPCODES = {
    "no stack": b"\x80\x02.",  # IndexError
    "no end": b"\x80\x02}X\x03",  # struct.error
}
HOSTILE = ["torch", "pickle", "zip", "legacy", "list", "names", "values", "text", "tensor", "letters", *OPCODES]


def hostile(path, kind):
    if kind == "torch":
        torch.save({"state_dict": {"separator.x": Owned()}}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Owned()}))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("archive/data.pkl", pickle.dumps(Owned()))
            file.writestr("archive/version", "3")
    elif kind == "legacy":
        torch.save({"state_dict": Owned()}, path, _use_new_zipfile_serialization=False)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "names":
        torch.save({"state_dict": {3: torch.zeros(1)}}, path)
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "letters":
        torch.save({"state_dict": "abc"}, path)
    elif kind in OPCODES:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("archive/data.pkl", OPCODES[kind])
            file.writestr("archive/version", "3")
            file.writestr("archive/byteorder", "little")
    elif kind == "values":
        torch.save({"state_dict": {"separator.nets.0.encoder.0.0.weight": "weight"}}, path)
    else:
        path.write_bytes(b"no checkpoint")


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_checkpoint_runs_no_code(run, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    hostile(run / "checkpoints/best.ckpt", kind)
    with pytest.raises(InputError) as error:
        unbraid.load(run)
    assert "best.ckpt" in error.value.where
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


STRANGE = [
    "[1, 2]", "a: [", "\xff", "", "3", "true", "!!timestamp 3", "model: 3", "model: [1]", "model: {net: [1]}",
    "model: {separator: [1]}", "[" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", STRANGE)
def test_damaged_config_is_refused(run, text):
    (run / "config.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(InputError):
        unbraid.load(run)


@pytest.mark.parametrize("name", ["config.yaml", "names.yaml"])
def test_yaml_aliases_that_fill_memory_are_refused(run, name):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    (run / name).write_text("\n".join(lines))
    with pytest.raises(InputError) as error:
        unbraid.load(run if name == "config.yaml" else run / name)
    assert str(run / name) in error.value.where and "alias" in str(error.value)


def test_folders_without_separator_are_refused(tmp_path):
    autoencoder = make_run(tmp_path / "ae", "model=ae", "data=digits")
    for folder in (tmp_path / "nothing", autoencoder):
        with pytest.raises(InputError) as error:
            unbraid.load(folder)
        assert str(folder) in error.value.where
