"""Test the pages of W&B without training: killed runs, modes, failures, and paths in options."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import wandb

from tests.conftest import PROJECT
from tests.training.loggers.conftest import exit_code, header, history, pages, summary, whole
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write
from unbraid.runs.text import redact_paths
from unbraid.sweeps.ledger import Ledger
from unbraid.training.base import sweep_name
from unbraid.training.loggers import About, Loggers, Media, Wandb
from unbraid.training.loggers.logger import Result
from unbraid.training.loggers.media import Medium
from unbraid.training.loggers.wandb_page import epochs_in, page_id, records, sync_command, takes_connections

RECORD = {
    "identity": "0123456789abcdef", "choices": {"model": "unet", "data": "demo"}, "overrides": ["seed=1"], "state": "running",
    "host": "a", "started": "2026-01-01",
}  # fmt: skip
KEY = "0" * 40


def page(mode="offline", **options):
    return Wandb(**({"project": "p", "entity": None, "mode": mode, "init_timeout": 2} | options))


def about(folder, sweep=None, **record):
    folder.mkdir(parents=True, exist_ok=True)
    return About(folder, RECORD | record, {"seed": 1}, {}, sweep)


def write_rows(folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{epoch},{epoch + 1},{1 / (epoch + 1)}," for epoch in range(count)]
    with atomic_write(folder / "metrics.csv") as partial:
        partial.write_text("\n".join(["epoch,step,train/loss,valid/loss", *lines]) + "\n")


def row(epoch):
    return {"epoch": epoch, "step": epoch + 1, "train/loss": 1 / (epoch + 1), "valid/loss": ""}


def follow(folder, rows, sweep=None, **record):
    loggers = Loggers([page()], None)
    with loggers.following(lambda: about(folder, sweep, **record), lambda media: None):
        for epoch in rows:
            loggers.epoch(row(epoch))
        loggers.ended("done")


KILLED = """
    import os, sys, time
    from pathlib import Path
    from tests.training.loggers.test_wandb_page import about, page, row, write_rows
    from unbraid.training.loggers import wandb_page

    folder = Path(sys.argv[1])
    mine = page()
    mine.open(about(folder))
    for epoch in range(6):
        write_rows(folder, epoch + 1)
        mine.epoch(epoch, row(epoch), [])
        if epoch == 2:
            while wandb_page.epochs_in(folder) != {0, 1, 2}:
                time.sleep(0.1)
    os.kill(os.getpid(), 9)
