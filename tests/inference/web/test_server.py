"""The server: it separates songs, refuses invalid files and foreign requests, and deletes all files."""

import contextlib
import http.client
import json
import os
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.inference.export.conftest import SMALL, made
from unbraid import audio
from unbraid.inference.chunked import InferenceOptions
from unbraid.inference.loading import Loaded

uvicorn = pytest.importorskip("uvicorn", reason="pip install 'unbraid[app]'")
pytest.importorskip("starlette", reason="pip install 'unbraid[app]'")

TOKEN = "a-token"


@contextmanager
def serving(separator, folder, max_megabytes=5, keep_seconds=600.0, max_waiting=10):
    """Serve the page, and yield its address without the token and its queue of songs."""
    from unbraid.commands.app import _listening
    from unbraid.inference.web.server import app
    from unbraid.inference.web.songs import Songs

    folder.mkdir(exist_ok=True)
    songs = Songs(Loaded(separator, Path()), folder, keep_seconds, InferenceOptions(), max_waiting)
    songs.restore()
    songs.thread.start()
    server = uvicorn.Server(uvicorn.Config(app(songs, "a run", max_megabytes, TOKEN), log_level="warning"))
    with _listening(0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", songs
        finally:
            server.should_exit = True
            thread.join()
            songs.close()


@pytest.fixture
def server(tmp_path):
    with serving(made(*SMALL["joint"]), tmp_path / "songs", max_megabytes=1) as (address, songs):
        yield address, songs


def cookie(address):
    return f"unbraid-{address.rsplit(':', 1)[1]}={TOKEN}"


def ask(address, method, path, body=None, **headers):
    """Send a request with the token, unless the headers contain another cookie."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    with contextlib.suppress(BrokenPipeError):  # the server may refuse a file before it has read all of it
        connection.request(method, path, body, {"Cookie": cookie(address)} | headers)
    response = connection.getresponse()
    content = response.read()
    return response.status, json.loads(content) if "json" in response.getheader("content-type", "") else content


def separated(address, path, name="song.mp4"):
    status, answer = ask(address, "POST", f"/songs?name={name}", path.read_bytes())
    assert status == 200, answer
    while (song := ask(address, "GET", f"/songs/{answer['id']}")[1])["state"] in ("waiting", "working"):
        time.sleep(0.05)
    return answer["id"], song


def test_stems_sum_to_the_song(server, stem_file, tmp_path):
    address, songs = server
    key, song = separated(address, stem_file)
    assert str(songs.folder) not in song["message"] and song["message"].startswith("song.mp4: ")
    assert song["state"] == "done" and song["stems"] == ["vocals", "drums", "bass", "other", "residual"] == songs.names
    (mixture,), rate = audio.read(stem_file)
    total = 0
    for name in song["stems"]:
        status, content = ask(address, "GET", f"/songs/{key}/{name}")
        (tmp_path / "stem.wav").write_bytes(content)
        samples, stem_rate = soundfile.read(tmp_path / "stem.wav")
        assert (status, stem_rate, samples.T.shape) == (200, rate, mixture.shape)
        total = total + samples.T
    gain = (total * mixture).sum() / (mixture**2).sum()  # all stems have one gain, so that none clips
    assert 0.3 < gain < 1.001 and np.abs(total - gain * mixture).max() < 1e-3
    assert not (songs.folder / key / "upload").exists()


def test_deleted_and_old_songs_are_gone(server, stem_file):
    address, songs = server
    key, _ = separated(address, stem_file)
    assert ask(address, "DELETE", f"/songs/{key}") == (200, {})
    assert ask(address, "GET", f"/songs/{key}")[0] == 404 and not any(songs.folder.iterdir())
    separated(address, stem_file)
    songs.sweep()
    assert len(songs.all) == 1
    songs.keep_seconds = 0
    songs.sweep()
    assert songs.all == {} and not any(songs.folder.iterdir())


def test_errors_contain_the_name_of_the_user_file(server, tmp_path):
    address, songs = server
    (tmp_path / "x").write_bytes(b"no music" * 100)
    _, song = separated(address, tmp_path / "x", "notes.txt")
    assert song["state"] == "failed" and song["message"].startswith("notes.txt: ") and str(songs.folder) not in song["message"]
    status, answer = ask(address, "POST", "/songs?name=empty.wav", b"")
    assert status == 400 and answer["message"].startswith("empty.wav: ")


def test_large_files_are_refused(server):
    address, songs = server
    status, answer = ask(address, "POST", "/songs?name=a.wav", b"0" * 1_000_001)
    assert status == 413 and answer["message"].startswith("a.wav: ") and "1 MB" in answer["message"]
    chunks = (b"0" * 100_000 for _ in range(11))  # sent without a content-length
    assert ask(address, "POST", "/songs?name=b.wav", chunks)[0] == 413
    assert songs.all == {} and not any(songs.folder.iterdir())


def test_interrupted_uploads_are_deleted(server):
    address, songs = server
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/songs?name=a.wav")
    connection.putheader("Cookie", cookie(address))
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"only this")
    while not any(songs.folder.iterdir()):
        time.sleep(0.02)
    connection.close()
    while any(songs.folder.iterdir()):
        time.sleep(0.02)
    assert songs.all == {}


def test_requests_of_other_sites_are_refused(server):
    address, songs = server
    assert ask(address, "GET", "/model")[0] == 200
    assert ask(address, "GET", "/model", Host="evil.example")[0] == 400
    assert ask(address, "GET", "/model", Origin="http://evil.example")[0] == 403
    assert ask(address, "POST", "/songs", b"x", Origin="null")[0] == 403
    assert ask(address, "GET", "/model", Origin=address)[0] == 200
    assert songs.all == {}


@pytest.mark.parametrize("path", ["/songs/../../etc/passwd", "/songs/x/..%2f..%2fupload", "/page/app.js", "/..%2fserver.py"])
def test_other_files_cannot_be_read(server, path):
    assert ask(server[0], "GET", path)[0] == 404


def test_names_of_uploads_lose_their_folders(server, stem_file):
    address, songs = server
    key, song = separated(address, stem_file, "..%2F..%2Fevil.wav")
    assert song["name"] == "evil.wav"
    assert {path.parent for path in songs.folder.rglob("*.wav")} == {songs.folder / key}


def test_the_queue_continues_after_a_kill(server, stem_file, tmp_path):
    """The folder of a killed app has a separated song, a half separated song, a waiting song, and an incomplete upload."""
    address, songs = server
    done, _ = separated(address, stem_file, "done.mp4")
    folder = tmp_path / "killed"
    shutil.copytree(songs.folder, folder)
    for number, name in enumerate(("half", "a later song", "upload")):
        (folder / name).mkdir()
        shutil.copy(stem_file, folder / name / "upload")
        if name != "a later song":
            (folder / name / "vocals.wav").touch()
        if name != "upload":
            (folder / name / "song.json").write_text(json.dumps({"name": f"{name}.mp4"}))
            os.utime(folder / name / "song.json", (number, number))
    (folder / "lock").touch()
    with serving(made(*SMALL["joint"]), folder) as (address, songs):
        assert not (folder / "upload").exists()
        keys = [ask(address, "GET", "/songs")[1]["id"] for _ in range(4)]
        assert keys == ["half", "a later song", done, None]  # in the order of the queue
        assert ask(address, "GET", f"/songs/{done}")[1]["state"] == "done"
        for name in ("a%20later%20song", "half"):
            deadline = time.monotonic() + 60
            while (song := ask(address, "GET", f"/songs/{name}")[1])["state"] in ("waiting", "working"):
                assert time.monotonic() < deadline, "the song is not separated"
                time.sleep(0.05)
            assert (song["state"], song["name"]) == ("done", f"{name.replace('%20', ' ')}.mp4")
        for name in songs.names:
            assert ask(address, "GET", f"/songs/half/{name}") == ask(address, "GET", f"/songs/{done}/{name}")
