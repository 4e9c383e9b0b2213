"""Training and separation with an untidy folder of songs, which a yaml of five lines describes."""

import csv
import json
import subprocess
import sys

import pytest

from tests.conftest import PROJECT, SHORT, files_below, only_run, write_song
from tests.data import twins

DATA = ["data=stems", "data.layout.sources=sources.yaml", "data.layout.missing=silence"]
TWO_STEPS = ["data.batch_size=4", "data.chunks_per_track=1"]


@pytest.mark.slow
def test_training_with_twelve_untidy_songs(cli, tmp_path):
    root = twins.untidy(tmp_path / "songs")
    assert (root / "sources.yaml").read_text().count("\n") == 5
    before = files_below(root)
    status, _, err = cli(*DATA, f"data.root={root}", *SHORT)
    assert status == 1 and "06 Song/06 Song Lead VOX.WAV" in err and "data.layout.lengths=pad" in err
    status, out, err = cli(*DATA, f"data.root={root}", "data.layout.lengths=pad", *SHORT, *TWO_STEPS)
    assert status == 0, err
    assert "8 train, 2 valid, 2 test tracks" in out
    for name in ("01 Song/Bass_DI.mp3", "(05 Song)", "12 tracks"):
        assert name in err
    run = only_run(tmp_path / "work")
    assert set(json.loads((run / "scores.json").read_text())["tracks"]) == {"01 Song", "08 Song"}
    status, _, err = cli(f"run={run}", f"input='{root}/Live [2nd take]/Kick.wav'", script="scripts/separate.py")
    assert status == 0, err
    assert "separated/Kick/vocals.wav" in files_below(tmp_path / "work")
    assert files_below(root) == before


@pytest.mark.slow
def test_songs_of_one_name_are_scored_separately(cli, tmp_path):
    for split in ("train", "valid", "test"):
        write_song(tmp_path / "songs" / split / "intro", seed=0)
    status, _, err = cli("data=stems", f"data.root={tmp_path / 'songs'}", *SHORT)
    assert status == 0, err
    run = only_run(tmp_path / "work")
    assert list(json.loads((run / "scores.json").read_text())["tracks"]) == ["test - intro"]
    assert (run / "audio/test - intro/mixture.flac").is_file()


@pytest.mark.slow
def test_more_processes_than_validation_tracks(cli, tmp_path):
    for number, split in enumerate(("train", "valid", "test")):
        write_song(tmp_path / "songs" / split / f"song {number}", seed=number)
    words = ["data=musdb", f"data.root={tmp_path / 'songs'}", *SHORT, "optim.optimizer.lr=0", "callbacks=scored"]
    words += ["callbacks.scores.every_n_epochs=1"]
    cli(*words, f"hydra.run.dir={tmp_path / 'run1'}")
    words += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "hydra.run.dir=run2"]
    subprocess.run([sys.executable, PROJECT / "train.py", *words], cwd=tmp_path, check=True, timeout=300, capture_output=True)
    assert json.loads((tmp_path / "run2/run.json").read_text())["state"] == "done"
    single, double = (
        next(csv.DictReader((tmp_path / f"run{devices}/metrics.csv").read_text().splitlines())) for devices in (1, 2)
    )
    for name in ("valid/loss", "valid/uSDR/vocals", "valid/SDR/vocals"):
        assert float(double[name]) == pytest.approx(float(single[name]), rel=0.02), name  # the statistics of batch norm differ
