"""Test the logs of whole runs."""

import csv
import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import SHORT, only_run
from tests.training.loggers.conftest import exit_code, header, history, pages, summary
from unbraid.runs.errors import InputError
from unbraid.tasks.task import Task
from unbraid.training.callbacks.metrics_csv import MEASURED
from unbraid.training.loggers.wandb_page import page_id

ALL = "logger=[csv,wandb,tensorboard]"


def musdb(root, *more):
    return ["model=unet", "data=musdb", f"data.root={root}", *SHORT, *more]


def rows_of(run):
    with (run / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def events_of(run):
    return EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "images": 0, "audio": 0, "histograms": 0}).Reload()


@pytest.mark.parametrize("data", ["songs", "digits"])
def test_diverged_run_fails_with_all_loggers(cli, songs, tmp_path, data):
    digits = ["model=ae", "data=digits", "trainer.accelerator=cpu"]
    words = musdb(songs, "trainer.max_epochs=2") if data == "songs" else digits
    errors = {}
    for name, logger in {"one": "logger=[csv]", "all": ALL}.items():
        status, _, err = cli(*words, "optim.optimizer.lr=1e30", logger, f"hydra.run.dir={name}")
        record = json.loads((tmp_path / "work" / name / "run.json").read_text())
        errors[name] = record["error"]
        assert status == 1 and record["state"] == "failed" and err.splitlines()[-1] == f"error: {record['error']}"
    assert errors["all"] == errors["one"] and " of epoch " in errors["all"]
    assert not (tmp_path / "work/all/media").exists()


