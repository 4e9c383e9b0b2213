"""scripts/evaluate.py scores runs, files and oracles with named protocols."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.commands.conftest import has_names
from tests.conftest import NARROW, PROJECT, SHORT, files_below, load_script, make_root, write_song
from unbraid.evaluation.methods import SeparatorMethod
from unbraid.runs.files import distinct_name

SCRIPT = "scripts/evaluate.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a run and the root of its songs: two for training, one for validation, two for tests."""
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
    """Use the cache of the training, because the run does not name one."""
    monkeypatch.setenv("UNBRAID_CACHE", str(trained[0].parent / "cache"))


@pytest.fixture
def run(trained, tmp_path):
    """Return a copy of the run that the test may change."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


def load(path):
    return json.loads(Path(path).read_text())


def oracle_words(root, *words):
    return ["data=musdb", f"data.root={root}", "targets=vocals", *words]


def estimates(root, folder, made, rate=None, targets=("vocals", "accompaniment")):
    """Write the estimates of a tool: `made` of the true source, for every test track."""
    for song in (root / "test").iterdir():
        read = {path.stem: soundfile.read(path)[0] for path in song.iterdir()}
        read["accompaniment"] = read["drums"] + read["bass"] + read["other"]
        for target in targets:
            path = folder / song.name / f"{target}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, made(read[target], read["mixture"]), rate or 44100, subtype="FLOAT")


def test_scores_are_those_of_the_training(cli, run):
    status, out, _ = cli(f"run={run}", script=SCRIPT)
    again, first = load(run / "scores/energy_ratios/scores.json"), load(run / "scores.json")
    assert status == 0 and "2 tracks, 2 of them" in out
    assert again["tracks"] == first["tracks"] and again["protocol"] == first["protocol"]
    shutil.rmtree(run / "scores")
    cli(f"run={run}", script=SCRIPT)
    assert load(run / "scores/energy_ratios/scores.json")["tracks"] == first["tracks"]


@pytest.mark.slow
def test_a_run_under_musevals_protocol(cli, run):
    status, out, _ = cli(f"run={run}", "protocol=musdb18", script=SCRIPT)
    scores = load(run / "scores/musdb18/scores.json")
    assert status == 0 and scores["checkpoint"].endswith("best.ckpt")
    assert scores["protocol"]["together"] == ["vocals", "accompaniment"] and scores["protocol"]["sample_rate"] == 44100
    assert {"museval", "torch"} & {*scores["versions"]} == {"torch"}
    vocals = scores["summary"]["vocals"]
    assert vocals["SDR"]["n"] == 2 and scores["mixture"]["vocals"]["NSDR"]["median"] == 0
    assert scores["oracle"]["irm"]["vocals"]["SDR"]["median"] > scores["mixture"]["vocals"]["SDR"]["median"] + 3
    words_of_oracles = ("ideal ratio mask, STFT 2048/512", "phase-sensitive mask, STFT 2048/512")  # not the model's 1024/768
    protocol_words = ("protocol musdb18: vocals + accompaniment", "median of 2 test tracks, median of windows")
    for words in (*protocol_words, *words_of_oracles):
        assert words in out
    frames = load(run / "scores/musdb18/estimate/test/song 3.json")["targets"][0]["frames"]
    assert [frame["time"] for frame in frames] == [0, 1, 2] and {*frames[0]["metrics"]} == {"SDR", "ISR", "SIR", "SAR"}


def test_several_protocols_separate_each_track_once(cli, run, monkeypatch):
    separated = []
    original = SeparatorMethod.separate
    monkeypatch.setattr(
        SeparatorMethod, "separate", lambda self, name: (separated.append(name not in self.latest), original(self, name))[1]
    )
    assert cli(f"run={run}", "protocol=musdb18_mdx", f"output={run}/alone", script=SCRIPT)[0] == 0
    separated.clear()
    code, out, err = cli(f"run={run}", "protocol=[musdb18_mdx,msst, mr_stft,msst]", script=SCRIPT)
    assert code == 0, err
    assert separated.count(True) == 2 and len(separated) == 6  # two songs, three protocols
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("protocol ")] == [
        "protocol musdb18_mdx", "protocol msst", "protocol mr_stft"
    ]  # fmt: skip
    assert load(run / "scores/musdb18_mdx/scores.json")["summary"] == load(run / "alone/scores.json")["summary"]
    values = load(run / "scores/msst/scores.json")["tracks"]
    expected = load(run / "alone/scores.json")["tracks"]
    for name, measures in values.items():
        assert measures["vocals"]["SDR"] == pytest.approx(expected[name]["vocals"]["uSDR"], abs=1e-3)
    assert [*load(run / "scores/mr_stft/scores.json")["summary"]["vocals"]] == ["-MRSTFT"]
    separated.clear()
    assert cli(f"run={run}", "protocol=[msst,musdb18_mdx]", f"output={run}/both", script=SCRIPT)[0] == 0
    assert {path.name for path in (run / "both").iterdir()} == {"msst", "musdb18_mdx"}


def test_options_of_the_separation_are_measured(cli, run):
    status, out, err = cli(f"run={run}", "tta=report", script=SCRIPT)
    assert status == 0, err
    scores = load(run / "scores/energy_ratios/scores.json")
    results = {result["name"]: result for result in scores["tta"]}
    assert [*results] == ["unchanged", "shifts=2", "shifts=4", "polarity=true", "overlap=0.5", "overlap=0.75"]  # mono
    assert results["unchanged"]["mean"] == pytest.approx(scores["summary"]["vocals"]["uSDR"]["mean"], abs=1e-6)
    assert results["polarity=true"]["gain"]["mean"] == pytest.approx(0, abs=1e-3)  # a mask ignores the polarity
    lines = [line.split() for line in out.splitlines() if line.startswith("  shifts=4")]
    assert len(lines) == 1 and lines[0][-1] in ("yes", "no")


def test_every_run_of_a_sweep_is_scored(cli, run, tmp_path):
    """The second call scores nothing, and a run without a checkpoint is left out by name."""
    sweep = tmp_path / "sweep"
    shutil.copytree(run, sweep / "0-seed=0")
    (sweep / "1-seed=1").mkdir()
    (sweep / "1-seed=1/run.json").write_text((run / "run.json").read_text())
    for scored in (0, 2):
        status, out, err = cli(f"sweep={sweep}", "protocol=musdb18_mdx", script=SCRIPT)
        assert status == 0 and f"2 tracks, {scored} of them" in out and "1-seed=1" in out, err
    scores = json.loads((sweep / "0-seed=0/scores/musdb18_mdx/scores.json").read_text())
    assert scores["protocol"]["name"] == "musdb18_mdx"


def test_a_sweep_and_a_run_exclude_each_other(error_of, run, tmp_path):
    error = error_of("evaluate", f"sweep={tmp_path}", f"run={run}")
    assert (error.where, error.found) == ("sweep, run", "both")


@pytest.mark.slow
def test_an_interrupted_scoring_resumes(cli, run):
    cli(f"run={run}", "protocol=ikala_nsdr", script=SCRIPT)
    scores = load(run / "scores/ikala_nsdr/scores.json")
    records = run / "scores/ikala_nsdr/estimate/test"
    (records / "song 4.json").write_text("{")  # as after an interruption
    before = (records / "song 3.json").stat().st_mtime_ns
    _, out, _ = cli(f"run={run}", "protocol=ikala_nsdr", script=SCRIPT)
    assert "2 tracks, 1 of them" in out
    assert (records / "song 3.json").stat().st_mtime_ns == before
    assert load(run / "scores/ikala_nsdr/scores.json") == scores


def test_other_weights_are_scored_again(cli, run):
    cli(f"run={run}", script=SCRIPT)
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["state_dict"] = {name: 0 * weights for name, weights in checkpoint["state_dict"].items()}
    torch.save(checkpoint, run / "checkpoints/best.ckpt")
    _, out, _ = cli(f"run={run}", script=SCRIPT)
    assert "2 tracks, 0 of them" in out
    assert load(run / "scores/energy_ratios/scores.json")["tracks"] != load(run / "scores.json")["tracks"]


@pytest.mark.slow
@pytest.mark.parametrize("commands", [1, 2])
def test_several_processes_give_the_same_scores(run, tmp_path, commands):
    """Compare one or two commands of two processes each with one command of one process."""
    for name, count, processes in (("one", 1, 1), ("many", commands, 2)):
        words = [
            sys.executable,
            PROJECT / SCRIPT,
            f"run={run}",
            "protocol=ikala_nsdr",
            f"output={name}",
            f"processes={processes}",
        ]
        started = [subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(count)]
        for process in started:
            _, errors = process.communicate(timeout=400)
            assert process.returncode == 0, errors.decode()
    single, many = load(tmp_path / "one/scores.json"), load(tmp_path / "many/scores.json")
    for track, sources in single["tracks"].items():
        for source, values in sources.items():
            assert many["tracks"][track][source] == pytest.approx(values, abs=1e-6)
    assert files_below(tmp_path / "many") == files_below(tmp_path / "one")


@pytest.mark.parametrize("oracle", ["psm", "irm", "irm2", "ibm", "mwf"])
def test_oracles_are_far_above_the_mixture(cli, trained, oracle):
    status, out, _ = cli(*oracle_words(trained[1], f"oracle={oracle}", "protocol=musdb18_mdx"), script=SCRIPT)
    scores = load(f"outputs/scores/musdb18_mdx-musdb-{oracle}/scores.json")
    assert status == 0 and f"  {oracle}  " in out
    assert scores["summary"]["vocals"]["uSDRi"]["mean"] > 10
    assert scores["settings"]["estimate"] == {"n_fft": 2048, "hop_length": 512}


@pytest.mark.slow
def test_the_mixture_as_an_estimate_gains_nothing(cli, trained):
    cli(*oracle_words(trained[1], "oracle=mixture", "protocol=musdb18"), script=SCRIPT)
    summary = load("outputs/scores/musdb18-musdb-mixture/scores.json")["summary"]
    assert [summary[name]["NSDR"]["median"] for name in ("vocals", "accompaniment")] == [0, 0]


def test_files_of_any_tool_are_scored(cli, trained, tmp_path):
    """True sources with noise at -20 dB have 20 dB, and changed files are scored again."""
    root, folder, random = trained[1], tmp_path / "tool", np.random.default_rng(0)

    def noisy(true, mixture):
        noise = random.standard_normal(true.shape)
        return true + 0.1 * noise * np.sqrt((true**2).sum() / (noise**2).sum())

    estimates(root, folder, noisy)
    words = ["data=musdb", f"data.root={root}", f"estimates={folder}", "targets=vocals_accompaniment"]
    for protocol, measure in {"musdb18_mdx": "uSDR", "musdb18": "SDR"}.items():
        status, _, err = cli(*words, f"protocol={protocol}", script=SCRIPT)
        assert status == 0, err
        summary = load(f"outputs/scores/{protocol}-musdb-{distinct_name(folder)}/scores.json")["summary"]
        assert [summary[name][measure]["median"] for name in summary] == pytest.approx([20, 20], abs=0.1)
    estimates(root, folder, lambda true, mixture: mixture)
    _, out, _ = cli(*words, "protocol=musdb18", script=SCRIPT)
    assert "2 tracks, 0 of them" in out
    last = load(f"outputs/scores/musdb18-musdb-{distinct_name(folder)}/scores.json")["summary"]
    assert last["vocals"]["NSDR"]["median"] == pytest.approx(0, abs=1e-4)


def test_folders_of_equal_name_keep_their_scores(cli, trained, tmp_path):
    folders = {tool: tmp_path / tool / "stems" for tool in "ab"}
    paths = {tool: f"outputs/scores/musdb18_mdx-musdb-{distinct_name(folder)}/scores.json" for tool, folder in folders.items()}
    for tool, more in {"a": [], "b": [f"compare_with=[{paths['a']}]"]}.items():
        gain = {"a": 1.0, "b": 0.5}[tool]
        estimates(trained[1], folders[tool], lambda true, mixture, gain=gain: gain * true, targets=["vocals"])
        words = oracle_words(trained[1], f"estimates={folders[tool]}", "protocol=musdb18_mdx", *more)
        status, out, err = cli(*words, script=SCRIPT)
        assert status == 0, err
    assert paths["a"] in out  # the table of b contains the scores of a
    medians = {tool: load(path)["summary"]["vocals"]["uSDR"]["median"] for tool, path in paths.items()}
    assert medians["a"] > 60 and medians["b"] == pytest.approx(20 * np.log10(2), abs=0.1)


@pytest.mark.slow
def test_a_run_on_another_data_set(cli, run, tmp_path):
    write_song(tmp_path / "other/one/song 7", seed=7)
    write_song(tmp_path / "other/test/song 8", seed=8)
    shutil.rmtree(tmp_path / "other/one")
    cli(f"run={run}", script=SCRIPT)
    before = (run / "scores/energy_ratios/scores.json").read_text()
    status, out, err = cli(f"run={run}", "data=stems", f"data.root={tmp_path / 'other'}", script=SCRIPT)
    assert status == 0, err
    assert [*load(run / "scores/energy_ratios-stems/scores.json")["tracks"]] == ["song 8"] and "1 tracks" in out
    assert (run / "scores/energy_ratios/scores.json").read_text() == before


@pytest.mark.slow
def test_training_tracks_in_the_test_are_named(cli, run, trained, tmp_path):
    """Tracks are compared by content: two are training tracks with other names, and one is new."""
    songs = trained[1]
    for name, source in {"again": "train/song 0", "valid": "valid/song 2", "new": "test/song 3"}.items():
        shutil.copytree(songs / source, tmp_path / "other/test" / name)
    status, out, err = cli(f"run={run}", "data=stems", f"data.root={tmp_path / 'other'}", script=SCRIPT)
    assert status == 0, err
    scores = load(run / "scores/energy_ratios-stems/scores.json")
    assert scores["trained_on"] == {"again": "train: song 0", "valid": "valid: song 2"}
    (warning,) = [line for line in out.splitlines() if line.startswith("warning: the run")]
    assert "again" in warning and "new" not in warning
    cli(f"run={run}", script=SCRIPT)
    assert "trained_on" not in load(run / "scores/energy_ratios/scores.json")


def test_a_damaged_record_of_tracks_is_named(error_of, run):
    (run / "tracks.json").write_text("[1")
    assert "tracks.json" in str(error_of("evaluate", f"run={run}"))


def test_the_state_of_a_training_that_has_not_ended_is_printed(cli, run):
    record = json.loads((run / "run.json").read_text())
    assert "interrupted" not in cli(f"run={run}", script=SCRIPT)[1]
    (run / "run.json").write_text(json.dumps(record | {"state": "interrupted"}))
    assert "state: interrupted" in cli(f"run={run}", script=SCRIPT)[1]


@pytest.mark.slow
def test_compare_with_needs_the_same_protocol(cli, run):
    cli(f"run={run}", "protocol=ikala_nsdr", script=SCRIPT)
    cli(f"run={run}", "protocol=ikala_nsdr", "oracle=ibm", script=SCRIPT)
    other = run / "scores/ikala_nsdr-ibm/scores.json"
    status, out, _ = cli(f"run={run}", "protocol=ikala_nsdr", f"compare_with=[{other}]", script=SCRIPT)
    assert status == 0 and f"  {other}" in out
    status, _, err = cli(f"run={run}", f"compare_with=[{other}]", script=SCRIPT)
    assert status == 1 and has_names(err, "energy_ratios ikala_nsdr")


def test_compared_runs_need_all_protocols_first(cli, run, tmp_path):
    """The error contains one command for each run, which a shell and Hydra read without a change."""
    others = [Path(shutil.copytree(run, tmp_path / name)) for name in ("b's run, (1)", "c")]
    words = [
        f"run={run}",
        "protocol=[musdb18_mdx,energy_ratios,msst]",
        f"compare_with=[{json.dumps(str(others[0]))},{others[1]}]",
    ]
    before = files_below(run)
    status, _, err = cli(*words, script=SCRIPT)
    assert status == 1 and f"error: compare_with={others[0]}, {others[1]}: " in err and files_below(run) == before
    commands = err.partition(". Type ")[2].strip().split(" && ")
    expected = [["python", SCRIPT, f"run={other}", "protocol=[musdb18_mdx,msst]"] for other in others]
    assert [shlex.split(command) for command in commands] == expected
    for command in commands:
        status, _, err = cli(*shlex.split(command)[2:], script=SCRIPT)
        assert status == 0, err
    status, out, err = cli(*words, script=SCRIPT)
    assert status == 0 and out.count("b's run, (1) equals run in vocals") == 3, err


def test_compared_files_need_the_same_tracks(error_of, run, tmp_path):
    scores = load(run / "scores.json")
    scores["tracks"].pop("song 3")
    (tmp_path / "other.json").write_text(json.dumps(scores))
    shutil.rmtree(run / "scores")
    before = files_below(run)
    error = error_of("evaluate", f"run={run}", f"compare_with=[{tmp_path / 'other.json'}]")
    assert error.where == f"compare_with={tmp_path / 'other.json'}" and "song 3" in error.found
    assert files_below(run) == before


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], "run estimates oracle"),
        (["run=nowhere"], "run=nowhere"),
        (["run={run}/config.yaml"], "config.yaml"),
        (["run={run}/audio"], "config.yaml"),
        (["run={run}", "model=unet_noskip"], "model run="),
        (["run={run}", "targets=all"], "targets run="),
        (["run={run}", "checkpoint=wurst"], "checkpoint wurst best.ckpt last.ckpt"),
        (["run={run}", "checkpoint={run}/metrics.csv"], "metrics.csv"),
        (["run={run}", "oracle=irm", "estimates=x"], "estimates oracle both"),
        (["oracle=imr"], "oracle imr 'irm'"),
        (["oracle=irm", "targets=vocals", "tta=report"], "tta report null"),
        (["run={run}", "processes=0"], "processes 0"),
        (["run={run}", "data.root=/nowhere"], "data.root=/nowhere"),
        (["run={run}", "estimates=nowhere"], "estimates=nowhere"),
        (["run={run}", "estimates={run}/audio"], "song 3 vocals"),
        (["run={run}", "compare_with=[nowhere]"], "compare_with=nowhere"),
        (["run={run}", "compare_with=[{run}/run.json]"], "run.json protocol"),
        (["run={run}", "protocol=musdb18", "protocol.taps=-3"], "protocol.taps -3"),
        (["run={run}", "model.separator.mask_options.consistency=true"], "consistency"),
        (["run={run}", "+model.separator.masks_from=clusters"], "model.separator.masks_from"),
        (["run={run}", "model.separator.scaling=none"], "model.separator.scaling run="),
    ],
)
def test_invalid_keys_are_named(error_of, run, words, names):
    shutil.rmtree(run / "scores")
    before = files_below(run)
    assert has_names(str(error_of("evaluate", *[word.format(run=run) for word in words])), names)
    assert files_below(run) == before


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["protocol=musdb1"], "protocol musdb1 'musdb18'"),
        (["protocol=musdb18", "protocol.tapps=3"], "protocol.tapps 'protocol.taps'"),
        (["protocol=[musdb18,msst]", "protocol.taps=9"], "protocol.taps protocols"),
        (["protocol=[musdb18,mstt]"], "mstt 'msst'"),
        (["output={run}/run.json"], "run.json"),
    ],
)
def test_evaluate_exits_with_status_1(refused, run, words, names):
    assert has_names(refused(f"run={run}", *[word.format(run=run) for word in words], script=SCRIPT), names)


@pytest.mark.slow
def test_estimates_that_do_not_fit_are_named(error_of, trained, tmp_path):
    root = trained[1]
    cases = {
        "length": (lambda true, mixture: true[:-12], 44100),
        "1 2": (lambda true, mixture: true[:, 0], 44100),
        "48000 44100": (lambda true, mixture: true, 48000),
        "NaN": (lambda true, mixture: true * np.nan, 44100),
    }
    for number, (names, (made, rate)) in enumerate(cases.items()):
        folder = tmp_path / f"tool{number}"
        estimates(root, folder, made, rate, ["vocals"])
        words = oracle_words(root, f"estimates={folder}", "protocol=musdb18_mdx", "output=out")
        assert has_names(str(error_of("evaluate", *words)), f"{folder}/song 3/vocals.wav {names}")
        assert not list(Path("out").rglob("*.json"))


def test_damaged_and_foreign_checkpoints_are_named(error_of, run):
    best = run / "checkpoints/best.ckpt"
    best.write_bytes(best.read_bytes()[:1000])
    assert str(best) in str(error_of("evaluate", f"run={run}"))
    torch.save({"state_dict": {"other": torch.zeros(1)}}, best)
    assert str(best) in str(error_of("evaluate", f"run={run}"))


def test_a_checkpoint_cannot_run_code(error_of, run, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": Trap()}, run / "checkpoints/best.ckpt")
    assert "best.ckpt" in str(error_of("evaluate", f"run={run}")) and not (tmp_path / "sprung").exists()


def test_a_config_cannot_build_other_classes(error_of, run):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("unbraid.nets.unet.UNet", "os.system"))
    assert "os.system" in str(error_of("evaluate", f"run={run}"))
    for text in ("- a\n- list\n", "a: ["):
        config.write_text(text)
        assert "config.yaml" in str(error_of("evaluate", f"run={run}"))


def test_truncated_scores_are_written_again(cli, run):
    cli(f"run={run}", script=SCRIPT)
    path = run / "scores/energy_ratios/scores.json"
    whole = load(path)
    path.write_text("{")
    assert cli(f"run={run}", script=SCRIPT)[0] == 0 and load(path) == whole


@pytest.mark.slow
def test_a_changed_protocol_needs_another_name(cli, run):
    cli(f"run={run}", "protocol=ikala_nsdr", script=SCRIPT)
    status, _, err = cli(f"run={run}", "protocol=ikala_nsdr", "protocol.taps=64", script=SCRIPT)
    assert status == 1 and has_names(err, "taps 512 protocol.name")
    status, _, _ = cli(f"run={run}", "protocol=ikala_nsdr", "protocol.taps=64", "protocol.name=short", script=SCRIPT)
    assert status == 0 and load(run / "scores/short/scores.json")["protocol"]["taps"] == 64


@pytest.mark.slow
def test_training_can_use_any_protocol(cli, songs):
    words = ["data=musdb", f"data.root={songs}", *SHORT, NARROW, "protocol=musdb18"]
    status, _, err = cli(*words, "+targets.drums=[drums]", "~targets.vocals", script="train.py")
    assert status == 1 and has_names(err, "musdb18 vocals, drums, bass, other") and not Path("outputs").exists()
    status, out, _ = cli(*words, "hydra.run.dir=run", script="train.py")
    assert status == 0 and "median of windows" in out
    assert load("run/scores.json")["protocol"]["name"] == "musdb18"


def test_clips_are_written_on_request(cli, run):
    cli(f"run={run}", "evaluation.clips=1", script=SCRIPT)
    folder = run / "scores/energy_ratios"
    assert {path.name for path in folder.iterdir()} == {"audio", "estimate", "pictures", "scores.json"}


@pytest.mark.slow
def test_another_phase_than_in_training(cli, run):
    status, _, _ = cli(f"run={run}", "phase=griffin_lim", "phase.iterations=2", script=SCRIPT)
    scores = load(run / "scores/energy_ratios/scores.json")
    assert status == 0 and scores["settings"]["estimate"]["phase"].startswith("GriffinLim(iterations=2,")
    assert scores["tracks"] != load(run / "scores.json")["tracks"]
    cli(f"run={run}", script=SCRIPT)  # with the run's options again
    assert load(run / "scores/energy_ratios/scores.json")["tracks"] == load(run / "scores.json")["tracks"]


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("model.separator.mask_options.mask_power=2", "mask_power", 2),
        ("model.separator.mask_options.mask_max=0.3", "mask_max", 0.3),
    ],
)
def test_other_mask_options_than_in_training(cli, run, word, name, value):
    status, _, err = cli(f"run={run}", word, script=SCRIPT)
    assert status == 0, err
    scores = load(run / "scores/energy_ratios/scores.json")
    assert scores["settings"]["estimate"][name] == value
    assert scores["tracks"] != load(run / "scores.json")["tracks"]
    cli(f"run={run}", script=SCRIPT)  # with the run's options again
    assert load(run / "scores/energy_ratios/scores.json")["tracks"] == load(run / "scores.json")["tracks"]


@pytest.mark.slow
def test_masks_from_clusters_after_training(cli, songs):
    net = ["hidden=4", "layers=1", "mel_bands=8", "embedding=2"]
    words = ["model=chimera_small", *(f"model.separator.net.{word}" for word in net), *SHORT[:-1], "evaluation.clips=0"]
    status, _, err = cli("data=musdb", f"data.root={songs}", *words, "hydra.run.dir=run", script="train.py")
    assert status == 0, err
    status, _, err = cli("run=run", "+model.separator.masks_from=clusters", script=SCRIPT)
    assert status == 0, err
    paths = ("run/scores.json", "run/scores/energy_ratios/scores.json")
    assert [load(path)["settings"]["estimate"]["masks_from"] for path in paths] == ["head", "clusters"]
