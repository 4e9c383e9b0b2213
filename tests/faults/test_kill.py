"""Commands that are killed at random moments leave complete files only, and give the same results afterwards."""

import shutil
import subprocess
import time
from random import Random

import pytest
import torch

from tests.commands.test_separate import song
from tests.faults import jumping, run_with_kills
from tests.faults.conftest import command, scores_of
from tests.reports.sweeps import usual
from tests.training.callbacks.test_last_checkpoint import assert_same, epochs, timeless
from unbraid.runs.records import read_record

pytestmark = pytest.mark.slow
TRAIN = [
    "model=deep_ae", "data=digits", "features=pixels", "trainer=cpu", "data.batch_size=256", "trainer.max_epochs=3",
    "callbacks.last.minutes=0", "hydra.run.dir=run",
]  # fmt: skip


def assert_same_end(whole, run):
    """Assert that two trainings have equal checkpoints, apart from paths and times, and equal tables of epochs."""
    for name in ("best", "last"):
        one, other = (torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True) for folder in (whole, run))
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
            assert_same(one[key], other[key], f"{name}.{key}")
    assert timeless(epochs(whole)) == timeless(epochs(run))


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Return the folder of an undisturbed training, and its duration in seconds."""
    folder, start = tmp_path_factory.mktemp("whole"), time.monotonic()
    subprocess.run(command("train.py", *TRAIN), check=True, cwd=folder, capture_output=True)
    return folder / "run", time.monotonic() - start


def test_a_training_on_a_faulty_disk_ends_with_the_same_weights(disk, whole, process, tmp_path, attempt):
    """A training on a full disk or after an I/O error fails. The same command resumes it when the disk works again."""
    run, words = tmp_path / "work/run", command("train.py", *TRAIN)
    faults = [("full", 5 + 5 * attempt), ("eio", 80), ("short", 3)]  # an undisturbed training writes more than 30 times
    for number, (kind, every) in enumerate(faults):
        done = disk.run(words, kind, run, every, 3 * attempt + number, **process)
        assert done.returncode == 1 or number, "the disk was not full"
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    assert_same_end(whole[0], run)


def test_a_killed_training_ends_with_the_same_weights(whole, process, tmp_path, attempt):
    run = tmp_path / "work/run"

    def has_finished():
        return (read_record(run) or {}).get("state") == "done"

    run_with_kills(command("train.py", *TRAIN), Random(attempt), whole[1], 2, has_finished, **process)
    assert_same_end(whole[0], run)


def test_clock_jumps_do_not_change_a_training(whole, cli, tmp_path, monkeypatch, attempt):
    """Also the latest of several interrupted runs is found, and the ledger and the table of epochs stay in order."""
    jumping(monkeypatch, Random(attempt))
    status, _, err = cli(*TRAIN)
    assert status == 0, err
    assert_same_end(whole[0], tmp_path / "work/run")


def test_killed_scorings_leave_complete_scores(scored, process, tmp_path, attempt):
    scores, words = scored
    output = tmp_path / "scores"

    def check():
        for path in output.rglob("scores.json"):
            assert scores_of(path) == scores

    run_with_kills(command("scripts/evaluate.py", *words, f"output={output}"), Random(attempt), 15.0, 2, check, **process)
    check()
    assert [*output.rglob("scores.json")]


def test_a_killed_separation_leaves_all_stems_or_none(separator, process, tmp_path, attempt):
    song(tmp_path / "song.wav", seconds=20.0)
    output = tmp_path / "work/out"

    def check():
        stems = [*output.rglob("[!.]*.wav")] if output.exists() else []
        assert len([path for path in stems if ".partial" not in str(path)]) in (0, 4)

    words = [f"run={separator}", f"input={tmp_path / 'song.wav'}", f"output={output}", "overwrite=skip", "device=cpu"]
    run_with_kills(command("scripts/separate.py", *words), Random(attempt), 12.0, 2, check, **process)
    check()


def test_a_killed_report_is_complete_or_missing(process, tmp_path, attempt):
    sweep = usual(tmp_path / "sweep")

    def check():
        if (sweep / "report").exists():
            assert {"index.html", "listen.html", "report.json", "table.csv"} <= {
                path.name for path in (sweep / "report").iterdir()
            }

    run_with_kills(command("scripts/report.py", f"sweep={sweep}"), Random(attempt), 10.0, 2, check, **process)
    check()
    shutil.rmtree(sweep)
