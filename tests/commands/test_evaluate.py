"""scripts/evaluate.py: runs, files and oracles under named protocols, and what is said where that cannot be."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import NARROW, PROJECT, SHORT, files_below, load_script, make_root, write_song

DOOR = "scripts/evaluate.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and the root of its songs: one to train on and two to test with."""
    folder = tmp_path_factory.mktemp("evaluate")
    make_root(folder / "songs")
    write_song(folder / "songs/test/song 4", seed=4)
    words = ["data=musdb", f"data.root={folder / 'songs'}", f"hydra.run.dir={folder / 'run'}", *SHORT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *words])
        patch.setenv("UNBRAID_CACHE", str(folder / "cache"))
        load_script("train.py")()
    return folder / "run", folder / "songs"


@pytest.fixture(autouse=True)
def _cache_of_the_training(trained, monkeypatch):
    """The cache comes from the user, not from the run."""
    monkeypatch.setenv("UNBRAID_CACHE", str(trained[0].parent / "cache"))


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run, for this test to break."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


def load(path):
    return json.loads(Path(path).read_text())


def oracle_words(root, *words):
    return ["data=musdb", f"data.root={root}", "targets=vocals", *words]


def estimates(root, folder, made, rate=None, targets=("vocals", "accompaniment")):
    """Files as a tool would leave them: `made` of the true source, for every test track."""
    for song in (root / "test").iterdir():
        read = {path.stem: soundfile.read(path)[0] for path in song.iterdir()}
        read["accompaniment"] = read["drums"] + read["bass"] + read["other"]
        for target in targets:
            path = folder / song.name / f"{target}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, made(read[target], read["mixture"]), rate or 44100, subtype="FLOAT")


def test_a_run_under_its_own_protocol_has_the_scores_of_its_training(cli, run):
    status, out, _ = cli(f"run={run}", script=DOOR)
    again, own = load(run / "scores/energy_ratios/scores.json"), load(run / "scores.json")
    assert status == 0 and "2 tracks, 2 of them scored before" in out
    assert again["tracks"] == own["tracks"] and again["protocol"] == own["protocol"]
    shutil.rmtree(run / "scores")
    cli(f"run={run}", script=DOOR)
    assert load(run / "scores/energy_ratios/scores.json")["tracks"] == own["tracks"]


def test_a_run_under_musevals_protocol(cli, run):
    status, out, _ = cli(f"run={run}", "protocol=musdb18", script=DOOR)
    scores = load(run / "scores/musdb18/scores.json")
    assert status == 0 and scores["checkpoint"].endswith("best.ckpt")
    assert scores["protocol"]["together"] == ["vocals", "accompaniment"] and scores["protocol"]["sample_rate"] == 44100
    assert {"museval", "torch"} & {*scores["versions"]} == {"torch"}
    vocals = scores["summary"]["vocals"]
    assert vocals["SDR"]["n"] == 2 and scores["mixture"]["vocals"]["NSDR"]["median"] == 0
    assert scores["oracle"]["irm"]["vocals"]["SDR"]["median"] > scores["mixture"]["vocals"]["SDR"]["median"] + 3
    words_of_oracles = ("ideal ratio mask, STFT 2048/512", "phase-sensitive mask, STFT 2048/512")  # not the model's 1024/768
    protocol_words = ("protocol musdb18: vocals + accompaniment", "median of 2 test tracks, median of windows", "undefined")
    for words in (*protocol_words, *words_of_oracles):
        assert words in out
    frames = load(run / "scores/musdb18/estimate/test/song 3.json")["targets"][0]["frames"]
    assert [frame["time"] for frame in frames] == [0, 1, 2] and {*frames[0]["metrics"]} == {"SDR", "ISR", "SIR", "SAR"}


