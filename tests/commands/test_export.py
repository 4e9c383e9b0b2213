"""scripts/export.py writes an ONNX file with the same stems, and measures the effect of 8-bit weights."""

import re

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from tests.commands.conftest import has_names
from tests.commands.test_open_unmix import SCRIPT
from tests.conftest import files_below, load_script, make_root
from tests.interop.msst.state import formula_mixture, formula_state, listing
from tests.interop.msst.test_tfc_tdf import AUDIO, CASES, MODEL
from tests.test_configs import compose
from unbraid import audio
from unbraid.inference.export.onnx_file import OnnxSeparator

onnx = pytest.importorskip("onnx", reason="pip install 'unbraid[export]'")
pytest.importorskip("onnxruntime", reason="pip install 'unbraid[export]'")
NET = ["model=unet", "model.separator.net.channels=[2,4]", "model.separator.net.dropout_layers=1"]
SHORT = [
    "trainer.max_epochs=1",
    "data.batch_size=2",
    "data.chunks_per_track=2",
    "trainer.accelerator=cpu",
    "evaluation.clips=0",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with songs, a run, and the run's ONNX file."""
    folder = tmp_path_factory.mktemp("export")
    make_root(folder / "songs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(folder / "cache"))
        words = [*NET, "data=musdb", f"data.root={folder / 'songs'}", *SHORT, f"hydra.run.dir={folder / 'run'}"]
        patch.setattr("sys.argv", ["train.py", *words])
        load_script("train.py")()
        patch.setattr("sys.argv", [SCRIPT, f"run={folder / 'run'}"])
        load_script(SCRIPT)()
    return folder


@pytest.mark.slow
def test_stems_of_the_file_are_those_of_the_run(cli, trained, stem_file, tmp_path):
    for run, output in ((trained / "run", "torch"), (trained / "run/model.onnx", "onnx")):
        status, _, err = cli(f"run={run}", f"input={stem_file}", f"output={output}", "bits=32", script="scripts/separate.py")
        assert status == 0, err
    torch_stem, onnx_stem = (next((tmp_path / "work" / name).rglob("vocals.wav")) for name in ("torch", "onnx"))
    (mixture,), rate = audio.read(stem_file)
    (expected, stem_rate), (found, _) = soundfile.read(torch_stem), soundfile.read(onnx_stem)
    assert stem_rate == rate and found.shape == expected.shape == mixture.T.shape
    assert np.abs(expected).max() > 1e-3 and np.abs(found - expected).max() < 1e-4


@pytest.mark.slow
def test_the_effect_of_eight_bits_is_printed(cli, trained, tmp_path):
    words = ["quantise=int8", "data=musdb", f"data.root={trained / 'songs'}", "output=small.onnx"]
    status, out, err = cli(f"run={trained / 'run'}", *words, script=SCRIPT)
    assert status == 0, err
    number = r"-?\d+\.\d\d dB"
    assert re.search(rf"vocals: uSDR {number} .*, {number} .*, [+-]\d+\.\d\d dB \(.* 1 test track", out), out
    assert files_below(tmp_path / "work") == ["small.onnx"]


@pytest.mark.slow
def test_a_checkpoint_of_another_tool_is_exported(cli, tmp_path):
    torch.save(formula_state(listing("mdx23c")), tmp_path / "work/model.ckpt")
    training = {"instruments": ["vocals", "other"], "target_instrument": None}
    audio_options = AUDIO | {"sample_rate": 44100}
    config = {"audio": audio_options, "model": MODEL, "training": training, "inference": {"num_overlap": 2, "batch_size": 1}}
    OmegaConf.save(config, tmp_path / "work/model.yaml")
    words = ["run=model.ckpt", "config=model.yaml", "format=onnx", "output=exported.onnx"]
    status, out, err = cli(*words, script=SCRIPT)
    assert status == 0, err
    assert float(re.search(r"largest difference from PyTorch (\S+),", out)[1]) < 1e-5
    read, mixture = OnnxSeparator(tmp_path / "work/exported.onnx"), formula_mixture(4032)
    assert (read.targets, read.chunk_samples) == (["vocals", "other"], AUDIO["chunk_size"])
    recorded = torch.tensor(CASES["instance"][2])  # output of MSST
    assert (read(mixture).sources[0, ..., 500:2500:700].flatten() - recorded).abs().max() < 1e-5


@pytest.mark.slow
def test_an_existing_export_is_kept_or_replaced(cli, trained, tmp_path):
    copy = tmp_path / "work/copy.onnx"
    copy.write_bytes(b"old")
    status, out, err = cli(f"run={trained / 'run'}", f"output={copy}", "overwrite=skip", script=SCRIPT)
    assert status == 0 and "skipped" in out and copy.read_bytes() == b"old", err
    status, _, err = cli(f"run={trained / 'run'}", f"output={copy}", "overwrite=true", script=SCRIPT)
    assert status == 0 and onnx.load(copy).metadata_props, err
    assert files_below(tmp_path / "work") == ["copy.onnx"]


@pytest.mark.slow
def test_an_impossible_export_writes_nothing(refused, error_of, trained, tmp_path):
    run = f"run={trained / 'run'}"
    for words, names in (
        ([run, "format=torch_export", "quantise=int8"], "quantise=int8 format=torch_export"),
        ([run], "output= model.onnx overwrite=true overwrite=skip"),
        ([run, f"output={trained / 'run/config.yaml'}", "overwrite=true"], "output= config.yaml .onnx"),
        ([run, f"output={trained / 'run'}", "overwrite=true"], "output= folder .onnx"),
        ([run, f"output={trained / 'run'}", "overwrite=true", "format=openunmix"], "output= separator.json"),
        ([run, "format=tflite"], "format 'tflite'"),
        (["format=onnx"], "run run=FOLDER"),
    ):
        assert has_names(str(error_of("export", *words)), names)
    other = tmp_path / "work/other"
    other.mkdir()
    OmegaConf.save(compose(*NET, "phase=griffin_lim"), other / "config.yaml", resolve=True)
    (other / "checkpoints").symlink_to(trained / "run/checkpoints")
    assert has_names(refused("run=other", "format=onnx", "output=new.onnx", script=SCRIPT), "run=other phase=mixture")
    assert not (tmp_path / "work/new.onnx").exists() and not list((tmp_path / "work").glob(".partial*"))
