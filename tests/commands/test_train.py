"""Training and scoring of separators, from the command line to the files of the run."""

import csv
import json
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from torch import nn

from tests.conftest import NARROW, PROJECT, SHORT, files_below, only_run, write_song
from tests.models.test_separators import Constant, masking
from unbraid import audio
from unbraid.commands.cli import CONF
from unbraid.commands.train import _recorded
from unbraid.inference.chunked import separate
from unbraid.models.losses import MagnitudeL1, WaveformL1, WeightedSum
from unbraid.models.separators.waveform import WaveformSeparator
from unbraid.models.waveform_losses import LogWMSELoss
from unbraid.nets.adapters import ConvTasNet
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.runs.records import Run
from unbraid.scoring.measures import usdr
from unbraid.training.interruption import RESUMES, STARTS_AGAIN
from unbraid.training.separation import try_one_chunk
from unbraid.training.trainer import set_up_process


def musdb(root, *more):
    return ["model=unet", "data=musdb", f"data.root={root}", *SHORT, *more]


def load_json(path):
    return json.loads(path.read_text())


def test_a_run_has_scores_audio_and_pictures(trained):
    audio_names = [f"{target}-{kind}.flac" for target in ("accompaniment", "vocals") for kind in ("estimate", "target")]
    assert files_below(trained) == [
        "audio", "audio/song 3", *sorted(f"audio/song 3/{name}" for name in ["mixture.flac", "residual.flac", *audio_names]),
        "checkpoints", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints/previous.ckpt",
        "config.yaml", "metrics.csv", "pictures", "pictures/song 3-accompaniment.png", "pictures/song 3-vocals.png", "run.json",
        "scores", "scores.json", "scores/energy_ratios", "scores/energy_ratios/estimate", "scores/energy_ratios/estimate/test",
        "scores/energy_ratios/estimate/test/song 3.json", "tracks.json",
    ]  # fmt: skip


def test_training_prints_scores_and_paths(cli, songs, tmp_path):
    status, out, _ = cli(*musdb(songs))
    run = only_run(tmp_path / "work")
    assert status == 0 and run.name.endswith("-unet-musdb-0")
    for words in (
        "vocals (median of 1 test tracks, dB)",
        "mixture",
        "ideal ratio mask, STFT 1024/768",
        "phase-sensitive mask, STFT 1024/768",
        f"{run.relative_to(tmp_path / 'work')}/audio",
    ):
        assert words in out