def test_it_goes_on_where_it_stopped(cli, run):
    cli(f"run={run}", "protocol=ikala_nsdr", script=DOOR)
    scores = load(run / "scores/ikala_nsdr/scores.json")
    records = run / "scores/ikala_nsdr/estimate/test"
    (records / "song 4.json").write_text("{")  # as if cut off
    before = (records / "song 3.json").stat().st_mtime_ns
    _, out, _ = cli(f"run={run}", "protocol=ikala_nsdr", script=DOOR)
    assert "1 of them scored before" in out
    assert (records / "song 3.json").stat().st_mtime_ns == before
    assert load(run / "scores/ikala_nsdr/scores.json") == scores


def test_other_weights_are_scored_anew(cli, run):
    cli(f"run={run}", script=DOOR)
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["state_dict"] = {name: 0 * weights for name, weights in checkpoint["state_dict"].items()}
    torch.save(checkpoint, run / "checkpoints/best.ckpt")
    _, out, _ = cli(f"run={run}", script=DOOR)
    assert "0 of them scored before" in out
    assert load(run / "scores/energy_ratios/scores.json")["tracks"] != load(run / "scores.json")["tracks"]


@pytest.mark.parametrize("commands", [1, 2])
def test_several_processes_score_each_track_once_and_the_same(run, tmp_path, commands):
    """Two commands at once with two processes each, against one alone."""
    for name, count, processes in (("one", 1, 1), ("many", commands, 2)):
        words = [
            sys.executable,
            PROJECT / DOOR,
            f"run={run}",
            "protocol=ikala_nsdr",
            f"output={name}",
            f"processes={processes}",
        ]
        started = [subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(count)]
        for process in started:
            _, errors = process.communicate(timeout=400)
            assert process.returncode == 0, errors.decode()
    one, many = load(tmp_path / "one/scores.json"), load(tmp_path / "many/scores.json")
    for track, sources in one["tracks"].items():
        for source, values in sources.items():
            assert many["tracks"][track][source] == pytest.approx(values, abs=1e-6)
    assert files_below(tmp_path / "many") == files_below(tmp_path / "one")


@pytest.mark.parametrize("oracle", ["psm", "irm", "irm2", "ibm", "mwf"])
def test_oracles_are_far_above_the_mixture(cli, trained, oracle):
    status, out, _ = cli(*oracle_words(trained[1], f"oracle={oracle}", "protocol=musdb18_mdx"), script=DOOR)
    scores = load(f"outputs/scores/musdb18_mdx-musdb-{oracle}/scores.json")
    assert status == 0 and f"  {oracle}  " in out
    assert scores["summary"]["vocals"]["uSDRi"]["mean"] > 10
    assert scores["settings"]["estimate"] == {"n_fft": 2048, "hop_length": 512}


def test_the_mixture_as_an_estimate_gains_nothing(cli, trained):
    cli(*oracle_words(trained[1], "oracle=mixture", "protocol=musdb18"), script=DOOR)
    summary = load("outputs/scores/musdb18-musdb-mixture/scores.json")["summary"]
    assert [summary[name]["NSDR"]["median"] for name in ("vocals", "accompaniment")] == [0, 0]


def test_anybodys_files_are_scored_as_a_run_is(cli, trained, tmp_path):
    """The truth with noise 20 dB below it has 20 dB; files that change are scored anew."""
    root, folder, random = trained[1], tmp_path / "tool", np.random.default_rng(0)

    def noisy(true, mixture):
        noise = random.standard_normal(true.shape)
        return true + 0.1 * noise * np.sqrt((true**2).sum() / (noise**2).sum())

    estimates(root, folder, noisy)
    words = ["data=musdb", f"data.root={root}", f"estimates={folder}", "targets=vocals_accompaniment"]
    for protocol, measure in {"musdb18_mdx": "uSDR", "musdb18": "SDR"}.items():
        status, _, err = cli(*words, f"protocol={protocol}", script=DOOR)
        assert status == 0, err
        summary = load(f"outputs/scores/{protocol}-musdb-tool/scores.json")["summary"]
        assert [summary[name][measure]["median"] for name in summary] == pytest.approx([20, 20], abs=0.1)
    estimates(root, folder, lambda true, mixture: mixture)
    _, out, _ = cli(*words, "protocol=musdb18", script=DOOR)
    assert "0 of them scored before" in out
    assert load("outputs/scores/musdb18-musdb-tool/scores.json")["summary"]["vocals"]["NSDR"]["median"] == pytest.approx(
        0, abs=1e-4
    )


