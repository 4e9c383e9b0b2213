"""Command `app`: serve a web page. On this page, the user separates songs with a trained model on this machine."""

import logging
import os
import secrets
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from unbraid.commands.keys import check_range, require
from unbraid.inference.loading import load_separator
from unbraid.runs.config import check
from unbraid.runs.errors import InputError
from unbraid.runs.locks import FileLock
from unbraid.runs.text import echo
from unbraid.training.interruption import interruptible

GRACE_SECONDS = 2  # time for open requests when the program ends
PREFIX, LOCK = "unbraid-app-", "lock"  # of the folder of the songs
HOST = "127.0.0.1"  # the page cannot be reached from the network


@dataclass
class AppConfig:
    """Command-line keys of `scripts/app.py`.

    Args:
        run: run folder, checkpoint file, published folder or .onnx file of a separator, see `unbraid.load`.
        checkpoint: checkpoint that is loaded if `run` is a run folder: best, last, ema or a file.
        config: config file of Music-Source-Separation-Training, if `run` is a checkpoint of that tool.
        plugins: packages whose classes the model may use, see `unbraid.runs.plugins`.
        port: TCP port of the page on 127.0.0.1; 0: any free port.
        max_megabytes: largest size of an uploaded file, in MB.
        max_waiting: largest number of uploaded songs that wait for separation.
        keep_minutes: number of minutes. A song is deleted when the user has not requested the song for this time.
        device: device that the model runs on, such as `cuda:1`; None: a GPU, or the CPU if there is no GPU.
    """

    run: str | None
    checkpoint: str
    config: str | None
    plugins: list[str]
    port: int
    max_megabytes: int
    max_waiting: int
    keep_minutes: int
    device: str | None


def app(config: DictConfig) -> None:
    """Serve the web page until Ctrl-C, SIGTERM or SIGHUP. Then delete all uploaded songs and their stems.

    Args:
        config: composed config, see `AppConfig`.

    Raises:
        InputError: a key is invalid, the model cannot be loaded, starlette or uvicorn is not installed, or the port is in use.
    """
    check(config, AppConfig)
    require(config, run="FOLDER")
    for key in ("max_megabytes", "max_waiting", "keep_minutes"):
        check_range(config, key, 1, float("inf"))
    try:
        import uvicorn

        from unbraid.inference.web.server import app as application
        from unbraid.inference.web.songs import Songs
    except ModuleNotFoundError as error:
        raise InputError(
            str(error.name), "this Python package is not installed", hint="Run pip install 'unbraid[app]'"
        ) from error
    loaded = load_separator(config.run, config.checkpoint, config.device, config.config)
    token = secrets.token_urlsafe(32)
    with (
        interruptible(),
        _listening(config.port) as listener,
        _song_folder() as folder,
    ):
        songs = Songs(loaded, folder, 60.0 * config.keep_minutes, loaded.options, config.max_waiting)
        songs.restore()
        songs.thread.start()
        address = f"http://{HOST}:{listener.getsockname()[1]}/?token={token}"
        echo(f"page    {address}  (Ctrl-C stops the page and deletes all songs)", flush=True)
        served = application(songs, Path(config.run).name, config.max_megabytes, token)
        server = uvicorn.Server(uvicorn.Config(served, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS))
        # The main thread receives the signals. There, uvicorn would end the process at SIGTERM before the clean-up.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True)
        thread.start()
        try:
            thread.join()
        finally:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # uvicorn logs each interrupted request
            server.should_exit = True
            songs.close()
            thread.join()


@contextmanager
def _song_folder() -> Iterator[Path]:
    """Yield a temporary folder for the songs, and delete it at the end.

    If an app of this user was killed, its folder is used, so that the queue continues with its songs.
    """
    folders = [path for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if _is_own(path)]
    for folder in folders:
        if (lock := FileLock(folder / LOCK)).try_acquire():
            break
    else:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = FileLock(folder / LOCK)
        lock.acquire()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _is_own(folder: Path) -> bool:
    """Return whether a folder belongs to this user, and no other user can read it."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o700


def _listening(port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise InputError("port", found=port, expected="a number in [0, 65535]")
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        reason, hint = os.strerror(error.errno or 0), "Choose another port, or 0 for any free port"
        raise InputError("port", f"the operating system did not open this port ({reason})", found=port, hint=hint) from error
