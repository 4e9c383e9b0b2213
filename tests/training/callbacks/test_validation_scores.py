"""Test the scores of validation tracks during training."""

import csv
import subprocess
import sys
from types import SimpleNamespace

import pytest
import soundfile
import torch

from tests.conftest import PROJECT, SHORT, only_run, write_song
from tests.scoring.conftest import random_sources, spoilt
from tests.scoring.test_protocols import protocol
from unbraid.runs.errors import InputError
from unbraid.scoring.bss_eval import bss_eval
from unbraid.training.callbacks.validation_scores import ValidationScores

SCORED = ["callbacks=scored", "callbacks.scores.every_n_epochs=2"]


def rows(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_second_epoch_has_scores(cli, songs, tmp_path):
    words = ["data=musdb", f"data.root={songs}", *SHORT, *SCORED, "trainer.max_epochs=5", "targets=vocals_accompaniment"]
    status, _, err = cli(*words)
    assert status == 0, err
    table = rows(only_run(tmp_path / "work"))
    for name in ("valid/SDR/vocals", "valid/SIR/vocals", "valid/SAR/accompaniment", "valid/scoring_share"):
        assert [row[name] != "" for row in table] == [False, True, False, True, False], name
    assert all(0 < float(table[epoch]["valid/scoring_share"]) < 1 for epoch in (1, 3))
    assert all(row["valid/uSDR/vocals"] for row in table)
    assert "valid/SDR/rest" not in table[1]


def test_scores_equal_bss_eval():
    """Score a target and its residual."""
    reference = random_sources(2, 1, 20000)
    mixture, estimate = reference.sum(dim=0), spoilt(reference)[:1]
    callback = ValidationScores(protocol("musdb18", "protocol.sources=null", "protocol.channels=1"), 1)
    callback.protocol = protocol("ikala_nsdr", "protocol.sources=null", "protocol.sample_rate=8000")
    callback.source_group = callback.protocol.source_group(["vocals"], torch.tensor([[1.0, 0.0]]))
    batch = SimpleNamespace(mixture=mixture[None], sources=reference[None, :1], known=None)
    frames = callback._score(batch, estimate).frames
    expected = bss_eval(reference, torch.stack([estimate[0], mixture - estimate[0]]), filters="window", kind="sources")
    assert [frames[name]["SDR"][0] for name in ("vocals", "rest")] == pytest.approx(expected.sdr.flatten().tolist())


def test_diverged_run_is_not_scored(cli, songs, tmp_path):
    words = [
        "data=musdb",
        f"data.root={songs}",
        *SHORT,
        *SCORED,
        "callbacks.scores.every_n_epochs=1",
        "optim.optimizer.lr=1e30",
    ]
    status, _, err = cli(*words)
    assert status == 1 and " of epoch " in err.splitlines()[-1]
    (row,) = rows(only_run(tmp_path / "work"))
    assert row["valid/SDR/vocals"] == ""


@pytest.mark.slow
def test_two_processes_log_the_same_scores(tmp_path):
    """Use three tracks for two processes, of which the second process scores the easy one. The mean covers all tracks."""
    for number, split in enumerate(("train", "valid", "valid", "valid", "test", "test")):
        song = write_song(tmp_path / "songs" / split / f"song {number}", seed=number)
    easy = tmp_path / "songs/valid/song 2"
    for name in ("drums", "bass", "other"):
        soundfile.write(easy / f"{name}.wav", song[name] // 100, 44100)
    soundfile.write(easy / "mixture.wav", song["vocals"], 44100)
    logged = []
    for devices in (1, 2):
        words = [f"trainer.devices={devices}", "trainer.strategy=ddp", f"hydra.run.dir=run{devices}", "optim.optimizer.lr=0"]
        words += [
            "data=musdb",
            f"data.root={tmp_path / 'songs'}",
            *SHORT,
            "callbacks=scored",
            "callbacks.scores.every_n_epochs=1",
        ]
        words += ["callbacks.scores.protocol.tracks=mean"]
        subprocess.run(
            [sys.executable, PROJECT / "train.py", *words], cwd=tmp_path, check=True, timeout=120, capture_output=True
        )
        (row,) = rows(tmp_path / f"run{devices}")
        logged.append(row)
    for measure in ("SDR", "SIR"):
        one, two = (float(row[f"valid/{measure}/vocals"]) for row in logged)
        assert two == pytest.approx(one, abs=1e-4)
    assert all(row["valid/SAR/vocals"] for row in logged)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["callbacks.scores.every_n_epochs=0"], "callbacks.scores.every_n_epochs"),
        (["callbacks.scores.protocol.sample_rate=44100"], "callbacks.scores.protocol"),
        (["callbacks.scores.protocol.sources=[[drums,bass]]"], "[drums, bass]"),
    ],
)
def test_invalid_options_are_refused_before_training(cli, songs, words, key):
    status, _, err = cli("data=musdb", f"data.root={songs}", *SHORT, *SCORED, *words)
    assert status == 1 and key in err


def test_only_separators_have_validation_scores():
    with pytest.raises(InputError) as error:
        ValidationScores(protocol("musdb18"), 1).on_fit_start(SimpleNamespace(), SimpleNamespace())
    assert error.value.where == "callbacks.scores"


def test_negative_number_of_epochs_is_refused():
    with pytest.raises(InputError, match="every_n_epochs"):
        ValidationScores(protocol("musdb18"), -2)
