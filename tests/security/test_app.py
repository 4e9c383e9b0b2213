"""Tests of attacks on the app: other users, endless uploads, too many songs, signals, malformed headers."""

import http.client
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.inference.export.conftest import SMALL, made
from tests.inference.web.test_server import TOKEN, ask, cookie, serving
from unbraid.commands import cli as command_line
from unbraid.inference.loading import Loaded

pytest.importorskip("uvicorn", reason="pip install 'unbraid[app]'")


@pytest.fixture
def server(tmp_path):
    with serving(made(*SMALL["joint"]), tmp_path / "songs", max_megabytes=1, max_waiting=2) as (address, songs):
        yield address, songs


class Upload:
    """Send a POST request of 1000 bytes, whose body the test sends in parts."""

    def __init__(self, address, cookie_value=None):
        self.connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
        self.connection.putrequest("POST", "/songs?name=slow.wav")
        self.connection.putheader("Cookie", cookie_value or cookie(address))
        self.connection.putheader("Content-Length", "1000")
        self.connection.endheaders(b"RIFF")

    def trickle(self):
        try:
            while True:
                self.connection.send(b"0")
                time.sleep(0.05)
        except OSError:
            pass

    def status(self):
        return self.connection.getresponse().status


def uploads_of(songs, number):
    end = time.monotonic() + 10
    while len([*songs.folder.glob("*/upload")]) != number:
        assert time.monotonic() < end
        time.sleep(0.02)


PATHS = [("GET", "/"), ("GET", "/app.js"), ("GET", "/model"), ("POST", "/songs"), ("GET", "/songs/x"), ("GET", "/favicon.ico")]


@pytest.mark.parametrize(
    "cookies", ["", "unbraid-{port}=", "unbraid-{port}=wrong", "unbraid-1={token}", "{token}", "unbraid-{port}=é"]
)
def test_requests_without_the_token_are_refused(server, cookies):
    address, songs = server
    port = address.rsplit(":", 1)[1]
    for method, path in PATHS:
        words = cookies.format(port=port, token=TOKEN).encode("latin-1")
        assert ask(address, method, path, b"x" if method == "POST" else None, Cookie=words)[0] == 403
    for query in ("wrong", "", TOKEN[:-1], f"{TOKEN}x", "%ff", f"wrong&token={TOKEN[1:]}"):
        assert ask(address, "GET", f"/?token={query}")[0] == 403
        assert ask(address, "GET", f"/?token={query}", Cookie="")[0] == 403
    assert songs.all == {}


def test_the_address_gives_a_cookie_for_this_site_only(server):
    connection = http.client.HTTPConnection(server[0].removeprefix("http://"), timeout=20)
    connection.request("GET", f"/?token={TOKEN}")
    response = connection.getresponse()
    given = response.getheader("set-cookie")
    assert (response.status, response.getheader("location")) == (303, "/")
    assert given.startswith(cookie(server[0])) and "HttpOnly" in given and "samesite=strict" in given.lower()
    assert response.getheader("referrer-policy") == "no-referrer"