def test_the_records_of_a_run_agree(trained, songs):
    scores, record = load_json(trained / "scores.json"), load_json(trained / "run.json")
    with (trained / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert record["state"] == "done" and "data=musdb" in record["overrides"]
    assert [row["epoch"] for row in rows] == ["0", "1"] and [row["step"] for row in rows] == ["2", "4"]
    assert all(float(row[name]) > 0 for row in rows for name in ("train/loss", "valid/loss", "lr", "seconds"))
    assert "valid/uSDR/vocals" in rows[0] and "valid/uSDR/accompaniment" in rows[0]
    assert OmegaConf.load(trained / "config.yaml").data.root == str(songs)
    assert scores["checkpoint"] == "checkpoints/best.ckpt"
    assert scores["protocol"]["sample_rate"] == 8192 and scores["protocol"]["together"] == ["vocals", "accompaniment"]
    for target in ("vocals", "accompaniment"):
        estimate, mixture = scores["summary"][target], scores["mixture"][target]
        assert estimate["uSDR"]["n"] == 1 and mixture["uSDRi"]["median"] == 0
        assert estimate["uSDRi"]["median"] == pytest.approx(estimate["uSDR"]["median"] - mixture["uSDR"]["median"])
        oracles = [scores["oracle"][name][target]["uSDR"]["median"] for name in ("psm", "irm")]
        assert oracles[0] > oracles[1] > estimate["uSDR"]["median"]
        assert scores["tracks"]["song 3"][target]["uSDR"] == estimate["uSDR"]["median"]


def test_the_written_audio_has_the_score(trained):
    """The written estimates have the uSDR of `scores.json`, and the residual is the mixture minus the estimates."""
    stems = {path.stem: soundfile.read(path)[0] for path in (trained / "audio/song 3").iterdir()}
    for target in ("vocals", "accompaniment"):
        error = stems[f"{target}-target"] - stems[f"{target}-estimate"]
        value = 10 * np.log10(np.sum(stems[f"{target}-target"] ** 2) / np.sum(error**2))
        score = load_json(trained / "scores.json")["tracks"]["song 3"][target]["uSDR"]
        assert value == pytest.approx(score, abs=0.01)
    estimates = stems["vocals-estimate"] + stems["accompaniment-estimate"]
    assert np.abs(stems["mixture"] - estimates - stems["residual"]).max() < 1e-5
    assert len(stems["mixture"]) == 3 * 8192


def test_checkpoints_contain_tensors_and_plain_python(trained):
    for name in ("best", "last"):
        checkpoint = torch.load(trained / f"checkpoints/{name}.ckpt", weights_only=True)
        assert {key.split(".")[0] for key in checkpoint["state_dict"]} == {"separator"}


@pytest.mark.slow
def test_the_real_stem_file_as_train_valid_and_test(cli, stem_file, tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / "stems" / split).mkdir(parents=True)
        shutil.copy(stem_file, tmp_path / "stems" / split)
    status, _, _ = cli(*musdb(tmp_path / "stems"))
    run = only_run(tmp_path / "work")
    (track,) = load_json(run / "scores.json")["tracks"]
    assert status == 0 and track == stem_file.name.removesuffix(".stem.mp4")
    (mixture,), rate = audio.read(run / "audio" / track / "mixture.flac")
    assert (rate, mixture.shape) == (8192, (1, round(268288 * 8192 / 44100)))


def test_the_same_seed_gives_the_same_weights(cli, songs, tmp_path):
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        cli(*musdb(songs, f"hydra.run.dir=run{number}", f"seed={seed}", f"data.num_workers={number % 2}"))
        weights.append(torch.load(tmp_path / f"work/run{number}/checkpoints/last.ckpt", weights_only=True)["state_dict"])
    first, again, other = weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


NET = "model.separator.net"
SECOND = "model.separator.chunk_seconds=1"
SCNET = [SECOND, f"{NET}.channels=[4,8]", f"{NET}.layers=2"]
ROFORMER = [SECOND, f"{NET}.dim=8", f"{NET}.depth=1", f"{NET}.dim_head=4", f"{NET}.heads=2"]
TINY = {  # smaller sizes of slow models
    "hdemucs": [SECOND, f"{NET}.channels=4", f"{NET}.n_fft=1024", f"{NET}.depth=5"],
    "htdemucs": [SECOND, f"{NET}.channels=16", f"{NET}.bottom_channels=16", f"{NET}.layers=2"],
    "htdemucs_small": [SECOND],
    "conv_tasnet": [SECOND, f"{NET}.enc_num_feats=8", f"{NET}.msk_num_hidden_feats=8", f"{NET}.msk_num_layers=2"],
    "ddsp": ["pitch=crepe_tiny", "model.net.hidden=16"],
    "mdx23c": [SECOND, f"{NET}.channels=4", f"{NET}.growth=2", f"{NET}.levels=3", f"{NET}.blocks=1"],
    "mdx23c_small": [SECOND],
    "scnet_tran": [*SCNET, f"{NET}.heads=2", f"{NET}.dim_head=4", f"{NET}.rotary_dim=4"],
    "unet_44khz": [NARROW, "model.separator.chunk_seconds=1.5"],
}
TINY |= dict.fromkeys(("scnet", "scnet_large", "scnet_masked", "scnet_small"), SCNET)
TINY |= dict.fromkeys(("bs_roformer", "bs_roformer_large", "mel_band_roformer", "mel_band_roformer_large"), ROFORMER)


QUICK = {"unet", "unet_softmax", "conv_ae", "pca"}  # one of each kind; the others run with the slow tests
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


@pytest.mark.parametrize("model", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MODELS])
def test_every_model_trains_on_the_demo_songs(cli, model, tmp_path):
    status, out, _ = cli(
        f"model={model}", *TINY.get(model, ()),
        "data.layout.train=1", "data.layout.valid=1", "data.layout.test=1", "data.layout.seconds=4",
        "trainer.accelerator=cpu", "trainer.max_steps=2", "data.batch_size=2", "data.chunks_per_track=4",
    )  # fmt: skip
    assert status == 0 and any(words in out for words in ("ideal ratio mask", "squared error", "constant spectra, fitted"))
    assert load_json(only_run(tmp_path / "work") / "run.json")["state"] == "done"


LENGTHS = {  # models and shortest chunks, in seconds
    "unet": "8", "open_unmix": "0.5", "scnet_small": "0.3", "bs_roformer_small": "0.3", "mel_band_roformer_small": "0.3",
    "htdemucs_small": "0.5", "mdx23c_small": "0.5", "conv_tasnet": "0.3", "chimera_small": "0.5", "unet_segmentation": "2",
}  # fmt: skip