@pytest.mark.slow
def test_loggers_agree_and_do_not_change_training(cli, songs, tmp_path, monkeypatch):
    three = musdb(songs, "trainer.max_epochs=3", "targets=vocals_accompaniment", "resume=never")
    status, out, _ = cli(*three, ALL, "logger.media.every_n_epochs=2", "tags=[mine]", "notes=again", "hydra.run.dir=logged")
    run = tmp_path / "work/logged"
    assert status == 0 and "wandb sync logged/wandb/offline-run-*" in out
    (page,) = pages(run)
    record = json.loads((run / "run.json").read_text())
    scores = json.loads((run / "scores.json").read_text())
    assert_described(header(page), record, songs)
    assert exit_code(page) == 0 and summary(page)["state"] == "done"

    # every column of metrics.csv, in both
    logged, events, rows = history(page), events_of(run), rows_of(run)
    assert [*logged] == [0, 1, 2, 3] and [row["epoch"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert {"train/loss", "valid/loss", "valid/uSDR/vocals", "lr", "steps_per_second", "wait_share"} <= {*row}
        assert {name: logged[row["epoch"]][name] for name in row} == row
    for name in rows[0]:
        written = events.Scalars(name)
        assert [event.step for event in written] == [0, 1, 2]
        assert torch.allclose(torch.tensor([event.value for event in written]), torch.tensor([row[name] for row in rows]))

    # media of epochs 0 and 2: one validation track, two targets
    for step in (0, 2):
        clips = logged[step]["valid/audio/song 2.audio"]
        parts = {f"{target}-{part}" for target in ("accompaniment", "vocals") for part in ("estimate", "target")}
        assert len(clips) == 6 and {clip["caption"] for clip in clips} == {"mixture", "residual"} | parts
        assert all(0 < clip["size"] < 3 * 8192 * 3 for clip in clips)  # 3 s of 24 bits, before they are compressed
        assert logged[step]["valid/pictures/song 2.count"] == 2
    assert not any(name.startswith("valid/audio") for name in logged[1])
    (page_folder,) = run.glob("wandb/offline-run-*")
    assert all((page_folder / "files" / clip["path"]).is_file() for clip in logged[2]["valid/audio/song 2.audio"])
    assert [event.step for event in events.Audio("valid/audio/song 2/vocals-estimate")] == [0, 2]
    assert [event.step for event in events.Images("valid/pictures/song 2/song 2-vocals")] == [0, 2]

    # scores
    for target in ("vocals", "accompaniment"):
        median = scores["summary"][target]["uSDR"]["median"]
        assert logged[3][f"test/uSDR/{target}"] == median == scores["tracks"]["song 3"][target]["uSDR"]
        assert sum(logged[3][f"test/histogram/uSDR/{target}.values"]) == 1
        assert abs(events.Scalars(f"test/uSDR/{target}")[0].value - median) < 1e-5
    table = json.loads((page_folder / "files" / logged[3]["test/tracks.path"]).read_text())
    assert table["columns"] == ["track", "target", "measure", "score"]
    assert ["song 3", "vocals", "uSDR", scores["tracks"]["song 3"]["vocals"]["uSDR"]] in table["data"]

    # no paths of this machine
    uploaded = json.dumps([entry for entry in page if entry["type"] != "artifact"])  # an artifact contains its local path
    assert str(tmp_path) not in uploaded and str(songs) not in uploaded

    # the same run without loggers
    assert cli(*three, "hydra.run.dir=silent")[0] == 0
    assert_the_same_but_for_the_clock(run, tmp_path / "work/silent")


def assert_described(run, record, songs):
    config = run["config"]["update"]
    assert run["run_id"] == page_id(record) and run["run_id"].startswith(record["experiment"])
    assert run["project"] == "unbraid" and run["job_type"] == "train" and run["display_name"] == "logged"
    assert run["tags"] == ["unet", "musdb", "mine"] and run["notes"] == "again" and "run_group" not in run and run["resume"]
    assert config["seed"] == 0 and config["model"]["separator"]["net"]["channels"] == [2, 2, 4, 4, 4, 4]
    assert config["run"]["commit"] == record["commit"] and config["run"]["versions"] == record["versions"]
    assert config["run"]["parameters"] > 0 and len(config["run"]["data_fingerprint"]) == 16
    assert "root" not in config["data"] and not any("data.root" in word for word in config["run"]["overrides"])


def assert_the_same_but_for_the_clock(one, other):
    weights = [torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in (one, other)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    timeless = [[{name: row[name] for name in row if name not in MEASURED} for row in rows_of(run)] for run in (one, other)]
    assert timeless[0] == timeless[1]
    assert json.loads((one / "run.json").read_text())["identity"] == json.loads((other / "run.json").read_text())["identity"]


@pytest.mark.slow
def test_failed_run_resumes_on_its_page(cli, songs, tmp_path, monkeypatch):
    """Resume the run with one more logger."""
    words = musdb(songs, "trainer.max_epochs=3", "logger.media.every_n_epochs=1", "logger.media.seconds=1")
    with monkeypatch.context() as patch:
        patch.setattr(Task, "on_train_epoch_end", failing(Task.on_train_epoch_end, epoch=1))
        assert cli(*words, "logger=wandb")[0] == 1
    run = only_run(tmp_path / "work")
    (page,) = pages(run)
    assert exit_code(page) == 1 and summary(page)["state"] == "failed" and [*history(page)] == [0, 1]
    assert cli(*words, "logger=[wandb,tensorboard]")[0] == 0
    first, second = pages(run)
    assert header(first)["run_id"] == header(second)["run_id"] and exit_code(second) == 0
    assert [*history(first)] == [0, 1] and [*history(second)] == [2, 3]  # nothing twice, nothing lost
    assert history(second)[2]["valid/audio/song 2.count"] == 4
    assert [event.step for event in events_of(run).Scalars("valid/loss")] == [0, 1, 2]
    assert [event.step for event in events_of(run).Audio("valid/audio/song 2/mixture")] == [0, 1, 2]


def failing(hook, epoch):
    def run(task):
        hook(task)
        if task.current_epoch == epoch:
            raise InputError("fails on request")

    return run


@pytest.mark.slow
def test_autoencoders_log_reconstructions_and_codes(cli, tmp_path):
    words = ["model=vae", "data=digits", "model.net.hidden=[8]", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    assert cli(*words, "logger=tensorboard", "logger.media.clips=1")[0] == 0
    tags = events_of(only_run(tmp_path / "work")).Tags()
    assert {f"valid/pictures/all/{name}" for name in ("reconstructions", "codes", "samples")} <= {*tags["images"]}
    assert {"train/loss", "train/KL", "valid/loss", "test/error/images"} <= {*tags["scalars"]} and tags["audio"] == []


@pytest.mark.slow
def test_autoencoders_of_tracks_log_audio(cli, songs, tmp_path):
    words = ["model=ae", "model.net.hidden=[8]", "data=musdb", f"data.root={songs}", *SHORT[:-1]]
    assert cli(*words, "logger=tensorboard", "logger.media.seconds=2")[0] == 0
    run = only_run(tmp_path / "work")
    assert {"valid/audio/song 2/vocals-input", "valid/audio/song 2/vocals-rebuilt"} <= {*events_of(run).Tags()["audio"]}


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["logger=wandb", "~callbacks.table"], "logger: "),
        (["logger=wandb", "logger.wandb.mode=sometimes"], "logger.wandb.mode"),
        (["logger=wandb", "logger.media.seconds=0"], "logger.media.seconds"),
        (["logger=wandb", "logger.wandb.init_timeout=0"], "logger.wandb.init_timeout"),
        (["logger=wandb", "logger.wandb.project=''"], "logger.wandb.project"),
        (["logger=wandb", "logger.wandb.project=a/b"], "logger.wandb.project"),
        (["logger=wandb", f"logger.wandb.project={129 * 'x'}"], "logger.wandb.project"),
        ([f"tags=[{65 * 'x'}]"], "tags"),
        (["tags=['']"], "tags"),
        (["logger=comet"], "logger: "),
        (["logger=wandb", "logger.wandb.mode=online"], "logger.wandb.mode=online"),
    ],
)
def test_invalid_logger_options_are_refused(cli, songs, tmp_path, words, key):
    status, _, err = cli(*musdb(songs, *words))
    assert status == 1 and err.startswith(f"error: {key}")
    assert not [*(tmp_path / "work").iterdir()]


@pytest.mark.parametrize(("name", "module"), [("wandb", "wandb_page"), ("tensorboard", "tensorboard_events")])
def test_missing_package_is_named(cli, songs, monkeypatch, name, module):
    monkeypatch.setattr(f"unbraid.training.loggers.{module}.find_spec", lambda _: None)
    status, _, err = cli(*musdb(songs, f"logger={name}"))
    assert status == 1 and f"logger.{name}: " in err and f"pip install 'unbraid[{name}]'" in err
