"""Autoencoders from the command line: training, evaluation, codes and anomalies."""

import csv
import json
import re
import sys

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from tests.commands.conftest import has_names
from tests.conftest import load_script, only_run
from unbraid.reports.code_sizes import CodeSizes

DIGITS = ["data=digits", "data.size=8", "trainer.max_epochs=2", "trainer.accelerator=cpu"]
SMALL = ["features.chunk_seconds=0.109375", "data.batch_size=2", "data.chunks_per_track=2"]  # 8 frames
SMALL += ["trainer.max_epochs=1", "trainer.accelerator=cpu"]


def scores_of(run):
    return json.loads((run / "scores.json").read_text())


def sound(songs, *more):
    return ["data=musdb", f"data.root={songs}", *SMALL, *more]


def test_a_log_file_gets_one_line_per_epoch(cli, tmp_path):
    status, out, err = cli("model=ae", *DIGITS, "trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2")
    lines = [line.split() for line in out.splitlines() if line.startswith("epoch")]
    assert status == 0 and err == ""
    assert [line[1] for line in lines] == ["1", "2", "3"] and all(line[2] == "train/loss" for line in lines)
    assert ["valid/loss" in line for line in lines] == [False, True, True]  # the last epoch is always validated
    with (only_run(tmp_path / "work") / "metrics.csv").open() as file:
        assert [row["valid/loss"] != "" for row in csv.DictReader(file)] == [False, True, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [["model=ae"], ["model=deep_ae", "model.net.tied=true"], ["model=vae"], ["model=pca"], ["model=conv_ae"]],
    ids=lambda words: words[0],
)
def test_every_autoencoder_reconstructs_digits_and_sound(cli, songs, tmp_path, words):
    status, out, err = cli(*words, *DIGITS)
    assert status == 0, err
    run = only_run(tmp_path / "work")
    assert (run / "checkpoints/best.ckpt").is_file()
    assert {"reconstructions.png", "codes.png"} <= {path.name for path in (run / "pictures").iterdir()}
    assert ((run / "pictures/samples.png").is_file()) == (words[0] == "model=vae")
    assert scores_of(run)["summary"]["images"]["error"]["n"] == 359
    status, out, err = cli(*words, *sound(songs, "hydra.run.dir=sound", "targets=vocals_accompaniment"))
    assert status == 0, err
    scores = scores_of(tmp_path / "work/sound")
    assert set(scores["summary"]) == {"vocals", "accompaniment"}
    assert ("pca" in scores) == (words[0] != "model=pca")
    assert sorted(path.name for path in (tmp_path / "work/sound/audio/song 3").iterdir()) == [
        f"{source}-{name}.flac" for source in ("accompaniment", "vocals") for name in ("input", "rebuilt")
    ]
    assert "left out" not in out


@pytest.mark.slow
@pytest.mark.parametrize("corruption", ["none", "salt_and_pepper"])
def test_the_baseline_of_an_autoencoder_is_pca(cli, songs, tmp_path, corruption):
    """Both fits use all training data without corruption, for images and for sound."""
    work = tmp_path / "work"
    for items, words in (("images", DIGITS), ("mixture", sound(songs, "targets=mixture", "evaluation.clips=0"))):
        means = []
        for model, row in (("pca", "summary"), ("ae", "pca")):
            folder = f"{items}-{model}"
            words_of_model = [f"model={model}", "model.net.code=5", f"corruption={corruption}", f"hydra.run.dir={folder}"]
            assert cli(*words_of_model, *words)[0] == 0
            means.append(scores_of(work / folder)[row][items]["error"]["mean"])
        assert means[0] == pytest.approx(means[1], rel=1e-6)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_errors(cli, tmp_path):
    for name in ("one", "two"):
        assert cli("model=vae", "corruption=gaussian", *DIGITS, f"hydra.run.dir={name}")[0] == 0
    one, two = (scores_of(tmp_path / "work" / name) for name in ("one", "two"))
    assert one["summary"] == two["summary"]


@pytest.mark.slow
@pytest.mark.parametrize("corruption", ["gaussian", "salt_and_pepper", "masking", "strokes"])
def test_a_denoising_autoencoder_improves_unseen_images(cli, tmp_path, corruption):
    words = ["model=ae", "model.net.code=16", f"corruption={corruption}", *DIGITS, "trainer.max_epochs=15"]
    assert cli(*words, "optim.optimizer.lr=5e-3")[0] == 0
    scores = scores_of(only_run(tmp_path / "work"))
    snr = {row: scores[row]["images"]["SNR"]["mean"] for row in ("summary", "corrupted")}
    assert snr["summary"] > snr["corrupted"] + 1


