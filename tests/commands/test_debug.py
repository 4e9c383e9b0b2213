"""Debug choices, callbacks of Lightning, and the layers in run.json."""

import csv
import json
import subprocess
import sys

import pytest

from tests.commands.test_sweeps import AUTOENCODER
from tests.commands.test_train import musdb
from tests.conftest import PROJECT, only_run


def rows(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("choice", "tracks", "steps"), [("one_batch", 1, 1), ("limit", 1, 10)])
def test_short_runs_end_with_scores(cli, songs, tmp_path, choice, tracks, steps):
    words = [word for word in musdb(songs, "data.chunks_per_track=10") if not word.startswith("trainer.max")]
    status, _, err = cli(*words, f"debug={choice}")
    run = only_run(tmp_path / "work")
    assert status == 0 and len(json.loads((run / "scores.json").read_text())["tracks"]) == tracks, err
    assert int(rows(run)[-1]["step"]) == steps
    assert json.loads((run / "run.json").read_text())["tags"] == ["debug"]


def test_test_batches_are_limited(cli, tmp_path):
    words = ["data.layout.seconds=4", "data.layout.train=1", "model.separator.net.channels=[2,2,4,4,4,4]", "trainer=cpu"]
    assert cli(*words, "data.chunks_per_track=1", "debug=limit")[0] == 0
    assert len(json.loads((only_run(tmp_path / "work") / "scores.json").read_text())["tracks"]) == 2  # of 3


def test_overfitting_repeats_one_batch(cli, tmp_path):
    status, _, err = cli(*AUTOENCODER, "debug=overfit", "trainer.max_epochs=12", "optim.optimizer.lr=0", "data.batch_size=64")
    losses = {row["train/loss"] for row in rows(only_run(tmp_path / "work"))}
    assert status == 0 and len(losses) == 1, err  # without learning, the loss of one batch stays


def test_the_profile_is_in_the_run_folder(cli, tmp_path):
    status, _, err = cli(*AUTOENCODER, "debug=profiler")
    assert status == 0 and "run_training_batch" in (only_run(tmp_path / "work") / "fit-profile.txt").read_text(), err


@pytest.mark.parametrize(
    ("words", "column"),
    [
        (["callbacks=learning_rate"], "lr-Adam"),
        (["callbacks=device_stats"], "DeviceStatsMonitor.on_train_batch_start/cpu_percent"),
        (["+callbacks.x._target_=pytorch_lightning.callbacks.LearningRateMonitor"], "lr-Adam"),
    ],
)
def test_values_of_lightning_callbacks_are_in_the_metrics(cli, tmp_path, words, column):
    status, _, err = cli(*AUTOENCODER, *words, "test=false")
    assert status == 0, err
    (row,) = rows(only_run(tmp_path / "work"))
    assert float(row[column]) >= 0 and float(row["valid/loss"]) > 0 and row["epoch"] == "0"


def test_the_model_summary_is_printed(tmp_path):
    words = [*AUTOENCODER, "callbacks=model_summary", "test=false"]
    result = subprocess.run(
        [sys.executable, PROJECT / "train.py", *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "Trainable params" in result.stdout + result.stderr


def test_the_record_has_the_layers(trained):
    record = json.loads((trained / "run.json").read_text())
    scores = json.loads((trained / "scores.json").read_text())
    layers = record["layers"]
    assert sum(layer["parameters"] for layer in layers) == scores["cost"]["parameters"]
    assert sum(layer["macs"] for layer in layers) == record["macs"] > 0 and record["macs_of"].startswith("a chunk of")
    assert {"Downsampling", "Upsampling"} <= {layer["kind"] for layer in layers}