def test_a_run_on_another_data_set(cli, run, tmp_path):
    write_song(tmp_path / "other/one/song 7", seed=7)
    write_song(tmp_path / "other/test/song 8", seed=8)
    shutil.rmtree(tmp_path / "other/one")
    cli(f"run={run}", script=DOOR)
    own = (run / "scores/energy_ratios/scores.json").read_text()
    status, out, err = cli(f"run={run}", "data=stems", f"data.root={tmp_path / 'other'}", script=DOOR)
    assert status == 0, err
    assert [*load(run / "scores/energy_ratios-stems/scores.json")["tracks"]] == ["song 8"] and "1 tracks" in out
    assert (run / "scores/energy_ratios/scores.json").read_text() == own


def test_training_tracks_scored_as_test_tracks_are_named(cli, run, trained, tmp_path):
    """By their content: one is scored under another name, and one is new."""
    songs = trained[1]
    for name, source in {"again": "train/song 0", "valid": "valid/song 2", "new": "test/song 3"}.items():
        shutil.copytree(songs / source, tmp_path / "other/test" / name)
    status, out, err = cli(f"run={run}", "data=stems", f"data.root={tmp_path / 'other'}", script=DOOR)
    assert status == 0, err
    scores = load(run / "scores/energy_ratios-stems/scores.json")
    assert scores["trained_on"] == {"again": "train: song 0", "valid": "valid: song 2"}
    (warning,) = [line for line in out.splitlines() if line.startswith("warning:")]
    assert "again" in warning and "new" not in warning
    cli(f"run={run}", script=DOOR)
    assert "trained_on" not in load(run / "scores/energy_ratios/scores.json")


def test_a_damaged_record_of_tracks_is_an_error(cli, run):
    (run / "tracks.json").write_text("[1")
    status, _, err = cli(f"run={run}", script=DOOR)
    assert status == 1 and "tracks.json" in err.strip().splitlines()[-1]