@pytest.mark.slow
@pytest.mark.parametrize(("corruption", "count"), [("time_mask", 1), ("frequency_mask", 8)])
def test_masks_of_spectrograms_are_filled_in(cli, songs, tmp_path, corruption, count):
    words = sound(songs, "model=conv_ae", f"corruption={corruption}", "targets=mixture", f"corruption.count={count}")
    status, _, err = cli(*words, "data.chunks_per_track=40", "trainer.max_epochs=3", "evaluation.clips=0")
    assert status == 0, err
    scores = scores_of(only_run(tmp_path / "work"))
    snr = {row: scores[row]["mixture"]["SNR"]["mean"] for row in ("summary", "corrupted")}
    assert snr["summary"] > snr["corrupted"] + 1


@pytest.mark.slow
@pytest.mark.parametrize("model", ["denoising_ae", "unet_segmentation"])
def test_autoencoders_as_separators_have_separation_scores(cli, songs, tmp_path, model):
    small = ["model.separator.net.channels=[2,2]"] if model == "unet_segmentation" else ["model.separator.net.hidden=[8]"]
    words = [f"model={model}", "data=musdb", f"data.root={songs}", "data.batch_size=2", "data.chunks_per_track=2", *small]
    status, out, err = cli(*words, "trainer.max_epochs=1", "trainer.accelerator=cpu", "targets=vocals_accompaniment")
    assert status == 0, err
    scores = scores_of(only_run(tmp_path / "work"))
    assert scores["protocol"]["name"] == "energy_ratios"
    assert set(scores["summary"]) == {"vocals", "accompaniment"}
    assert ("segmentation" in scores) == ("classes of bins" in out) == (model == "unet_segmentation")


@pytest.mark.slow
def test_griffin_lim_replaces_the_phase_of_the_input(cli, songs, tmp_path):
    words = sound(songs, "model=pca", "targets=mixture")
    assert cli(*words, "hydra.run.dir=input", "model.net.code=256")[0] == 0
    assert cli(*words, "hydra.run.dir=gl", "evaluation.phase=griffin_lim", "evaluation.iterations=4")[0] == 0
    rebuilt = [soundfile.read(tmp_path / f"work/{name}/audio/song 3/mixture-rebuilt.flac")[0] for name in ("input", "gl")]
    true = soundfile.read(tmp_path / "work/input/audio/song 3/mixture-input.flac")[0]
    assert np.abs(rebuilt[0] - true).max() < 0.05  # all components and the true phase
    assert not np.array_equal(rebuilt[0], rebuilt[1])


@pytest.mark.slow
def test_codes_of_a_file_and_of_a_split(cli, songs, tmp_path):
    assert cli("model=ae", "model.net.code=3", *sound(songs, "hydra.run.dir=run"))[0] == 0
    file = next((songs / "test").iterdir()) / "vocals.wav"
    status, _, err = cli("run=run", f"input={file}", "output=x/codes.npy", script="scripts/encode.py")
    assert status == 0, err
    codes = np.load(tmp_path / "work/x/codes.npy")
    rows = list(csv.DictReader((tmp_path / "work/x/codes.csv").open()))
    assert codes.shape == (len(rows), 3) == (3 * 8192 // 128 + 1, 3)
    assert float(rows[-1]["seconds"]) == pytest.approx(3.0)
    assert cli("run=run", "split=test", "output=codes.parquet", script="scripts/encode.py")[0] == 0
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "work/codes.parquet")
    assert table.column_names == ["name", "label", "seconds", "code_0", "code_1", "code_2"]
    np.testing.assert_allclose(table["code_1"].to_numpy(), codes[:, 1], atol=0.05)  # the store is rounded to 16 bits


@pytest.mark.slow
def test_codes_of_images_have_their_labels(cli, tmp_path):
    assert cli("model=ae", "model.net.code=3", *DIGITS, "hydra.run.dir=run")[0] == 0
    assert cli("run=run", "split=valid", "output=codes.npy", script="scripts/encode.py")[0] == 0
    rows = list(csv.DictReader((tmp_path / "work/codes.csv").open()))
    assert np.load(tmp_path / "work/codes.npy").shape == (144, 3)
    assert {row["label"] for row in rows} == {str(digit) for digit in range(10)}