"""


def script(text, *words):
    """Run a program in a new process with a new wandb service."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, words)],
        cwd=PROJECT, env=os.environ | {"WANDB_SERVICE": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_epochs_lost_by_a_kill_are_resent(tmp_path):
    run = tmp_path / "run"
    assert script(KILLED, run).returncode == -9
    on_disk = epochs_in(run)
    assert {0, 1, 2} <= on_disk <= {0, 1, 2, 3, 4, 5}
    follow(run, [6])
    one, two = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    second = whole(two)
    assert header(second)["run_id"] == header(list(records(one)))["run_id"] == page_id(RECORD)
    assert [*history(second)] == [epoch for epoch in range(7) if epoch not in on_disk]
    assert history(second)[6]["train/loss"] == 1 / 7 and "valid/loss" not in history(second)[6]
    assert epochs_in(run) == {*range(7)} and exit_code(second) == 0


@pytest.mark.slow
def test_two_runs_in_one_process_are_separate(tmp_path):
    one, two = (Loggers([page()], None) for _ in range(2))
    follows = [
        loggers.following(lambda name=name: about(tmp_path / name, "12-00-00-sweep", started=name), lambda media: None)
        for loggers, name in ((one, "a"), (two, "b"))
    ]
    with follows[0], follows[1]:
        one.epoch(row(0))
        two.epoch(row(0) | {"train/loss": 7})
        one.epoch(row(1))
        two.ended("done")
    (first,), (second,) = pages(tmp_path / "a"), pages(tmp_path / "b")
    assert [*history(first)] == [0, 1] and [*history(second)] == [0] and history(second)[0]["train/loss"] == 7
    assert header(first)["run_group"] == header(second)["run_group"] == "12-00-00-sweep"
    assert header(first)["run_id"] != header(second)["run_id"]
    assert (exit_code(first), summary(first)["state"]) == (1, "failed")
    assert (exit_code(second), summary(second)["state"]) == (0, "done")


def test_ctrl_c_sets_the_state_interrupted(tmp_path):
    loggers = Loggers([page()], None)
    with pytest.raises(KeyboardInterrupt), loggers.following(lambda: about(tmp_path / "run"), lambda media: None):
        raise KeyboardInterrupt
    (interrupted,) = pages(tmp_path / "run")
    assert (exit_code(interrupted), summary(interrupted)["state"]) == (130, "interrupted")


def test_page_id_depends_on_the_first_start(monkeypatch):
    later = RECORD | {"started": "2026-02-02", "host": "b", "earlier": [{"host": "a", "started": "2026-01-01"}]}
    assert page_id(later) == page_id(RECORD) != page_id(RECORD | {"started": "2026-02-02"})
    monkeypatch.setenv("WANDB_RUN_ID", "agent")
    assert page_id(RECORD) != "agent"
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    assert page_id(RECORD) == "agent"


def test_sweep_is_found_by_its_ledger(tmp_path):
    assert sweep_name(tmp_path / "12-00-00-sweep/0-unet") is None
    Ledger(tmp_path / "12-00-00-sweep", "s").open()
    assert sweep_name(tmp_path / "12-00-00-sweep/0-unet") == "12-00-00-sweep"


@pytest.fixture
def silent_server():
    """Accept connections without an answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def nobody():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_missing_server_is_detected(silent_server, nobody, monkeypatch):
    assert takes_connections(silent_server) and not takes_connections(nobody)
    assert not takes_connections("http://no-such-host.invalid")
    monkeypatch.setenv("http_proxy", nobody)
    assert not takes_connections(silent_server.replace("127.0.0.1", "example.invalid"))


@pytest.fixture
def environment(monkeypatch):
    """Set environment variables and restart wandb, which reads them once per process."""

    def set_all(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()

    yield set_all
    wandb.teardown()


def followed(mode, folder):
    """Log one epoch, and return the page."""
    mine = page(mode)
    mine.open(about(folder))
    mine.epoch(0, {"epoch": 0}, [])
    mine.close("done")
    (logged,) = pages(folder)
    return logged


def test_auto_is_offline_without_a_server(tmp_path, nobody, environment, capsys):
    environment(WANDB_API_KEY=KEY, WANDB_BASE_URL=nobody)
    assert [*history(followed("auto", tmp_path / "run"))] == [0]
    out = capsys.readouterr().out
    assert nobody in out and "wandb sync" in out
    with pytest.raises(InputError) as error:
        followed("online", tmp_path / "run")
    assert error.value.where == "logger.wandb.mode=online" and nobody in error.value.problem


def test_auto_is_offline_after_a_timeout(tmp_path, silent_server, environment, capsys):
    environment(WANDB_API_KEY=KEY, WANDB_BASE_URL=silent_server)
    assert [*history(followed("auto", tmp_path / "run"))] == [0]
    out = capsys.readouterr().out
    assert out.count("offline-run-") == 1
    assert not any(KEY in path.read_text(errors="ignore") for path in (tmp_path / "run").rglob("*") if path.is_file())


def test_environment_sets_offline_mode(tmp_path, environment, capsys):
    environment(WANDB_API_KEY=KEY, WANDB_MODE="offline")
    followed("auto", tmp_path / "run")
    assert "WANDB_MODE=offline" in capsys.readouterr().out


def test_environment_disables_wandb(tmp_path, environment, capsys):
    environment(WANDB_MODE="disabled")
    mine = page("auto")
    mine.open(about(tmp_path / "run"))
    mine.epoch(0, {"epoch": 0}, [Medium("valid/audio/x", "x", tmp_path / "x.flac")])
    mine.close("done")
    assert not [*(tmp_path / "run").iterdir()]
    captured = capsys.readouterr()
    assert "WANDB_MODE=disabled" in captured.out and captured.err == ""
    followed("offline", tmp_path / "run")  # a mode in the config has priority


LOST = """
    import sys
    from pathlib import Path

    import psutil
    from tests.training.loggers.test_wandb_page import about, page, row

    mine = page()
    mine.open(about(Path(sys.argv[1])))
    for process in psutil.Process().children(recursive=True):
        process.kill()
        process.wait()
    for epoch in range(3):
        mine.epoch(epoch, row(epoch), [])
    mine.close("done")
    print("trained to the end")
"""


@pytest.mark.slow
def test_training_continues_if_wandb_is_killed(tmp_path):
    ended = script(LOST, tmp_path / "run")
    assert ended.returncode == 0 and "trained to the end" in ended.stdout, ended.stderr
    assert ended.stderr.count("wandb   failed") == 1


def test_paths_in_a_config_are_redacted():
    tree = {"init": "/home/me/weights", "table": "~/songs.csv", "lr": 1e-3, "words": ["+init=/home/me/weights", "a=b"]}
    assert redact_paths(tree) == {
        "init": "…/weights",
        "table": "…/songs.csv",
        "lr": 1e-3,
        "words": ["+init=…/weights", "a=b"],
    }


def test_training_continues_after_file_errors(tmp_path, monkeypatch, capsys, environment):
    gone = page()
    gone.open(about(tmp_path / "gone"))
    gone.epoch(0, {"epoch": 0}, [Medium("valid/pictures/x", "x", tmp_path / "x.png")])
    full = page()
    full.open(about(tmp_path / "full", started="later"))
    monkeypatch.setattr(wandb, "Table", raising(OSError(28, "No space left on device")))
    full.result(Result(1, {}, [("song", "vocals", "uSDR", 1.0)], []))
    err = capsys.readouterr().err
    assert err.count("wandb   failed") == 2
    assert "x.png" in err and "No space left on device" in err


def raising(error):
    def call(*_):
        raise error

    return call


def test_name_that_wandb_refuses_ends_the_run(tmp_path):
    mine = page()
    mine.project = "a/b"
    with pytest.raises(InputError) as error:
        mine.open(about(tmp_path / "run"))
    assert error.value.where == "logger.wandb" and "a/b" in error.value.problem


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("data.roots=[/home/me/x,/home/me/y/z]", "data.roots=[…/x,…/z]"),
        ("data.roots=[ /home/me/x/, '~/y' ]", "data.roots=[ …/x/, '…/y' ]"),
        ("data.splits={a:/home/me/q,b:~me/r}", "data.splits={a:…/q,b:…/r}"),
        ("data.path=/home/me/songs=v2", "data.path=…/songs=v2"),
        ("data.path='/home/me/my songs/a, b/[c]'", "data.path='…/[c]'"),
        ('data.path="/home/me/x"', 'data.path="…/x"'),
        ("/home/me/a,b/c=d/e", "…/e"),
        ("/home/me/songs/", "…/songs/"),
        ("//home/me/x", "…/x"),
        ("/x", "…/x"),
        ("file:///home/me/x", "…/x"),
        ("init=file://host/home/me/x", "init=…/x"),
        ("../secret", "…/secret"),
        ("init=../../secret/x", "init=…/x"),
        ("./secret/x", "…/x"),
        ("https://me:word@host.org/a/b", "https://host.org/a/b"),
        ("[https://host.org/a,https://me@host.org/b?c=d@e]", "[https://host.org/a,https://host.org/b?c=d@e]"),
        ("me@host:/home/me/x", "me@host:…/x"),
        ("optim/schedule=cosine", "optim/schedule=cosine"),
        ("1/2", "1/2"),
        ("model.net.channels=[2,4]", "model.net.channels=[2,4]"),
    ],
)
def test_paths_in_options_are_redacted(text, redacted):
    assert redact_paths(text) == redacted
    assert redact_paths({text: [text]}) == {redacted: [redacted]}


def test_sync_command_is_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sync_command(tmp_path / "my run") == "wandb sync 'my run'/wandb/offline-run-*"
    assert sync_command(Path("/elsewhere/run")) == "wandb sync /elsewhere/run/wandb/offline-run-*"


def test_media_size_is_limited(tmp_path, capsys):
    media = Media(every_n_epochs=2, clips=1, seconds=1, megabytes=0.001)
    assert [media.is_due(epoch, tmp_path) for epoch in range(4)] == [True, False, True, False]
    folder = media.folder(tmp_path, 0)
    folder.mkdir(parents=True)
    (folder / "clip.flac").write_bytes(bytes(1001))
    assert not media.is_due(4, tmp_path) and "logger.media.megabytes" in capsys.readouterr().out
    assert not media.is_due(6, tmp_path) and capsys.readouterr().out == ""


@pytest.mark.parametrize(("option", "value"), [("every_n_epochs", 0), ("clips", -1), ("megabytes", 0)])
def test_invalid_media_options_are_refused(option, value):
    with pytest.raises(InputError, match=option):
        Media(**({"every_n_epochs": 1, "clips": 1, "seconds": 1, "megabytes": 1} | {option: value}))
