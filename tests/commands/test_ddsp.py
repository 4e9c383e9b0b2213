"""An instrument from the command line: trained, tested, played by a voice and as a library."""

import json

import numpy as np
import pytest
import soundfile
import torch

import unbraid
from tests.conftest import files_below
from unbraid.data.demo_songs.leads import render_leads
from unbraid.data.demo_songs.song import render_song
from unbraid.data.demo_songs.sounds import SAMPLE_RATE
from unbraid.models.instruments import Player

SMALL = [
    "model=ddsp_small", "data=demo_leads", "data.layout.train=2", "data.layout.valid=1", "data.layout.test=1",
    "data.layout.seconds=2", "pitch.every=8", "model.net.hidden=8", "model.net.harmonics=8", "features.chunk_seconds=0.5",
    "data.batch_size=2", "data.chunks_per_track=2", "trainer.max_epochs=1", "trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder that no test may change; of a process of its own, since the command line is made for one."""
    import os
    import subprocess
    import sys

    from tests.conftest import PROJECT

    work = tmp_path_factory.mktemp("ddsp")
    environment = os.environ | {"UNBRAID_CACHE": str(tmp_path_factory.getbasetemp() / "cache")}
    command = [sys.executable, str(PROJECT / "train.py"), *SMALL, "hydra.run.dir=run"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "constant spectra, fitted" in done.stdout and "reed from MIDI pitch" in done.stdout
    return work / "run"


@pytest.fixture
def voice(tmp_path):
    path = tmp_path / "voice.wav"
    soundfile.write(path, render_leads(7, 3.0)["vocals"].T, SAMPLE_RATE)
    return path


def test_a_run_has_scores_audio_and_pictures(run):
    scores = json.loads((run / "scores.json").read_text())
    assert scores["protocol"]["name"] == "resynthesis" and scores["checkpoint"] == "checkpoints/best.ckpt"
    for part in ("summary", "constant"):
        assert {*scores[part]["reed"]} == {"loss", "f0 error (cents)", "loudness error (dB)", "voiced"}
    (track,) = scores["tracks"]
    assert sorted(path.name for path in (run / "audio" / track).iterdir()) == [
        "constant spectrum.flac", "input.flac", "resynthesis.flac",
    ]  # fmt: skip
    assert {path.name for path in (run / "pictures").iterdir()} == {f"{track}.png", f"{track} controls.png"}
    assert "train/loss" in (run / "metrics.csv").read_text().splitlines()[0]


def test_a_voice_is_played(cli, run, voice, tmp_path):
    status, out, err = cli(f"run={run}", f"input={voice}", "output=out/reed.wav", script="scripts/transfer.py")
    assert status == 0, err
    assert "of what sounds is voiced" in out and "semitones" in out
    work = tmp_path / "work"
    assert files_below(work / "out") == ["reed.npz", "reed.png", "reed.wav"]
    info = soundfile.info(work / "out/reed.wav")
    assert info.samplerate == 16000 and info.frames == pytest.approx(3 * 16000, abs=2)
    with np.load(work / "out/reed.npz", allow_pickle=False) as curves:
        points = len(curves["f0"])
        assert curves["harmonic_distribution"].shape == (points, 8) and curves["noise_bands"].shape == (points, 65)
        assert curves["frames_per_second"] == 250 and np.isfinite(curves["amplitude"]).all()
        shift = 12 * np.log2(curves["f0"] / curves["input_f0"])
    before = (work / "out/reed.wav").read_bytes()
    words = [f"run={run}", f"input={voice}", "output=out/reed.wav", "shift=5", "loudness=keep", "reverb=false"]
    assert cli(*words, script="scripts/transfer.py")[0] == 0
    with np.load(work / "out/reed.npz", allow_pickle=False) as curves:
        again = 12 * np.log2(curves["f0"] / curves["input_f0"])
    assert np.median(np.abs(again - 5)) < 1e-3 and np.median(np.abs(shift - np.round(shift))) < 1e-3
    assert (work / "out/reed.wav").read_bytes() != before


def test_a_run_is_a_player_for_libraries(run):
    player = unbraid.load(run)
    assert isinstance(player, Player) and player.sample_rate == 16000 and player.frames_per_second == 250
    sound = player.synthesise(torch.full((100,), 220.0), torch.full((100,), -25.0))
    assert sound.shape == (6400,) and sound.isfinite().all()


def refused(cli, run, source, *words) -> str:
    status, _, err = cli(f"run={run}", f"input={source}", "output=o.wav", *words, script="scripts/transfer.py")
    assert status == 1 and len(err.strip().splitlines()) == 1, err
    return err


def test_what_is_no_voice_leaves_nothing_behind(cli, run, tmp_path):
    band, silence = tmp_path / "band.wav", tmp_path / "silence.wav"
    soundfile.write(band, render_song(5, 4.0)["mixture"].T, SAMPLE_RATE)
    soundfile.write(silence, np.zeros(30000), SAMPLE_RATE)
    assert "expected one voice at a time" in refused(cli, run, band)
    assert "silence.wav: the recording is silent" in refused(cli, run, silence)
    assert "no such file" in refused(cli, run, tmp_path / "none.wav")
    assert files_below(tmp_path / "work") == []


def test_what_cannot_be_asked_is_said_in_one_sentence(cli, run, voice, songs, tmp_path):
    assert "shift=80: pitch is out of range" in refused(cli, run, voice, "shift=80")
    assert "shift: found 'high', expected" in refused(cli, run, voice, "shift=high")
    assert "silence_db: " in refused(cli, run, voice, "silence_db=-3")
    assert "no such folder" in refused(cli, tmp_path / "nowhere", voice)
    status, _, err = cli(f"run={run}", f"input={voice}", f"output={voice}", script="scripts/transfer.py")
    assert status == 1 and "is the input, expected another file" in err
    status, _, err = cli(f"run={run}", f"input={voice}", "output=o.aiff", script="scripts/transfer.py")
    assert status == 1 and "expected a name that ends in .wav" in err
    status, _, err = cli(f"run={run}", "output=o.wav", script="scripts/transfer.py")
    assert status == 1 and "input has no default and must be given" in err
    for script in ("scripts/encode.py", "scripts/anomaly.py"):
        status, _, err = cli(f"run={run}", f"input={voice}", script=script)
        assert status == 1 and "has no autoencoder" in err
    status, _, err = cli(f"run={run}", f"input={voice}", script="scripts/separate.py")
    assert status == 1 and "found an instrument" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["targets=all"], "targets"),
        (["augmentation=all"], "augmentation: "),
        (["data.sampling.remix=0.5"], "augmentation: "),
        (["data.sample_rate=8000"], "data.sample_rate: found 8000, expected what features.sample_rate says, 16000"),
        (["features.channels=2"], "features.channels: "),
        (["pitch.fmin=5"], "fmin must lie in [32, 1975] Hz, found 5"),
        (["data=digits"], "data: has no sound that an instrument could learn from"),
        (["features=spectra"], "pitch: the model and the data that are chosen make no use of it"),
        (["init=umxhq"], "there are no published weights of autoencoders and instruments"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_there_is_a_run(cli, tmp_path, words, sentence):
    kept = [word for word in SMALL if not word.startswith(("data", "pitch", "features"))]
    status, _, err = cli(*(kept if words[0] in ("data=digits", "features=spectra") else SMALL), *words)
    assert status == 1 and sentence in err and len(err.strip().splitlines()) == 1, err
    assert files_below(tmp_path / "work") == []


def test_a_band_is_no_instrument(cli, songs):
    words = [word for word in SMALL if not word.startswith("data=") and ".layout." not in word]
    status, _, err = cli(*words, "data=musdb", f"data.root={songs}", "targets=mixture", "features.voicing=0.97")
    assert status == 1 and "error: targets: " in err