def test_injected_and_labelled_anomalies_are_found(cli, songs, tmp_path):
    assert cli("model=pca", "model.net.code=8", "targets=mixture", *sound(songs, "hydra.run.dir=run"))[0] == 0
    work = tmp_path / "work"
    words = ["run=run", "split=test", "inject=[wrong_instrument]", "output=found"]
    status, _, err = cli(*words, script="scripts/anomaly.py")
    assert status == 0, err
    planted = list(csv.DictReader((work / "found/song 3-mixture-planted.csv").open()))
    assert [row["kind"] for row in planted] == ["wrong_instrument"]
    flagged = list(csv.DictReader((work / "found/song 3-mixture.csv").open()))
    assert any(
        float(row["start"]) < float(planted[0]["stop"]) and float(row["stop"]) > float(planted[0]["start"]) for row in flagged
    )
    assert (work / "found/song 3-mixture.png").is_file()
    file, labels = work / "found/song 3-mixture-planted.flac", work / "found/song 3-mixture-planted.csv"
    status, out, err = cli("run=run", f"input='{file}'", f"labels='{labels}'", "output=again", script="scripts/anomaly.py")
    assert status == 0, err
    assert float(out.splitlines()[1].split()[-1]) > 0.9


@pytest.mark.slow
def test_files_of_one_name_in_two_folders(cli, songs, tmp_path):
    assert cli("model=pca", "model.net.code=8", "targets=mixture", *sound(songs, "hydra.run.dir=run"))[0] == 0
    work = tmp_path / "work"
    for number, folder in enumerate(("a", "b")):
        (work / "in" / folder).mkdir(parents=True)
        samples = 0.1 * np.random.default_rng(number).standard_normal(12000 * (number + 1))
        soundfile.write(work / "in" / folder / "mix.flac", samples, 12000)
    (work / "in/a/mix.flac").replace(work / "in/b/mix.wav")  # one name twice
    status, _, err = cli("run=run", "input=in", script="scripts/anomaly.py")
    assert status == 1
    assert has_names(err, "mix.wav b/mix.flac")
    (work / "in/b/mix.wav").replace(work / "in/a/mix.flac")
    status, out, err = cli("run=run", "input=in", "output=found", script="scripts/anomaly.py")
    assert status == 0, err
    assert [line.split("  ")[0] for line in out.splitlines()[1:3]] == ["a - mix", "b - mix"]
    assert sorted(path.name for path in (work / "found").iterdir()) == [f"{n} - mix.{s}" for n in "ab" for s in ("csv", "png")]
    assert cli("run=run", "input=in", "output=codes.npy", script="scripts/encode.py")[0] == 0
    rows = list(csv.DictReader((work / "codes.csv").open()))
    counts = [sum(row["name"] == name for row in rows) for name in ("a - mix", "b - mix")]
    assert counts[0] + counts[1] == len(rows)
    assert counts[1] > 1.9 * counts[0]
    assert {row["label"] for row in rows} == {""}
    assert cli("run=run", "input=in/a/mix.flac", "output=one", script="scripts/anomaly.py")[0] == 0
    assert sorted(path.name for path in (work / "one").iterdir()) == ["mix.csv", "mix.png"]


@pytest.mark.slow
def test_a_diverged_training_is_one_line(cli, songs, tmp_path):
    words = ["model=ae", *DIGITS, "optim.optimizer.lr=1e30"]
    for more, name in (
        (["trainer.max_epochs=3"], "train/loss"),
        (["+trainer.limit_train_batches=1"], "valid/loss"),
        (["trainer.max_steps=1"], ""),
    ):
        status, _, err = cli(*words, *more, f"hydra.run.dir={name or 'no-epoch'}")
        message = err.split("\r")[-1].strip()  # after progress bars
        assert status == 1 and message.startswith(f"error: {name}") and len(message.splitlines()) == 1
    run = tmp_path / "work/train/loss"
    assert not (run / "checkpoints").exists()
    assert json.loads((run / "run.json").read_text())["state"] == "failed"
    words = ["model=denoising_ae", "data=musdb", f"data.root={songs}", "data.batch_size=2", "data.chunks_per_track=2"]
    words += ["trainer.accelerator=cpu", "targets=vocals", "model.separator.net.hidden=[8]", "hydra.run.dir=separator"]
    status, _, err = cli(*words, "trainer.max_epochs=3", "optim.optimizer.lr=1e30")
    assert status == 1 and "/loss of epoch " in err.splitlines()[-1]


@pytest.mark.slow
def test_a_run_of_one_step_can_be_used(cli, tmp_path):
    assert cli("model=ae", *DIGITS, "trainer.max_steps=1", "hydra.run.dir=run")[0] == 0
    assert json.loads((tmp_path / "work/run/scores.json").read_text())["checkpoint"] == "checkpoints/best.ckpt"
    status, _, err = cli("run=run", "split=test", script="scripts/encode.py")
    assert status == 0, err


