"""An instrument from the command line: training, evaluation, transfer of a voice, and use as a library."""

import json

import numpy as np
import pytest
import soundfile
import torch

import unbraid
from tests.commands.conftest import has_names
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
    """Return a run folder that tests must not change. It is trained in another process."""
    import os
    import subprocess
    import sys

    from tests.conftest import PROJECT

    work = tmp_path_factory.mktemp("ddsp")
    environment = os.environ | {"UNBRAID_CACHE": str(tmp_path_factory.getbasetemp() / "cache")}
    command = [sys.executable, str(PROJECT / "train.py"), *SMALL, "hydra.run.dir=run"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return work / "run"


@pytest.fixture
def voice(tmp_path):
    path = tmp_path / "voice.wav"
    soundfile.write(path, render_leads(7, 3.0)["vocals"].T, SAMPLE_RATE)
    return path


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_voice_is_played(cli, run, voice, tmp_path):
    status, out, err = cli(f"run={run}", f"input={voice}", "output=out/reed.wav", script="scripts/transfer.py")
    assert status == 0, err
    assert "voiced" in out and "semitones" in out
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


@pytest.mark.slow
def test_a_run_is_a_player_for_libraries(run):
    player = unbraid.load(run)
    assert isinstance(player, Player) and player.sample_rate == 16000 and player.frames_per_second == 250
    sound = player.synthesise(torch.full((100,), 220.0), torch.full((100,), -25.0))
    assert sound.shape == (6400,) and sound.isfinite().all()


def test_an_input_without_a_voice_writes_nothing(error_of, run, tmp_path):
    band, silence = tmp_path / "band.wav", tmp_path / "silence.wav"
    soundfile.write(band, render_song(5, 4.0)["mixture"].T, SAMPLE_RATE)
    soundfile.write(silence, np.zeros(30000), SAMPLE_RATE)
    for path in (band, silence, tmp_path / "none.wav"):
        assert path.name in str(error_of("transfer", f"run={run}", f"input={path}", "output=o.wav"))
    assert files_below(tmp_path / "work") == []


@pytest.mark.parametrize(
    ("verb", "words", "names"),
    [
        ("transfer", ["input=VOICE", "output=o.wav", "shift=80"], "shift 80 4000"),
        ("transfer", ["input=VOICE", "output=o.wav", "shift=high"], "shift 'high'"),
        ("transfer", ["input=VOICE", "output=o.wav", "silence_db=-3"], "silence_db -3"),
        ("transfer", ["run=nowhere", "input=VOICE", "output=o.wav"], "nowhere"),
        ("transfer", ["input=VOICE", "output=VOICE"], "output=VOICE"),
        ("transfer", ["input=VOICE", "output=o.aiff"], "output o.aiff .wav"),
        ("transfer", ["output=o.wav"], "input input=FILE"),
        ("encode", ["input=VOICE"], "run= model=ae"),
        ("anomaly", ["input=VOICE"], "run= model=ae"),
        ("separate", ["input=VOICE"], "instrument"),
    ],
)
def test_invalid_keys_of_a_transfer_are_named(error_of, run, voice, verb, words, names):
    words = [word.replace("VOICE", str(voice)) for word in words]
    assert has_names(str(error_of(verb, f"run={run}", *words)), names.replace("VOICE", str(voice)))


def test_transfer_exits_with_status_1(refused):
    assert "run=nowhere" in refused("run=nowhere", "input=x.wav", "output=o.wav", script="scripts/transfer.py")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["targets=all"], "targets"),
        (["augmentation=all"], "augmentation"),
        (["data.sampling.remix=0.5"], "augmentation"),
        (["data.sample_rate=8000"], "data.sample_rate 8000 features.sample_rate 16000"),
        (["features.channels=2"], "channels 1"),
        (["pitch.fmin=5"], "fmin 5"),
        (["data=digits"], "data data=demo_leads"),
        (["features=spectra"], "pitch pitch=null"),
        (["init=umxhq"], "init umxhq init=null"),
    ],
)
def test_an_invalid_training_is_refused(error_of, tmp_path, words, names):
    general = [word for word in SMALL if not word.startswith(("data", "pitch", "features"))]
    error = error_of("train", *(general if words[0] in ("data=digits", "features=spectra") else SMALL), *words)
    assert has_names(str(error), names) and files_below(tmp_path / "work") == []


@pytest.mark.slow
def test_a_mixture_cannot_train_an_instrument(error_of, songs):
    words = [word for word in SMALL if not word.startswith("data=") and ".layout." not in word]
    error = error_of("train", *words, "data=musdb", f"data.root={songs}", "targets=mixture", "features.voicing=0.97")
    assert "voiced" in str(error)