@pytest.mark.parametrize(
    "origin", ["http://[bad", "http://[::1", "http://]", "//", "null", "http://{host}.evil", "http://x@{host}", "é"]
)
def test_malformed_and_other_origins_are_refused(server, origin, capfd):
    address, songs = server
    words = origin.format(host=address.removeprefix("http://")).encode("latin-1")
    assert ask(address, "POST", "/songs", b"x", Origin=words)[0] == 403
    assert songs.all == {} and "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "headers",
    [
        "Host: 127.0.0.1:abc", "Host: [::1", "Host: localhost:99999999", "Content-Length: -1", "Content-Length: x",
        f"Content-Length: {'9' * 5000}", "Content-Length: 1e3", "Transfer-Encoding: x", "Range: bytes=9-1,x",
        f"X: {'x' * 100_000}",
    ],
)  # fmt: skip
def test_malformed_headers_raise_nothing(server, headers, capfd):
    address, songs = server
    with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=20) as connection:
        host = "" if headers.startswith("Host") else "Host: 127.0.0.1\r\n"
        connection.sendall(f"POST /songs HTTP/1.1\r\n{host}Cookie: {cookie(address)}\r\n{headers}\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(1000)
    assert not answer.startswith(b"HTTP/1.1 5") and "Traceback" not in capfd.readouterr().err
    uploads_of(songs, 0)


def test_more_songs_than_the_queue_holds_are_refused(server):
    address, songs = server
    first, second = Upload(address), Upload(address)
    uploads_of(songs, 2)
    for name in ("third.wav", "fourth.wav"):
        status, said = ask(address, "POST", f"/songs?name={name}", b"x")
        assert status == 503 and said["message"].startswith(name)
    assert Upload(address).status() == 503
    first.connection.close()
    uploads_of(songs, 1)
    assert ask(address, "POST", "/songs?name=empty.wav", b"")[0] == 400  # accepted, and then refused as empty
    second.connection.close()
    uploads_of(songs, 0)


@pytest.mark.parametrize("kind", ["silent", "slow", "slow in chunks"])
def test_uploads_that_take_too_long_are_ended(server, monkeypatch, kind):
    from unbraid.inference.web import server as module

    monkeypatch.setattr(module, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(module, "UPLOAD_SECONDS", 0.6)
    address, songs = server
    if kind == "slow in chunks":
        pieces = (time.sleep(0.05) or b"0" for _ in range(1000))
        with suppress(OSError):  # the server replies while the client still sends
            assert ask(address, "POST", "/songs?name=a.wav", pieces)[0] == 408
        assert next(pieces, None) is not None
    else:
        upload = Upload(address)
        if kind == "slow":
            threading.Thread(target=upload.trickle, daemon=True).start()
        assert upload.status() == 408
        upload.connection.close()
    assert songs.all == {} and not any(songs.folder.iterdir())


@pytest.mark.parametrize("name", ["../../stolen", "/etc/stolen", "a/b", ".", "..", "x%2fy", "\x00"])
def test_stems_of_hostile_runs_stay_in_their_folder(server, name):
    _, songs = server
    key, song = songs.add("a.wav")
    path = song.stem(name)
    assert path.parent == song.folder and Path(os.path.normpath(path)).parent == song.folder and "\x00" not in str(path)
    songs.delete(key)


def serve(pipe, folder):
    """Run the app as the command line does, in a forked process."""
    from unbraid.commands import app as module

    tempfile.tempdir = str(folder)
    os.dup2(pipe.fileno(), 1)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = open(folder.parent / "err", "w")  # noqa: SIM115, PTH123
    os.dup2(sys.stderr.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    module.load_separator = lambda run, checkpoint, device, config: Loaded(made(*SMALL["joint"]), Path())
    config = {
        "run": "x",
        "plugins": [],
        "checkpoint": "best",
        "config": None,
        "port": 0,
        "max_megabytes": 5,
        "max_waiting": 3,
        "keep_minutes": 5,
        "device": "cpu",
    }
    with command_line._exit_on_error("app"):
        module.app(OmegaConf.create(config))


def test_a_killed_app_continues_with_its_songs(tmp_path, stem_file):
    """Folders of other users, folders that others can read, links, and folders of a running app are not used."""
    (tmp_path / "tmp").mkdir()
    foreign = tmp_path / "tmp/unbraid-app-a"
    foreign.mkdir(mode=0o755)
    (tmp_path / "tmp/unbraid-app-b").symlink_to(tmp_path)
    with started(tmp_path) as (process, address, token):
        browser = cookie(address).replace(TOKEN, token)
        status, answer = ask(address, "POST", "/songs?name=song.mp4", stem_file.read_bytes(), Cookie=browser)
        assert status == 200
        process.kill()
    (left,) = set((tmp_path / "tmp").iterdir()) - {foreign, tmp_path / "tmp/unbraid-app-b"}
    with started(tmp_path) as (process, address, token):
        browser = cookie(address).replace(TOKEN, token)
        assert ask(address, "GET", "/songs", Cookie=browser) == (200, {"id": answer["id"]})
        with started(tmp_path) as (_, other, its_token):
            its = cookie(other).replace(TOKEN, its_token)
            assert ask(other, "GET", "/songs", Cookie=its) == (200, {"id": None})
        assert left.is_dir() and (left / answer["id"]).is_dir()
        os.kill(process.pid, signal.SIGTERM)
        process.join(15)
    assert not left.exists() and not any(foreign.iterdir())


@contextmanager
def started(tmp_path):
    """Start the app in a process. Yield the process, the address and the token."""
    read, write = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=serve, args=(os.fdopen(write, "w"), tmp_path / "tmp"))
    process.start()
    try:
        with os.fdopen(read) as said:
            address, token = said.readline().split()[1].split("/?token=")
            yield process, address, token
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("kind", ["silent", "slow"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_app_and_delete_uploads(tmp_path, number, kind):
    (tmp_path / "tmp").mkdir()
    with started(tmp_path) as (process, address, token):
        upload = Upload(address, cookie(address).replace(TOKEN, token))
        if kind == "slow":
            threading.Thread(target=upload.trickle, daemon=True).start()
        end = time.monotonic() + 10
        while not [*(tmp_path / "tmp").rglob("upload")]:
            assert time.monotonic() < end
            time.sleep(0.02)
        began = time.monotonic()
        os.kill(process.pid, number)
        process.join(15)
        assert process.exitcode == 128 + number and time.monotonic() - began < 6
    assert not any((tmp_path / "tmp").iterdir())
    assert "Traceback" not in (tmp_path / "err").read_text()
