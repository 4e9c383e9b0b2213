"""App: a page in one's own browser that takes songs apart by a trained run."""

import logging
import os
import secrets
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from unbraid.inference.chunked import InferenceOptions
from unbraid.inference.loading import load_separator
from unbraid.runs.config import check
from unbraid.runs.errors import InputError
from unbraid.runs.text import echo
from unbraid.training.interruption import interruptible

GRACE_SECONDS = 2  # for requests that are being answered when the program ends
HOST = "127.0.0.1"  # and no other: whoever is on the network has no business here


@dataclass
class App:
    """What to serve.

    Args:
        run: what `unbraid.load` takes.
        checkpoint: of a run: best, last or a file.
        port: of the page; 0: any that is free.
        max_megabytes: larger files are refused.
        max_waiting: number of songs that may wait at a time; more are refused.
        keep_minutes: after which a song that nobody listens to is deleted.
        device: where it runs; None: a GPU where there is one.
    """

    run: str | None
    checkpoint: str
    port: int
    max_megabytes: int
    max_waiting: int
    keep_minutes: int
    device: str | None


def app(config: DictConfig) -> None:
    """Serve the page until Ctrl-C, SIGTERM or SIGHUP; then every song and stem is deleted.

    Raises:
        InputError: there is no such run, starlette or uvicorn are not installed, or the port is taken.
    """
    check(config, App)
    if config.run is None:
        raise InputError("run has no default and must be given: run=FOLDER")
    for key in ("max_megabytes", "max_waiting", "keep_minutes"):
        if config[key] < 1:
            raise InputError(key, found=config[key], expected="at least 1")
    try:
        import uvicorn

        from unbraid.inference.web.server import app as application
        from unbraid.inference.web.songs import Songs
    except ModuleNotFoundError as error:
        raise InputError(f"the page needs the package {error.name}: pip install 'unbraid[app]'") from error
    loaded, options = load_separator(config.run, config.checkpoint, config.device), InferenceOptions()
    token = secrets.token_urlsafe(32)
    with (
        interruptible(),
        _listening(config.port) as listener,
        TemporaryDirectory(prefix="unbraid-app-", ignore_cleanup_errors=True) as folder,
    ):
        songs = Songs(loaded, Path(folder), 60.0 * config.keep_minutes, options, config.max_waiting)
        songs.thread.start()
        address = f"http://{HOST}:{listener.getsockname()[1]}/?token={token}"
        echo(f"page    {address}  (Ctrl-C ends it and deletes all songs)", flush=True)
        served = application(songs, Path(config.run).name, config.max_megabytes, token)
        server = uvicorn.Server(uvicorn.Config(served, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS))
        # Not in the main thread, which gets the signals: uvicorn would end the process at SIGTERM before the clean-up.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True)
        thread.start()
        try:
            thread.join()
        finally:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it reports each request that the end cuts off
            server.should_exit = True
            songs.close()
            thread.join()


def _listening(port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise InputError(f"port must lie in [0, 65535], found {port}")
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise InputError(f"port={port}: {os.strerror(error.errno or 0)}; choose another, or 0 for any") from error
