"""Open-Unmix from the command line: training from statistics or from weights, and export for the openunmix package."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from openunmix.model import OpenUnmix
from openunmix.utils import load_separator

from tests.commands.conftest import has_names
from tests.conftest import files_below, load_script, make_root
from tests.test_configs import compose
from unbraid.runs.config import build, own_config

SCRIPT = "scripts/export.py"
NET = [
    "model=open_unmix", "model.separator.sample_rate=8000", "model.separator.stft.n_fft=512",
    "model.separator.stft.hop_length=128", "model.separator.net.bins=257", "model.separator.net.max_bin=200",
    "model.separator.net.hidden=8", "model.separator.chunk_seconds=1.0",
]  # fmt: skip
SHORT = ["trainer.max_epochs=1", "data.batch_size=2", "data.chunks_per_track=2", "trainer.accelerator=cpu"]
# With a learning rate of 0 the trained weights are the initial weights.
SHORT += ["evaluation.clips=0", "optim.optimizer.lr=0"]


def words(root, *more):
    return [*NET, "targets=vocals_accompaniment", "data=musdb", f"data.root={root}", *SHORT, *more]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with songs, a run, and the run's export."""
    folder = tmp_path_factory.mktemp("open_unmix")
    make_root(folder / "songs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(folder / "cache"))
        patch.setattr(sys, "argv", ["train.py", *words(folder / "songs", f"hydra.run.dir={folder / 'run'}")])
        load_script("train.py")()
        patch.setattr(sys, "argv", [SCRIPT, f"run={folder / 'run'}", "format=openunmix", f"output={folder / 'exported'}"])
        load_script(SCRIPT)()
    return folder


@pytest.mark.slow
def test_training_starts_from_statistics(trained):
    (path,) = (trained / "cache/statistics").glob("*.npz")
    mean = torch.from_numpy(np.load(path)["mean"]).float()
    state = torch.load(trained / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for net in range(2):
        assert torch.equal(state[f"separator.nets.{net}.input_mean"], -mean[:200])
    assert len(mean) == 257 and mean.max() > 1e-3


@pytest.mark.slow
def test_init_replaces_the_statistics(cli, songs, trained, tmp_path):
    exported = trained / "exported"
    status, _, err = cli(*words(songs, f"init={exported}", "hydra.run.dir=run"))
    assert status == 0, err
    state = torch.load(tmp_path / "work/run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for number, target in enumerate(("vocals", "accompaniment")):
        given = torch.load(exported / f"{target}.pth", weights_only=True)
        assert all(
            torch.equal(value, state[f"separator.nets.{number}.{name}"])
            for name, value in given.items()
            if not name.startswith("bn")  # statistics of batches move
        )
    status, _, err = cli(*words(songs, f"init={exported}", "model.separator.net.hidden=6"))
    assert status == 1 and has_names(err, "fc1.weight [8, 400] [6, 400] model.separator.net.hidden=8")
    status, _, err = cli("model=ae", "data=digits", "init=umx")
    assert status == 1 and has_names(err, "init umx init=null")


@pytest.mark.slow
def test_weights_are_scored_without_training(cli, trained, songs, tmp_path):
    status, out, err = cli(*words(songs, f"init={trained / 'exported'}", "trainer.max_epochs=0", "hydra.run.dir=run"))
    assert status == 0 and "this run" in out, err
    assert json.loads((tmp_path / "work/run/scores.json").read_text())["checkpoint"] == "checkpoints/best.ckpt"


def test_one_target_without_the_residual_is_refused(error_of, songs, tmp_path):
    error = error_of("train", *NET, "targets=vocals", "phase=wiener", "data=musdb", f"data.root={songs}")
    assert has_names(str(error), "phase.residual=true")
    assert files_below(tmp_path / "work") == []


@pytest.mark.parametrize("iterations", [0, 1])
@torch.no_grad()
def test_the_package_computes_the_same_from_the_export(trained, iterations):
    assert files_below(trained / "exported") == [
        "accompaniment.json", "accompaniment.pth", "separator.json", "vocals.json", "vocals.pth",
    ]  # fmt: skip
    theirs = load_separator(str(trained / "exported"), ["vocals", "accompaniment"], niter=iterations).eval()
    config = own_config(trained / "run")
    config.model.separator.phase = {
        "_target_": "unbraid.dsp.phase.Wiener", "iterations": iterations, "softmask": False, "residual": False,
        "window_frames": 300,
    }  # fmt: skip
    task = build(config.model)
    task.load_state_dict(torch.load(trained / "run/checkpoints/best.ckpt", weights_only=True)["state_dict"])
    mixture = 0.1 * torch.randn(1, 2, 20_011)
    sources, expected = task.eval().separator(mixture).sources, theirs(mixture)
    assert expected.shape == sources.shape and expected.abs().max() > 0.01
    assert (sources - expected).abs().max() < 1e-4
    assert theirs.sample_rate == json.loads((trained / "exported/separator.json").read_text())["sample_rate"] == 8000


def test_only_an_exported_folder_is_replaced(cli, refused, trained, tmp_path):
    folder, words = tmp_path / "work/exported", [f"run={trained / 'run'}", "format=openunmix", "overwrite=true"]
    shutil.copytree(trained / "exported", folder)
    (folder / "vocals.pth").write_bytes(b"old")
    (folder / "drums.pth").write_bytes(b"old")
    status, _, err = cli(*words, f"output={folder}", script=SCRIPT)
    assert status == 0, err
    assert files_below(folder) == files_below(trained / "exported") and (folder / "vocals.pth").read_bytes() != b"old"
    (folder / "song.wav").touch()
    assert has_names(refused(*words, f"output={folder}", script=SCRIPT), "output= separator.json")
    assert (folder / "song.wav").exists()


def test_an_existing_output_is_not_changed(refused, trained, tmp_path):
    (tmp_path / "work/there").mkdir()
    assert "output=there" in refused(f"run={trained / 'run'}", "output=there", script=SCRIPT)
    assert files_below(tmp_path / "work") == ["there"]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (("open_unmix.OpenUnmix", "unet.UNet"), "model.separator.net"),
        (("layers: 3", "layers: 2"), "model.separator.net.layers 2 3"),
        (("causal: false", "causal: true"), "model.separator.net.causal True False"),
        (("edges: reflection", "edges: silence"), "stft.edges silence reflection"),
        (("mask_max: null", "mask_max: 1.0"), "mask_max 1.0"),
    ],
)
def test_options_that_the_package_lacks_are_refused(error_of, trained, tmp_path, change, names):
    run = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    config = (run / "config.yaml").read_text()
    assert config.count(change[0]) == 1
    (run / "config.yaml").write_text(config.replace(*change))
    assert has_names(str(error_of("export", f"run={run}", "output=new", "format=openunmix")), names)
    assert not (tmp_path / "work/new").exists()


def test_another_model_is_refused(error_of, tmp_path):
    assert has_names(str(error_of("export", "run=x", "format=tflite")), "format 'tflite'")
    (tmp_path / "work/unet").mkdir()
    OmegaConf.save(compose("model=unet"), tmp_path / "work/unet/config.yaml", resolve=True)
    assert has_names(str(error_of("export", "run=unet", "format=openunmix")), "run=unet model=open_unmix")
    assert files_below(tmp_path / "work") == ["unet", "unet/config.yaml"]


def test_the_training_options_are_those_of_the_package():
    """Compare the network with the package's default, and the optimizer with its train.py: Stöter et al., JOSS 2019."""
    config = compose("model=open_unmix")
    (net,) = build(config.model).separator.nets
    package = OpenUnmix(nb_bins=2049, nb_channels=2, max_bin=1487)
    assert net.lstm.dropout == package.lstm.dropout == 0.4 and net.hidden == package.hidden_size
    assert [parameter.shape for parameter in net.parameters()] == [parameter.shape for parameter in package.parameters()]
    assert (config.optim.optimizer.lr, config.optim.optimizer.weight_decay) == (1e-3, 1e-5)
    assert (config.optim.scheduler.factor, config.optim.scheduler.patience, config.optim.scheduler.cooldown) == (0.3, 80, 10)
    assert config.callbacks.early_stopping.patience == 140
