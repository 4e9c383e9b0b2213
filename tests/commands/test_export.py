"""From the command line: a run to an ONNX file, to stems by that file, and what 8 bits cost."""

import re

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from tests.commands.test_open_unmix import DOOR
from tests.conftest import files_below, load_script, make_root
from tests.test_configs import compose
from unbraid import audio

pytest.importorskip("onnx", reason="pip install 'unbraid[export]'")
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
    """A run, and the file it was exported to."""
    folder = tmp_path_factory.mktemp("export")
    make_root(folder / "songs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(folder / "cache"))
        words = [*NET, "data=musdb", f"data.root={folder / 'songs'}", *SHORT, f"hydra.run.dir={folder / 'run'}"]
        patch.setattr("sys.argv", ["train.py", *words])
        load_script("train.py")()
        patch.setattr("sys.argv", [DOOR, f"run={folder / 'run'}", "format=onnx"])
        load_script(DOOR)()
    return folder


def test_stems_by_the_file_are_those_of_the_run(cli, trained, stem_file, tmp_path):
    for run, output in ((trained / "run", "torch"), (trained / "run/model.onnx", "onnx")):
        status, _, err = cli(f"run={run}", f"input={stem_file}", f"output={output}", "bits=32", script="scripts/separate.py")
        assert status == 0, err
    one, other = (next((tmp_path / "work" / name).rglob("vocals.wav")) for name in ("torch", "onnx"))
    (mixture,), rate = audio.read(stem_file)
    (expected, own), (found, _) = soundfile.read(one), soundfile.read(other)
    assert own == rate and found.shape == expected.shape == mixture.T.shape
    assert np.abs(expected).max() > 1e-3 and np.abs(found - expected).max() < 1e-4


def test_it_says_what_eight_bits_cost_on_a_test_set(cli, trained, tmp_path):
    words = ["format=onnx", "quantise=int8", "data=musdb", f"data.root={trained / 'songs'}", "output=small.onnx"]
    status, out, err = cli(f"run={trained / 'run'}", *words, script=DOOR)
    assert status == 0, err
    number = r"-?\d+\.\d\d dB"
    assert re.search(rf"vocals: uSDR {number} in 32 bits, {number} in 8, [+-]\d+\.\d\d dB \(mean of 1 test tracks\)", out), out
    assert files_below(tmp_path / "work") == ["small.onnx"]


def test_what_cannot_be_exported_leaves_nothing(cli, trained, tmp_path):
    run = f"run={trained / 'run'}"
    for words, sentence in (
        ([run, "format=torch_export", "quantise=int8"], "quantise=int8: is of format=onnx only, found format=torch_export"),
        ([run, "format=onnx"], "model.onnx: is there already"),
        ([run, "format=tflite"], "format: found 'tflite', expected"),
        (["format=onnx"], "run has no default and must be given"),
    ):
        status, _, err = cli(*words, script=DOOR)
        assert status == 1 and sentence in err and len(err.splitlines()) == 1, err
    other = tmp_path / "work/other"
    other.mkdir()
    OmegaConf.save(compose(*NET, "phase=griffin_lim"), other / "config.yaml", resolve=True)
    (other / "checkpoints").symlink_to(trained / "run/checkpoints")
    status, _, err = cli("run=other", "format=onnx", "output=new.onnx", script=DOOR)
    assert status == 1 and "run=other: phase" in err and "expected phase=mixture" in err, err
    assert not (tmp_path / "work/new.onnx").exists() and not list((tmp_path / "work").glob(".partial*"))
