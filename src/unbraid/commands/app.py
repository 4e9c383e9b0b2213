"""App: a page in one's own browser that takes songs apart by a trained run."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from unbraid.errors import InputError
from unbraid.loading import load_separator
from unbraid.runs import check
from unbraid.separation import Way

HOST = "127.0.0.1"  # and no other: whoever is on the network has no business here


@dataclass
class App:
    """What to serve.

    Args:
        run: what `unbraid.load` takes.
        checkpoint: of a run: best, last or a file.
        port: of the page; 0: any that is free.
        max_megabytes: larger files are refused.
        keep_minutes: after which a song that nobody listens to is deleted.
        device: where it runs; None: a GPU where there is one.
    """

    run: str | None
    checkpoint: str
    port: int
    max_megabytes: int
    keep_minutes: int
    device: str | None


def app(config: DictConfig) -> None:
    """Serve the page until Ctrl-C; then every song and stem is deleted.

    Raises:
        InputError: there is no such run, starlette or uvicorn are not installed, or the port is taken.
    """
    check(config, App)
    if config.run is None:
        raise InputError("run has no default and must be given: run=FOLDER")
    for key in ("max_megabytes", "keep_minutes"):
        if config[key] < 1:
            raise InputError(f"{key} must be at least 1, found {config[key]}")
    try:
        import uvicorn

        from unbraid.web.server import app as application
        from unbraid.web.songs import Songs
    except ModuleNotFoundError as error:
        raise InputError(f"the page needs the package {error.name}: pip install 'unbraid[app]'") from error
    loaded, way = load_separator(config.run, config.checkpoint), Way(device=config.device)
    loaded.on(way)
    with _listening(config.port) as listener, TemporaryDirectory(prefix="unbraid-app-") as folder:
        songs = Songs(loaded, Path(folder), 60.0 * config.keep_minutes, way)
        songs.thread.start()
        print(f"page    http://{HOST}:{listener.getsockname()[1]}  (Ctrl-C ends it and deletes all songs)", flush=True)
        server = uvicorn.Server(
            uvicorn.Config(application(songs, Path(config.run).name, config.max_megabytes), log_level="warning")
        )
        try:
            server.run(sockets=[listener])
        finally:
            songs.close()


def _listening(port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise InputError(f"port must lie in [0, 65535], found {port}")
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise InputError(f"port={port}: {os.strerror(error.errno or 0)}; choose another, or 0 for any") from error
