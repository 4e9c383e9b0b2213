"""scripts/app.py serves a page to this machine until Ctrl-C and deletes its files."""

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

from tests.commands.conftest import has_names
from tests.conftest import PROJECT, hear_ctrl_c
from tests.inference.export.conftest import SMALL, made
from tests.test_configs import compose

pytest.importorskip("uvicorn", reason="pip install 'unbraid[app]'")
pytest.importorskip("starlette", reason="pip install 'unbraid[app]'")
SCRIPT = "scripts/app.py"


@pytest.fixture
def run(tmp_path):
    """Return a run folder with a config and a checkpoint."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    OmegaConf.save(compose(*SMALL["joint"]), folder / "config.yaml", resolve=True)
    state = {f"separator.{name}": value for name, value in made(*SMALL["joint"]).state_dict().items()}
    torch.save({"state_dict": state}, folder / "checkpoints/best.ckpt")
    return folder


@pytest.mark.slow
def test_the_page_is_served_until_ctrl_c(run, tmp_path):
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, PROJECT / SCRIPT, f"run={run}", "port=0", "device=cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=hear_ctrl_c,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp"), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        address = re.fullmatch(r"page    (\S+)  \(Ctrl-C .*\)\n", line)[1]
        port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=[\w-]{43}", address)[1])
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with browser.open(address, timeout=30) as page:
            assert b"<title>unbraid</title>" in page.read() and page.url == f"http://127.0.0.1:{port}/"
            assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert any((tmp_path / "tmp").glob("unbraid-app-*"))
        with socket.socket() as elsewhere:  # another address of this machine
            assert elsewhere.connect_ex(("127.0.0.2", port)) != 0
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130 and err == "stopped by Ctrl-C\n"
    assert not any((tmp_path / "tmp").glob("unbraid-app-*"))


def test_invalid_keys_are_named(error_of, run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, names in (
            ([], "run run=FOLDER"),
            (["run=nowhere"], "run=nowhere"),
            ([f"run={run}", f"port={port}"], f"port {port} Address already in use"),
            ([f"run={run}", "port=70000"], "port 70000 65535"),
            ([f"run={run}", "max_megabytes=0"], "max_megabytes 0"),
            ([f"run={run}", "max_waiting=0"], "max_waiting 0"),
            ([f"run={run}", "keep_minutes=abc"], "keep_minutes 'abc'"),
        ):
            assert has_names(str(error_of("app", *words)), names)


def test_a_missing_package_is_named(refused, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert has_names(refused(f"run={run}", script=SCRIPT), "uvicorn unbraid[app]")