@pytest.mark.slow
def test_planted_anomalies_are_found_in_the_demo_songs(cli):
    """Use PCA, which is fitted in one step; docs/autoencoders.md has the results of a network."""
    words = ["model=pca", "model.net.code=32", "targets=mixture", "evaluation.clips=0"]
    assert cli(*words, "trainer.accelerator=cpu", "hydra.run.dir=run")[0] == 0
    words = ["run=run", "split=test", "inject=[clicks,dropout,hum,wrong_instrument]"]
    status, out, err = cli(*words, script="scripts/anomaly.py")
    assert status == 0, err
    area = next(line for line in out.splitlines() if line.startswith("all"))
    assert float(area.split()[-1]) >= 0.95


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["model=ae", "model.net.code=65", *DIGITS], "code 64 65"),
        (["model=conv_ae", "model.net.up=sideways", *DIGITS], "model.net.up 'sideways'"),
        (["model=conv_ae", "model.net.channels=[2,2,2,2]", *DIGITS], "8 16"),
        (["model=conv_ae", "model.net.channels=[16,32]", *DIGITS], "16"),
        (["model=ae", "corruption=masking", "corruption.share=2", *DIGITS], "share 2"),
        (["model=ae", "data=digits", "data.root=/nowhere"], "data.root=/nowhere"),
        (["model=unet", "data=digits"], "data mixtures"),
        (["model=ae", "data=demo", "features=pixels", "features.size=8"], "data.sample_rate"),
        (["model=unet", "corruption=gaussian"], "corruption corruption=null"),
        (["model=ae", "targets=vocals", *DIGITS], "targets targets=null"),
        (["model=ae", "protocol=musdb18", *DIGITS], "protocol protocol=null"),
        (["model=ae", "evaluation.momentum=1", *DIGITS], "momentum 1"),
        (["model=ae", "evaluation.examples=0", *DIGITS], "examples 0"),
        (["model=vae", "model.kl_weight=-1", *DIGITS], "kl_weight -1"),
        (["model=vae", "model.kl_weight=nan", *DIGITS], "model.kl_weight nan"),
        (["model=ae", "corruption=gaussian", "corruption.deviation=inf", *DIGITS], "corruption.deviation inf"),
        (["model=pca", "trainer.devices=2", "trainer.strategy=ddp", *DIGITS], "pca 2"),
    ],
)
def test_an_invalid_training_is_refused(error_of, tmp_path, words, names):
    assert has_names(str(error_of("train", *words)), names) and not (tmp_path / "work/outputs").exists()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], "run run=FOLDER"),
        (["run=RUN"], "input split neither"),
        (["run=RUN", "split=test", "input=x.wav"], "input split both"),
        (["run=RUN", "split=tests"], "split tests 'test'"),
        (["run=nowhere", "split=test"], "run=nowhere"),
        (["run=RUN", "input=x.wav"], "run= images split=test"),
        (["run=RUN", "split=test", "checkpoint=RUN/metrics.csv"], "metrics.csv"),
        (["run=RUN", "split=test", "output=codes.txt"], "output codes.txt .npy .parquet"),
    ],
)
def test_invalid_keys_of_encode_are_named(error_of, trained_on_digits, words, names):
    words = [word.replace("=RUN", f"={trained_on_digits}") for word in words]
    assert has_names(str(error_of("encode", *words)), names)


def test_encode_and_anomaly_exit_with_status_1(refused):
    for script in ("scripts/encode.py", "scripts/anomaly.py"):
        assert "run=nowhere" in refused("run=nowhere", "split=test", script=script)


@pytest.mark.parametrize("word", ["split=test", "input=x.wav"])
def test_a_run_on_images_has_no_anomalies(error_of, trained_on_digits, word):
    error = error_of("anomaly", f"run={trained_on_digits}", word)
    assert error.where == f"run={trained_on_digits}" and "images" in error.problem and error.hint == ""


