"""Continue finished runs, continue from a chosen checkpoint, test without training, and train without testing."""

import csv
import json
import shutil
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.commands.conftest import has_names
from tests.commands.test_sweeps import AUTOENCODER
from tests.conftest import files_below, load_script, only_run
from unbraid.training.callbacks.metrics_csv import MEASURED

NADAM = ["optim.optimizer._target_=torch.optim.NAdam", "~optim.optimizer.fused"]


def epochs(count):
    return f"trainer.max_epochs={count}"


def weights(run, name="last"):
    return torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def record(run):
    return json.loads((run / "run.json").read_text())


def rows(run):
    with (run / "metrics.csv").open() as file:
        return [{name: cell for name, cell in row.items() if name not in MEASURED} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Train two epochs and, without a break, four; tests only read these runs."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for count in (2, 4):
            words = [*AUTOENCODER, epochs(count), f"hydra.run.dir={folder / str(count)}"]
            patch.setattr("sys.argv", ["train.py", *words])
            load_script("train.py")()
    return folder


def test_a_finished_run_continues_in_its_folder(cli, runs, tmp_path):
    run = tmp_path / "work/outputs/2020-01-01/run"
    shutil.copytree(runs / "2", run)
    earlier = (run / "scores.json").read_text()
    status, out, err = cli(*AUTOENCODER, epochs(4))
    assert status == 0, err
    assert only_run(tmp_path / "work") == run
    assert has_names(out, "continues outputs/2020-01-01/run 2 max_epochs=4 resume=never")
    assert record(run)["state"] == "done" and epochs(4) in record(run)["overrides"]
    assert same(weights(run), weights(runs / "4")) and same(weights(run, "best"), weights(runs / "4", "best"))
    assert rows(run) == rows(runs / "4")
    assert (run / "scores-2-epochs.json").read_text() == earlier
    assert json.loads((run / "scores.json").read_text())["summary"] == scores(runs / "4")["summary"]


def scores(run):
    return json.loads((run / "scores.json").read_text())


def test_a_named_folder_continues_and_never_shrinks(cli, runs, tmp_path):
    shutil.copytree(runs / "2", tmp_path / "work/run")
    status, out, err = cli(*AUTOENCODER, epochs(1), "hydra.run.dir=run")
    assert status == 1 and has_names(err, "run: trainer.max_epochs") and out == ""
    assert files_below(tmp_path / "work/run") == files_below(runs / "2")
    status, out, err = cli(*AUTOENCODER, epochs(3), "hydra.run.dir=run")
    assert status == 0 and len(rows(tmp_path / "work/run")) == 3


def test_a_smaller_limit_starts_a_new_run(cli, runs, tmp_path):
    shutil.copytree(runs / "2", tmp_path / "work/outputs/2020-01-01/run")
    status, out, _ = cli(*AUTOENCODER, epochs(1))
    assert status == 0 and has_names(out, "outputs/2020-01-01/run trainer.max_epochs")
    assert len(list((tmp_path / "work").glob("outputs/*/*"))) == 2


def test_a_schedule_of_the_whole_length_cannot_continue(refused, cli, tmp_path):
    words = [*AUTOENCODER, "optim=cosine", "hydra.run.dir=run"]
    assert cli(*words, "test=false")[0] == 0
    assert not (tmp_path / "work/run/scores.json").exists() and record(tmp_path / "work/run")["state"] == "done"
    assert "optim.scheduler.T_max" in refused(*words, epochs(2))
    status, _, err = cli(*words)  # only the test is missing
    assert status == 0 and (tmp_path / "work/run/scores.json").exists(), err
    assert len(rows(tmp_path / "work/run")) == 1


def test_a_chosen_checkpoint_continues_in_a_new_folder(cli, runs, tmp_path):
    path = runs / "2/checkpoints/last.ckpt"
    status, out, err = cli(*AUTOENCODER, epochs(4), f"ckpt_path={path}", "hydra.run.dir=run")
    run = tmp_path / "work/run"
    assert status == 0 and f"continues from {path}" in out, err
    assert same(weights(run), weights(runs / "4")) and rows(run) == rows(runs / "4")
    assert len(rows(runs / "2")) == 2  # unchanged
    assert cli(*AUTOENCODER, epochs(5), f"ckpt_path={path}", "hydra.run.dir=run")[0] == 0
    assert [row["epoch"] for row in rows(run)] == ["0", "1", "2", "3", "4"]


def test_without_the_best_weights_the_next_epoch_is_the_best(cli, runs, tmp_path):
    shutil.copy(runs / "2/checkpoints/last.ckpt", tmp_path / "work")
    words = ["callbacks.early_stopping=null", "optim.optimizer.lr=1e-9", "test=false", "hydra.run.dir=run"]
    assert cli(*AUTOENCODER, epochs(3), "ckpt_path=last.ckpt", *words)[0] == 0
    best = torch.load(tmp_path / "work/run/checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] == 2


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["ckpt_path=nowhere.ckpt"], "nowhere.ckpt"),
        (["ckpt_path={2}/checkpoints/last.ckpt", epochs(2)], "trainer.max_epochs 2"),
        (["ckpt_path={2}/checkpoints/best.ckpt"], "best.ckpt last.ckpt train=false"),
        (["ckpt_path={2}/checkpoints/last.ckpt", "model.net.code=3"], "last.ckpt net."),
        (["ckpt_path={2}/checkpoints/last.ckpt", "optim=cosine"], "model.scheduler last.ckpt"),
        (["ckpt_path={2}/checkpoints/last.ckpt", *NADAM], "model.optimizer"),
        (["train=false"], "train=false ckpt_path"),
        (["train=false", "test=false"], "train, test"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_refused(refused, runs, tmp_path, words, names):
    words = [word.replace("{2}", str(runs / "2")) for word in words]
    given = [] if any(word.startswith("trainer.max") for word in words) else [epochs(4)]
    assert has_names(refused(*AUTOENCODER, *given, *words), names)
    assert files_below(tmp_path / "work") == []


def test_a_checkpoint_is_tested_without_training(cli, runs, tmp_path):
    words = [epochs(2), f"ckpt_path={runs / '2/checkpoints/best.ckpt'}", "train=false", "hydra.run.dir=run"]
    status, out, err = cli(*AUTOENCODER, *words)
    run = tmp_path / "work/run"
    assert status == 0 and "best.ckpt" in out, err
    assert scores(run)["summary"] == scores(runs / "2")["summary"] and not (run / "metrics.csv").exists()
    assert same(weights(run, "best"), weights(runs / "2", "best")) and not (run / "checkpoints/last.ckpt").exists()


def test_commands_of_the_same_second_get_two_folders(cli, tmp_path, monkeypatch):
    words = [*AUTOENCODER, "test=false", "resume=never"]
    pattern = Path("outputs/2020-01-01/10-00-00-x")
    clock = SimpleNamespace(now=lambda: datetime(2020, 1, 1, 10))
    monkeypatch.setattr("hydra.core.utils.datetime", clock)
    for seed in (0, 1, 2):
        assert cli(*words, f"seed={seed}", "name=x")[0] == 0
    names = [pattern.name, f"{pattern.name}-2", f"{pattern.name}-3"]
    assert sorted(path.name for path in (tmp_path / "work" / pattern.parent).iterdir()) == names
