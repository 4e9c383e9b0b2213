"""scripts/app.py as a process: it serves this machine, ends at Ctrl-C, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import PROJECT, hear_ctrl_c
from tests.inference.export.conftest import SMALL, made
from tests.test_configs import compose

pytest.importorskip("uvicorn", reason="pip install 'unbraid[app]'")
pytest.importorskip("starlette", reason="pip install 'unbraid[app]'")
DOOR = "scripts/app.py"


@pytest.fixture
def run(tmp_path):
    """A run folder with what loading reads."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    OmegaConf.save(compose(*SMALL["joint"]), folder / "config.yaml", resolve=True)
    state = {f"separator.{name}": value for name, value in made(*SMALL["joint"]).state_dict().items()}
    torch.save({"state_dict": state}, folder / "checkpoints/best.ckpt")
    return folder


def test_it_serves_its_page_to_this_machine_until_ctrl_c(run, tmp_path):
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, PROJECT / DOOR, f"run={run}", "port=0", "device=cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=hear_ctrl_c,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp"), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        said = process.stdout.readline()
        address = re.fullmatch(r"page    (\S+)  \(Ctrl-C ends it and deletes all songs\)\n", said)[1]
        port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=[\w-]{43}", address)[1])
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with browser.open(address, timeout=30) as page:
            assert b"<title>unbraid</title>" in page.read() and page.url == f"http://127.0.0.1:{port}/"
            assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert any((tmp_path / "tmp").glob("unbraid-app-*"))
        with socket.socket() as elsewhere:  # another address of this machine: nobody listens there
            assert elsewhere.connect_ex(("127.0.0.2", port)) != 0
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130 and err == "stopped by Ctrl-C\n"
    assert not any((tmp_path / "tmp").glob("unbraid-app-*"))


def test_bad_input_is_one_sentence(cli, run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for words, sentence in (
            ([], "run has no default and must be given: run=FOLDER"),
            (["run=nowhere"], "run=nowhere: no such folder"),
            ([f"run={run}", f"port={taken.getsockname()[1]}"], "Address already in use; choose another"),
            ([f"run={run}", "port=70000"], "port must lie in [0, 65535], found 70000"),
            ([f"run={run}", "max_megabytes=0"], "max_megabytes: found 0"),
            ([f"run={run}", "max_waiting=0"], "max_waiting: found 0"),
            ([f"run={run}", "keep_minutes=abc"], "keep_minutes: found 'abc', expected int"),
        ):
            status, _, err = cli(*words, script=DOOR)
            assert status == 1 and sentence in err and len(err.splitlines()) == 1, err


def test_without_the_packages_a_sentence_says_what_to_install(cli, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    status, _, err = cli(f"run={run}", script=DOOR)
    assert status == 1 and "the page needs the package uvicorn: pip install 'unbraid[app]'" in err