@pytest.fixture(scope="module")
def trained_on_sound(tmp_path_factory, songs):
    """Return the folder of a PCA that was fitted to `songs`."""
    folder = tmp_path_factory.mktemp("sound") / "trained"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNBRAID_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setattr(sys, "argv", ["train.py", "model=pca", "targets=mixture", *sound(songs, f"hydra.run.dir={folder}")])
        load_script("train.py")()
    return folder


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["split=test", "quantile=1"], "quantile 1"),
        (["split=test", "smooth_seconds=-1"], "smooth_seconds -1 60"),
        (["split=test", "seed=-1"], "seed -1"),
        (["split=test", "inject=[thunder]"], "thunder"),
        (["split=test", "inject=[hum,hum,hum]"], "3.0 5.0"),
        (["split=test", "labels=bad.csv"], "labels split"),
        (["input=bad.csv"], "bad.csv"),
        (["input=bad.csv", "labels=bad.csv"], "bad.csv 2 2.0 1.0"),
        (["input=SONG", "labels=late.csv"], "labels=late.csv 2.5 3.5 3.00"),
        (["input=bad.csv", "labels=none.csv"], "labels=none.csv"),
    ],
)
def test_invalid_keys_of_anomaly_are_named(error_of, songs, trained_on_sound, tmp_path, words, names):
    (tmp_path / "work/bad.csv").write_text("start,stop\n2,1\n")
    (tmp_path / "work/late.csv").write_text("start,stop\n1,2\n2.5,3.5\n")
    words = [word.replace("SONG", str(songs / "test/song 3/mixture.wav")) for word in words]
    assert has_names(str(error_of("anomaly", f"run={trained_on_sound}", *words)), names)


def test_an_autoencoder_is_not_scored_as_a_separator(error_of, trained_on_digits):
    assert error_of("evaluate", f"run={trained_on_digits}").where == f"run={trained_on_digits}"


@pytest.mark.slow
def test_a_sweep_over_code_sizes_ends_in_one_picture(cli, tmp_path):
    words = ["experiment=hinton2006", "hydra.sweeper.params={model.net.code:'2,3'}", "model.net.hidden=[8]", "data.size=8"]
    words += ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "callbacks.pretraining.epochs=1"]
    status, _, err = cli("-m", *words, "seed=0,1")
    assert status == 0, err
    (sweep,) = (tmp_path / "work/outputs").glob("*/*-sweep")
    rows = list(csv.DictReader((sweep / "code_sizes.csv").open()))
    assert [(row["code size"], row["runs"]) for row in rows] == [("2", "2"), ("3", "2")]
    assert all(float(row["PCA"]) < float(row["error"]) and row["runs below PCA"] == "0" for row in rows)
    assert (sweep / "code_sizes.png").is_file()


def test_a_table_of_code_sizes_prints_measured_numbers(tmp_path, capsys):
    errors = {2: [(5.0, 8.0), (7.0, 8.0)], 30: [(1.0, 2.0), (4.0, 2.0)]}  # errors of autoencoder and PCA by code size
    for number, (size, nonlinear, linear) in enumerate((size, *pair) for size, pairs in errors.items() for pair in pairs):
        rows = {row: {"images": {"error": {"mean": error}}} for row, error in (("summary", nonlinear), ("pca", linear))}
        (tmp_path / f"{number}-run").mkdir()
        (tmp_path / f"{number}-run/scores.json").write_text(json.dumps({"protocol": {}, "code_size": size, **rows}))
    CodeSizes().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    out, _, _ = capsys.readouterr().out.rpartition(str(tmp_path))
    numbers = [[float(word) for word in re.findall(r"[+-]?\d+\.?\d*", line)] for line in out.splitlines()]
    assert [line for line in numbers if line] == [[2, 6, 1.41, 8, -25, 2, 2], [30, 2.5, 2.12, 2, 25, 1, 2]]


def test_one_run_per_code_size_has_no_deviation(tmp_path, capsys):
    (tmp_path / "0-run").mkdir()
    rows = {row: {"images": {"error": {"mean": 5.0}}} for row in ("summary", "pca")}
    (tmp_path / "0-run/scores.json").write_text(json.dumps({"protocol": {}, "code_size": 2, **rows}))
    CodeSizes().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    out = capsys.readouterr().out
    assert "5.00" in out and "±" not in out and "over runs" not in out
    (row,) = csv.DictReader((tmp_path / "code_sizes.csv").open())
    assert row["error"] == "5.0" and row["deviation"] == ""
    assert (tmp_path / "code_sizes.png").is_file()


@pytest.fixture(scope="module")
def trained_on_digits(tmp_path_factory):
    """Return the folder of an autoencoder that was trained on digits."""
    folder = tmp_path_factory.mktemp("digits") / "trained"
    before, sys.argv = sys.argv, ["train.py", "model=ae", *DIGITS, f"hydra.run.dir={folder}"]
    try:
        load_script("train.py")()
    finally:
        sys.argv = before
    assert torch.load(folder / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    return folder