def test_rows_of_others_stand_beside_and_another_protocol_does_not(cli, run):
    cli(f"run={run}", "protocol=ikala_nsdr", script=DOOR)
    cli(f"run={run}", "protocol=ikala_nsdr", "oracle=ibm", script=DOOR)
    other = run / "scores/ikala_nsdr-ibm/scores.json"
    status, out, _ = cli(f"run={run}", "protocol=ikala_nsdr", f"compare_with=[{other}]", script=DOOR)
    assert status == 0 and f"  {other}" in out
    status, _, err = cli(f"run={run}", f"compare_with=[{other}]", script=DOOR)
    assert status == 1 and "scores under two protocols do not compare: name is energy_ratios for run" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run={run}", "protocol=musdb1"], "protocol=musdb1: there is no such choice; did you mean 'musdb18'?"),
        ([], "nothing to score; give run=FOLDER, estimates=FOLDER or oracle=NAME"),
        (["run=nowhere"], "run=nowhere: no such folder"),
        (["run={run}/config.yaml"], "config.yaml: found a file, expected the folder of a run"),
        (["run={run}/audio"], "config.yaml is missing, found song 3, song 4"),
        (["run={run}", "model=unet_noskip"], "model: is the run's own, it cannot be set beside run="),
        (["run={run}", "targets=all"], "targets: is the run's own"),
        (
            ["run={run}", "checkpoint=wurst"],
            "checkpoint=wurst: ",
        ),
        (["run={run}", "checkpoint={run}/metrics.csv"], "metrics.csv: "),
        (["run={run}", "oracle=irm", "estimates=x"], "estimates and oracle are both given, expected one of them"),
        (["oracle=imr"], "oracle=imr: there is no such oracle; did you mean 'irm'?"),
        (["run={run}", "processes=0"], "processes must be at least 1, found 0"),
        (["run={run}", "data.root=/nowhere"], "data.root=/nowhere: no such folder"),
        (["run={run}", "estimates=nowhere"], "estimates=nowhere: no such folder"),
        (["run={run}", "estimates={run}/audio"], "song 3: has no estimate of vocals in"),
        (["run={run}", "compare_with=[nowhere]"], "compare_with=nowhere: no such file"),
        (["run={run}", "compare_with=[{run}/run.json]"], "run.json, protocol: "),
        (["run={run}", "protocol=musdb18", "protocol.tapps=3"], "protocol.tapps: there is no such key; did you mean 'taps'?"),
        (["run={run}", "protocol=musdb18", "protocol.taps=-3"], "protocol.taps must be above 0"),
        (["run={run}", "output={run}/run.json"], "run.json"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_sentence(cli, run, words, sentence):
    shutil.rmtree(run / "scores")
    before = files_below(run)
    status, _, err = cli(*[word.format(run=run) for word in words], script=DOOR)
    last = err.strip().splitlines()[-1]
    assert status == 1 and sentence in last and last.startswith("error: ")
    assert files_below(run) == before


def test_estimates_that_do_not_fit_are_said_and_nothing_is_left(cli, trained, tmp_path):
    root = trained[1]
    cases = {
        "has another length": (lambda true, mixture: true[:-12], 44100),
        "found 1 channels, expected 2 channels": (lambda true, mixture: true[:, 0], 44100),
        "found 48000 Hz, expected 44100 Hz": (lambda true, mixture: true, 48000),
        "contains NaN or infinite samples": (lambda true, mixture: true * np.nan, 44100),
    }
    for number, (sentence, (made, rate)) in enumerate(cases.items()):
        folder = tmp_path / f"tool{number}"
        estimates(root, folder, made, rate, ["vocals"])
        status, _, err = cli(*oracle_words(root, f"estimates={folder}", "protocol=musdb18_mdx", "output=out"), script=DOOR)
        assert status == 1 and sentence in err and f"{folder}/song 3/vocals.wav" in err
        assert not list(Path("out").rglob("*.json"))


def test_damaged_and_foreign_checkpoints_are_said(cli, run):
    best = run / "checkpoints/best.ckpt"
    best.write_bytes(best.read_bytes()[:1000])
    status, _, err = cli(f"run={run}", script=DOOR)
    assert status == 1 and f"{best}: " in err
    torch.save({"state_dict": {"other": torch.zeros(1)}}, best)
    status, _, err = cli(f"run={run}", script=DOOR)
    assert status == 1 and f"{best}: " in err


def test_a_checkpoint_that_would_run_code_does_not(cli, run, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": Trap()}, run / "checkpoints/best.ckpt")
    status, _, err = cli(f"run={run}", script=DOOR)
    assert status == 1 and "best.ckpt: " in err and not (tmp_path / "sprung").exists()


def test_a_config_that_would_build_anything_does_not(cli, run):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("unbraid.nets.unet.UNet", "os.system"))
    status, _, err = cli(f"run={run}", script=DOOR)
    assert status == 1 and "os.system" in err
    config.write_text("- a\n- list\n")
    status, _, err = cli(f"run={run}", script=DOOR)
    assert status == 1 and "config.yaml: found list" in err
    config.write_text("a: [")
    status, _, err = cli(f"run={run}", script=DOOR)
    assert status == 1 and "config.yaml, line 2: not YAML" in err


def test_scores_that_were_cut_off_are_made_again(cli, run):
    cli(f"run={run}", script=DOOR)
    path = run / "scores/energy_ratios/scores.json"
    whole = load(path)
    path.write_text("{")
    assert cli(f"run={run}", script=DOOR)[0] == 0 and load(path) == whole


def test_a_changed_protocol_needs_a_name_of_its_own(cli, run):
    cli(f"run={run}", "protocol=ikala_nsdr", script=DOOR)
    status, _, err = cli(f"run={run}", "protocol=ikala_nsdr", "protocol.taps=64", script=DOOR)
    assert status == 1 and "taps is 512 for" in err and "give yours a name with protocol.name=…" in err
    status, _, _ = cli(f"run={run}", "protocol=ikala_nsdr", "protocol.taps=64", "protocol.name=short", script=DOOR)
    assert status == 0 and load(run / "scores/short/scores.json")["protocol"]["taps"] == 64


def test_training_may_end_in_any_protocol_and_says_before_where_it_cannot(cli, songs):
    words = ["data=musdb", f"data.root={songs}", *SHORT, NARROW, "protocol=musdb18"]
    status, _, err = cli(*words, "+targets.drums=[drums]", "~targets.vocals", script="train.py")
    assert status == 1 and "protocol musdb18: scores [vocals, drums, bass, other] or" in err and not Path("outputs").exists()
    status, out, _ = cli(*words, "hydra.run.dir=run", script="train.py")
    assert status == 0 and "median of windows" in out
    assert load("run/scores.json")["protocol"]["name"] == "musdb18"


def test_clips_are_left_where_they_are_asked_for(cli, run):
    cli(f"run={run}", "evaluation.clips=1", script=DOOR)
    folder = run / "scores/energy_ratios"
    assert {path.name for path in folder.iterdir()} == {"audio", "estimate", "pictures", "scores.json"}


def test_the_phase_may_be_another_than_in_training(cli, run):
    status, _, _ = cli(f"run={run}", "phase=griffin_lim", "phase.iterations=2", script=DOOR)
    scores = load(run / "scores/energy_ratios/scores.json")
    assert status == 0 and scores["settings"]["estimate"]["phase"].startswith("GriffinLim(iterations=2,")
    assert scores["tracks"] != load(run / "scores.json")["tracks"]
    cli(f"run={run}", script=DOOR)  # the run's own again
    assert load(run / "scores/energy_ratios/scores.json")["tracks"] == load(run / "scores.json")["tracks"]


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [("model.separator.mask_power=2", "mask_power", 2), ("model.separator.mask_max=0.3", "mask_max", 0.3)],
)
def test_masks_may_come_to_sound_in_another_way_than_in_training(cli, run, word, name, value):
    status, _, err = cli(f"run={run}", word, script=DOOR)
    assert status == 0, err
    scores = load(run / "scores/energy_ratios/scores.json")
    assert scores["settings"]["estimate"][name] == value
    assert scores["tracks"] != load(run / "scores.json")["tracks"]
    cli(f"run={run}", script=DOOR)  # the run's own again
    assert load(run / "scores/energy_ratios/scores.json")["tracks"] == load(run / "scores.json")["tracks"]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("model.separator.consistency=true", "consistency: one target cannot sum to the mixture"),
        ("+model.separator.masks_from=clusters", "model.separator.masks_from: unknown key"),
        ("model.separator.scaling=none", "model.separator.scaling: is the run's own, it cannot be set beside run="),
    ],
)
def test_what_the_model_of_a_run_cannot_do_is_said(cli, run, word, sentence):
    status, _, err = cli(f"run={run}", word, script=DOOR)
    assert status == 1 and sentence in err and len(err.strip().splitlines()) == 1


def test_masks_may_come_from_clusters_after_training(cli, songs):
    net = ["hidden=4", "layers=1", "mel_bands=8", "embedding=2"]
    words = ["model=chimera_small", *(f"model.separator.net.{word}" for word in net), *SHORT[:-1], "evaluation.clips=0"]
    status, _, err = cli("data=musdb", f"data.root={songs}", *words, "hydra.run.dir=run", script="train.py")
    assert status == 0, err
    status, _, err = cli("run=run", "+model.separator.masks_from=clusters", script=DOOR)
    assert status == 0, err
    found = [
        load(path)["settings"]["estimate"]["masks_from"] for path in ("run/scores.json", "run/scores/energy_ratios/scores.json")
    ]
    assert found == ["head", "clusters"]
