"""Scores of validation tracks while a run trains."""

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


def test_every_second_epoch_ends_in_scores_and_the_others_are_empty(cli, songs, tmp_path):
    words = ["data=musdb", f"data.root={songs}", *SHORT, *SCORED, "trainer.max_epochs=5", "targets=vocals_accompaniment"]
    status, _, err = cli(*words)
    assert status == 0, err
    table = rows(only_run(tmp_path / "work"))
    for name in ("valid/SDR/vocals", "valid/SIR/vocals", "valid/SAR/accompaniment", "valid/scoring_share"):
        assert [row[name] != "" for row in table] == [False, True, False, True, False], name
    assert all(0 < float(table[epoch]["valid/scoring_share"]) < 1 for epoch in (1, 3))
    assert all(row["valid/uSDR/vocals"] for row in table)
    assert "valid/SDR/rest" not in table[1]


def test_the_scores_are_those_of_bss_eval():
    """Of a target and of what it leaves, both from mixture, target and estimate alone."""
    reference = random_sources(2, 1, 20000)
    mixture, estimate = reference.sum(dim=0), spoilt(reference)[:1]
    callback = ValidationScores(protocol("musdb18", "protocol.sources=null", "protocol.channels=1"), 1)
    callback.protocol = protocol("ikala_nsdr", "protocol.sources=null", "protocol.sample_rate=8000")
    callback.source_group = callback.protocol.source_group(["vocals"], torch.tensor([[1.0, 0.0]]))
    batch = SimpleNamespace(mixture=mixture[None], sources=reference[None, :1])
    frames = callback._score(batch, estimate).frames
    expected = bss_eval(reference, torch.stack([estimate[0], mixture - estimate[0]]), filters="window", kind="sources")
    assert [frames[name]["SDR"][0] for name in ("vocals", "rest")] == pytest.approx(expected.sdr.flatten().tolist())


def test_a_run_that_diverged_is_not_scored(cli, songs, tmp_path):
    words = [
        "data=musdb",
        f"data.root={songs}",
        *SHORT,
        *SCORED,
        "callbacks.scores.every_n_epochs=1",
        "optim.optimizer.lr=1e30",
    ]
    status, _, err = cli(*words)
    assert status == 1 and ": training diverged, found " in err.splitlines()[-1]
    (row,) = rows(only_run(tmp_path / "work"))
    assert row["valid/SDR/vocals"] == ""


def test_two_processes_log_what_one_logs(tmp_path):
    """Three tracks on two processes: their mean is over all of them, and the one that is easy is with the second process."""
    for number, split in enumerate(("train", "valid", "valid", "valid", "test", "test")):
        song = write_song(tmp_path / "songs" / split / f"song {number}", seed=number)
    easy = tmp_path / "songs/valid/song 2"
    for name in ("drums", "bass", "other"):
        soundfile.write(easy / f"{name}.wav", song[name] // 100, 44100)
    soundfile.write(easy / "mixture.wav", song["vocals"], 44100)
    found = []
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
        found.append(row)
    for measure in ("SDR", "SIR"):
        one, two = (float(row[f"valid/{measure}/vocals"]) for row in found)
        assert two == pytest.approx(one, abs=1e-4)
    assert all(row["valid/SAR/vocals"] for row in found)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["callbacks.scores.every_n_epochs=0"], "callbacks.scores.every_n_epochs must be at least 1, found 0"),
        (
            ["callbacks.scores.protocol.sample_rate=44100"],
            "scores at 44100 Hz with 1 channels, but while training at the network's",
        ),
        (["callbacks.scores.protocol.sources=[[drums,bass]]"], "protocol validation does not score these targets"),
    ],
)
def test_what_does_not_fit_is_said_before_training(cli, songs, words, sentence):
    status, _, err = cli("data=musdb", f"data.root={songs}", *SHORT, *SCORED, *words)
    assert status == 1 and sentence in err


def test_less_than_every_epoch_is_refused():
    with pytest.raises(InputError, match="every_n_epochs must be at least 1, found -2"):
        ValidationScores(protocol("musdb18"), -2)
