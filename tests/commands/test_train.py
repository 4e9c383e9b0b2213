"""The main job, end to end, as a user types it."""

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from tests.conftest import SHORT, files_below, only_run, write_song
from unbraid import audio
from unbraid.commands.door import CONF


def musdb(root, *more):
    return ["model=unet", "data=musdb", f"data.root={root}", *SHORT, *more]


def load_json(path):
    return json.loads(path.read_text())


def test_the_main_job_leaves_scores_audio_and_pictures(cli, songs, tmp_path):
    status, out, _ = cli(*musdb(songs, "trainer.max_epochs=2"))
    run = only_run(tmp_path / "work")
    assert status == 0
    assert run.name.endswith("-unet-musdb-0")
    assert files_below(run) == [
        "audio", "audio/song 3", "audio/song 3/mixture.flac", "audio/song 3/residual.flac",
        "audio/song 3/vocals-estimate.flac", "audio/song 3/vocals-target.flac",
        "checkpoints", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
        "config.yaml", "metrics.csv", "pictures", "pictures/song 3-vocals.png", "run.json", "scores.json",
    ]  # fmt: skip
    for words in (
        "vocals (median of 1 test tracks, dB)",
        "this run",
        "mixture",
        "ideal ratio mask",
        f"listen  {run.relative_to(tmp_path / 'work')}/audio",
    ):
        assert words in out


def test_the_records_of_a_run_agree(cli, songs, tmp_path):
    cli(*musdb(songs, "trainer.max_epochs=2", "targets=vocals_accompaniment"))
    run = only_run(tmp_path / "work")
    scores, record = load_json(run / "scores.json"), load_json(run / "run.json")
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert record["state"] == "done" and "data=musdb" in record["overrides"]
    assert [row["epoch"] for row in rows] == ["0", "1"] and [row["step"] for row in rows] == ["2", "4"]
    assert all(float(row[name]) > 0 for row in rows for name in ("train/loss", "valid/loss", "lr", "seconds"))
    assert "valid/uSDR/vocals" in rows[0] and "valid/uSDR/accompaniment" in rows[0]
    assert OmegaConf.load(run / "config.yaml").data.root == str(songs)
    assert scores["checkpoint"] == "checkpoints/best.ckpt"
    assert scores["protocol"]["sample_rate"] == 8192 and scores["protocol"]["targets"] == ["vocals", "accompaniment"]
    for target in ("vocals", "accompaniment"):
        own, mixture = scores["summary"][target], scores["mixture"][target]
        assert own["uSDR"]["n"] == 1 and mixture["uSDRi"]["median"] == 0
        assert own["uSDRi"]["median"] == pytest.approx(own["uSDR"]["median"] - mixture["uSDR"]["median"])
        assert scores["oracle"]["irm"][target]["uSDR"]["median"] > own["uSDR"]["median"]
        assert scores["tracks"]["song 3"][target]["uSDR"] == own["uSDR"]["median"]


def test_the_audio_is_the_score(cli, songs, tmp_path):
    """What one hears has the uSDR that scores.json says, and the residual is what is left of the mixture."""
    cli(*musdb(songs))
    run = only_run(tmp_path / "work")
    read = {path.stem: soundfile.read(path)[0] for path in (run / "audio/song 3").iterdir()}
    error = read["vocals-target"] - read["vocals-estimate"]
    value = 10 * np.log10(np.sum(read["vocals-target"] ** 2) / np.sum(error**2))
    assert value == pytest.approx(load_json(run / "scores.json")["tracks"]["song 3"]["vocals"]["uSDR"], abs=0.01)
    assert np.abs(read["mixture"] - read["vocals-estimate"] - read["residual"]).max() < 1e-5
    assert len(read["mixture"]) == 3 * 8192


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


def test_checkpoints_hold_tensors_and_plain_python_only(cli, songs, tmp_path):
    cli(*musdb(songs))
    for name in ("best", "last"):
        checkpoint = torch.load(only_run(tmp_path / "work") / f"checkpoints/{name}.ckpt", weights_only=True)
        assert {key.split(".")[0] for key in checkpoint["state_dict"]} == {"separator"}


def test_the_same_seed_gives_the_same_weights_bit_for_bit(cli, songs, tmp_path):
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        cli(*musdb(songs, f"hydra.run.dir=run{number}", f"seed={seed}", f"data.workers={number % 2}"))
        weights.append(torch.load(tmp_path / f"work/run{number}/checkpoints/last.ckpt", weights_only=True)["state_dict"])
    first, again, other = weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("model", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
def test_every_model_trains_on_the_demo_songs(cli, model, tmp_path):
    status, out, _ = cli(
        f"model={model}", "data.layout.train=1", "data.layout.valid=1", "data.layout.test=1", "data.layout.seconds=4",
        "trainer.accelerator=cpu", "trainer.max_steps=2", "data.batch_size=2", "data.chunks_per_track=4",
    )  # fmt: skip
    assert status == 0 and "ideal ratio mask" in out
    assert load_json(only_run(tmp_path / "work") / "run.json")["state"] == "done"


def test_a_multirun_gives_each_run_its_folder(cli, songs, tmp_path):
    status, _, _ = cli("-m", *musdb(songs)[1:], "model=unet,unet_noskip", "hydra.sweep.dir=sweep")
    assert status == 0
    folders = sorted(path.name for path in (tmp_path / "work/sweep").iterdir() if path.is_dir())
    assert folders == ["0-unet-musdb-0", "1-unet_noskip-musdb-0"]
    assert all((tmp_path / "work/sweep" / folder / "scores.json").is_file() for folder in folders)


def test_without_an_epoch_the_last_weights_are_scored(cli, songs, tmp_path):
    status, _, _ = cli(*musdb(songs, "trainer.max_epochs=0"))
    assert status == 0
    assert load_json(only_run(tmp_path / "work") / "scores.json")["checkpoint"] == "the last weights"


def test_the_network_learns(cli, tmp_path):
    """Four tones in noise: a narrow U-Net that trains on one song finds its vocals in seconds."""
    for split in ("train", "valid", "test"):
        write_song(tmp_path / "songs" / split / "song", seed=0)
    words = ["data.chunks_per_track=16", "optim.optimizer.lr=3e-3", "model.separator.net.channels=[4,8,8,8,8,8]"]
    cli(*musdb(tmp_path / "songs", "trainer.max_epochs=15", *words))
    summary = load_json(only_run(tmp_path / "work") / "scores.json")["summary"]["vocals"]
    assert summary["uSDRi"]["median"] > 6