@pytest.mark.parametrize("model", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in LENGTHS])
def test_models_train_on_chunks_of_random_lengths(cli, model):
    status, out, _ = cli(
        f"model={model}", *TINY.get(model, ()), f"data.sampling.shortest_seconds={LENGTHS[model]}",
        "data.layout.train=1", "data.layout.valid=1", "data.layout.test=1", "data.layout.seconds=4", "test=false",
        "trainer.accelerator=cpu", "trainer.max_steps=4", "data.batch_size=1", "data.chunks_per_track=4",
    )  # fmt: skip
    assert status == 0 and "epoch   1" in out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["model=unet", "data.sampling.shortest_seconds=2"], "16384 samples"),
        (["model=ae", "features=spectra", "data.sampling.shortest_seconds=0.5"], 0.5),
        (["model=ddsp_small", "data=demo_leads", "data.sampling.shortest_seconds=0.001"], "16 samples"),
    ],
)
def test_other_models_refuse_chunks_of_random_lengths(error_of, words, found):
    error = error_of("train", *words)
    assert (error.where, error.found) == ("data.sampling.shortest_seconds", found)


@pytest.mark.slow
def test_the_best_weights_are_scored_not_the_last(cli, songs, tmp_path):
    """If the highest loss counts as the best, the weights of the first epoch must be scored."""
    cli(
        *musdb(
            songs,
            "trainer.max_epochs=4",
            "callbacks.best.monitor=train/loss",
            "callbacks.best.mode=max",
            "optim.optimizer.lr=0.1",
        )
    )
    run = only_run(tmp_path / "work")
    task = build(OmegaConf.load(run / "config.yaml").model)
    scores = []
    for name in ("best", "last"):
        task.load_state_dict(torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"])
        (mixture,), _ = audio.read(run / "audio/song 3/mixture.flac")
        (target,), _ = audio.read(run / "audio/song 3/vocals-target.flac")
        estimate = separate(task.separator.eval(), torch.from_numpy(mixture))[0]
        scores.append(usdr(torch.from_numpy(target), estimate))
    scored = load_json(run / "scores.json")["tracks"]["song 3"]["vocals"]["uSDR"]
    assert scored == pytest.approx(scores[0], abs=0.01) and abs(scores[0] - scores[1]) > 0.1


def test_trying_a_chunk_leaves_the_network_in_training_mode(songs, tmp_path):
    separator = masking(partial(Constant, 0.5))
    try_one_chunk(separator, MagnitudeL1(), 97536)
    assert separator.training


def test_incompatible_sizes_of_a_network_are_named():
    net = partial(ConvTasNet, msk_num_stacks=0)
    with pytest.raises(InputError) as error:
        try_one_chunk(WaveformSeparator(net, ["vocals"], 8000, 1, 0.1), WaveformL1(), 800)
    assert "model.separator.net" in error.value.where and "800" in str(error.value)


def test_a_loss_for_another_sample_rate_is_refused():
    separator, loss = WaveformSeparator(lambda _: nn.Unflatten(1, (1, 1)), ["vocals"], 8000, 1, 0.1), LogWMSELoss()
    with pytest.raises(InputError) as error:
        try_one_chunk(separator, WeightedSum({"hearing": loss}, {"hearing": 1.0}), 800)
    assert (error.value.where, error.value.found, error.value.expected) == ("model.loss", "8000 Hz", "44100 Hz")


def test_denormal_numbers_are_flushed():
    torch.set_flush_denormal(False)
    set_up_process(0)
    assert (torch.full((4,), 1e-38) * 1e-2 == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("words", [["trainer.max_steps=1", "trainer.max_epochs=-1"], ["trainer.check_val_every_n_epoch=2"]])
def test_a_run_may_end_before_its_first_validation(cli, songs, words):
    status, _, err = cli(*musdb(songs, "data.chunks_per_track=4", "trainer.max_epochs=2", *words))
    assert status == 0, err


@pytest.mark.slow
def test_two_processes_with_a_silent_validation_track(tmp_path):
    for number, split in enumerate(("train", "valid", "valid", "test", "test", "test")):
        write_song(tmp_path / "songs" / split / f"song {number}", seed=number)
    silent = tmp_path / "songs/valid/song 2/vocals.wav"
    soundfile.write(silent, np.zeros((3 * 44100, 2)), 44100)
    words = musdb(tmp_path / "songs", "trainer.devices=2", "trainer.strategy=ddp", "hydra.run.dir=run")
    subprocess.run([sys.executable, PROJECT / "train.py", *words], cwd=tmp_path, check=True, timeout=120, capture_output=True)
    assert load_json(tmp_path / "run/run.json")["state"] == "done"
    with (tmp_path / "run/metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["valid/uSDR/vocals"]) < 0 < float(row["valid/loss"])
    scores = load_json(tmp_path / "run/scores.json")  # each track once and in order, from both processes
    assert list(scores["tracks"]) == ["song 3", "song 4", "song 5"] and scores["summary"]["vocals"]["uSDR"]["n"] == 3


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(tmp_path):
    """Compare the gradients in the state of Adam, which stores a tenth of the first one. The network has no batch norm."""
    for number, split in enumerate(("train", "train", "valid", "valid", "test", "test")):
        write_song(tmp_path / "songs" / split / f"song {number}", seed=number)
    gradients = []
    for devices in (1, 2):
        words = ["model=conv_tasnet", "data=musdb", f"data.root={tmp_path / 'songs'}", *TINY["conv_tasnet"]]
        words += ["trainer=cpu", "trainer.max_steps=1", f"trainer.devices={devices}", f"hydra.run.dir=run{devices}"]
        words += ["data.chunks_per_track=4", f"data.batch_size={4 // devices}"]
        subprocess.run(
            [sys.executable, PROJECT / "train.py", *words], cwd=tmp_path, check=True, timeout=120, capture_output=True
        )
        state = torch.load(tmp_path / f"run{devices}/checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]["state"]
        gradients.append([10 * values["exp_avg"] for values in state.values()])
    assert sum(gradient.abs().sum() for gradient in gradients[0]) > 0
    for single, double in zip(*gradients, strict=True):
        assert (single - double).abs().max() < 1e-6


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize("words", ["trainer.max_epochs=0", "+trainer.limit_val_batches=0", "callbacks.best=null"])
def test_a_run_without_a_best_epoch_keeps_its_last_weights(cli, songs, tmp_path, words):
    status, out, err = cli(*musdb(songs, words, "hydra.run.dir=run"))
    assert status == 0, err
    run = tmp_path / "work/run"
    assert load_json(run / "scores.json")["checkpoint"] == "checkpoints/best.ckpt" and "checkpoints/best.ckpt" in out
    best = weights(run / "checkpoints/best.ckpt")
    if words != "trainer.max_epochs=0":
        last = weights(run / "checkpoints/last.ckpt")
        assert best.keys() == last.keys() and all(torch.equal(best[name], last[name]) for name in best)


@pytest.mark.slow
def test_a_run_of_one_step_can_be_used(cli, songs, tmp_path):
    assert cli(*musdb(songs, "trainer.max_steps=1", "hydra.run.dir=run"))[0] == 0
    run = tmp_path / "work/run"
    status, _, err = cli("run=run", "output=again", script="scripts/evaluate.py")
    assert status == 0, err
    assert load_json(tmp_path / "work/again/scores.json")["tracks"] == load_json(run / "scores.json")["tracks"]
    song = songs / "test/song 3/mixture.wav"
    assert cli("run=run", f"input={song}", script="scripts/separate.py")[0] == 0


def test_weights_that_diverged_in_the_last_step_are_refused(cli, songs, tmp_path):
    words = [
        "trainer.max_steps=1",
        "+trainer.limit_val_batches=0",
        "optim.optimizer.lr=1e39",
    ]  # over the float32 range
    status, _, err = cli(*musdb(songs, *words, "hydra.run.dir=run"))
    assert status == 1 and "error: weights of epoch " in err
    assert not (tmp_path / "work/run/checkpoints").exists()


@pytest.mark.slow
def test_the_network_learns(cli, tmp_path):
    """A narrow U-Net learns in seconds to separate the vocals of one song of tones and noise."""
    for split in ("train", "valid", "test"):
        write_song(tmp_path / "songs" / split / "song", seed=0)
    words = ["data.chunks_per_track=16", "optim.optimizer.lr=3e-3", "model.separator.net.channels=[4,8,8,8,8,8]"]
    cli(*musdb(tmp_path / "songs", "trainer.max_epochs=15", *words))
    summary = load_json(only_run(tmp_path / "work") / "scores.json")["summary"]["vocals"]
    assert summary["uSDRi"]["median"] > 6


@pytest.mark.parametrize(("checkpoint", "note"), [("last.ckpt", RESUMES.format("run")), ("other.ckpt", STARTS_AGAIN)])
def test_a_stopped_run_tells_what_the_same_command_does(tmp_path, checkpoint, note):
    run = Run(tmp_path / "run", OmegaConf.create({"resume": "auto"}), [], {})
    run.freeze()

    def stop():
        (run.folder / "checkpoints").mkdir()
        (run.folder / "checkpoints" / checkpoint).touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        _recorded(run, stop)
    assert caught.value.__notes__ == [note] and run.state == "interrupted"
