"""The server: what comes from elsewhere, or is too large, or no music, is refused; nothing stays behind."""

import contextlib
import http.client
import json
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
    """The address of a page, without its token, and its songs."""
    from unbraid.commands.app import _listening
    from unbraid.inference.web.server import app
    from unbraid.inference.web.songs import Songs

    folder.mkdir()
    songs = Songs(Loaded(separator, Path()), folder, keep_seconds, InferenceOptions(), max_waiting)
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
    """Request a path, with the token if the headers name no other cookie."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    with contextlib.suppress(BrokenPipeError):  # the server may refuse a file before it has read all of it
        connection.request(method, path, body, {"Cookie": cookie(address)} | headers)
    response = connection.getresponse()
    found = response.read()
    return response.status, json.loads(found) if "json" in response.getheader("content-type", "") else found


def taken_apart(address, path, name="song.mp4"):
    status, said = ask(address, "POST", f"/songs?name={name}", path.read_bytes())
    assert status == 200, said
    while (song := ask(address, "GET", f"/songs/{said['id']}")[1])["state"] in ("waiting", "working"):
        time.sleep(0.05)
    return said["id"], song


def test_stems_are_as_long_as_the_song_and_sum_to_it(server, stem_file, tmp_path):
    address, songs = server
    key, song = taken_apart(address, stem_file)
    assert str(songs.folder) not in song["said"] and song["said"].startswith("song.mp4: ")
    assert song["state"] == "done" and song["stems"] == ["vocals", "drums", "bass", "other", "residual"] == songs.names
    (mixture,), rate = audio.read(stem_file)
    total = 0
    for name in song["stems"]:
        status, found = ask(address, "GET", f"/songs/{key}/{name}")
        (tmp_path / "stem.wav").write_bytes(found)
        samples, own = soundfile.read(tmp_path / "stem.wav")
        assert (status, own, samples.T.shape) == (200, rate, mixture.shape)
        total = total + samples.T
    gain = (total * mixture).sum() / (mixture**2).sum()  # all are quieter together where one would clip
    assert 0.3 < gain < 1.001 and np.abs(total - gain * mixture).max() < 1e-3
    assert not (songs.folder / key / "upload").exists()


def test_a_deleted_song_is_gone_and_so_is_an_old_one(server, stem_file):
    address, songs = server
    key, _ = taken_apart(address, stem_file)
    assert ask(address, "DELETE", f"/songs/{key}") == (200, {})
    assert ask(address, "GET", f"/songs/{key}")[0] == 404 and not any(songs.folder.iterdir())
    taken_apart(address, stem_file)
    songs.sweep()
    assert len(songs.all) == 1
    songs.keep_seconds = 0
    songs.sweep()
    assert songs.all == {} and not any(songs.folder.iterdir())


def test_what_is_no_music_is_refused_in_a_sentence_with_the_users_name_for_it(server, tmp_path):
    address, songs = server
    (tmp_path / "x").write_bytes(b"no music" * 100)
    _, song = taken_apart(address, tmp_path / "x", "notes.txt")
    assert song["state"] == "failed" and song["said"].startswith("notes.txt: ") and str(songs.folder) not in song["said"]
    assert ask(address, "POST", "/songs?name=empty.wav", b"") == (400, {"said": "empty.wav: is empty"})


def test_large_files_are_refused_and_leave_nothing(server):
    address, songs = server
    assert ask(address, "POST", "/songs?name=a.wav", b"0" * 1_000_001) == (413, {"said": "a.wav: is larger than 1 MB"})
    chunks = (b"0" * 100_000 for _ in range(11))  # of a length that is not said beforehand
    assert ask(address, "POST", "/songs?name=b.wav", chunks)[0] == 413
    assert songs.all == {} and not any(songs.folder.iterdir())


def test_an_upload_that_breaks_off_leaves_nothing(server):
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


def test_other_hosts_and_other_sites_get_nothing(server):
    address, songs = server
    assert ask(address, "GET", "/model")[0] == 200
    assert ask(address, "GET", "/model", Host="evil.example")[0] == 400
    assert ask(address, "GET", "/model", Origin="http://evil.example")[0] == 403
    assert ask(address, "POST", "/songs", b"x", Origin="null")[0] == 403
    assert ask(address, "GET", "/model", Origin=address)[0] == 200
    assert songs.all == {}


@pytest.mark.parametrize("path", ["/songs/../../etc/passwd", "/songs/x/..%2f..%2fupload", "/page/app.js", "/..%2fserver.py"])
def test_there_is_no_way_to_other_files(server, path):
    assert ask(server[0], "GET", path)[0] == 404


def test_names_of_uploads_are_names_and_no_paths(server, stem_file):
    address, songs = server
    key, song = taken_apart(address, stem_file, "..%2F..%2Fevil.wav")
    assert song["name"] == "evil.wav"
    assert {path.parent for path in songs.folder.rglob("*.wav")} == {songs.folder / key}
