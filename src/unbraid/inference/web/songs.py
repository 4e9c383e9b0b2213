"""Songs that wait, are taken apart one at a time, and are gone when nobody wants them any more."""

import queue
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from unbraid.audio import AudioInput, seconds
from unbraid.inference.chunked import InferenceOptions
from unbraid.inference.loading import Loaded
from unbraid.inference.stems import OutputFormat, write_stems
from unbraid.runs.errors import InputError

State = Literal["waiting", "working", "done", "failed"]
FORM = OutputFormat("wav", 16, residual=True, accompaniment=False, peaks="scale", tags=False)
CLOSE_SECONDS = 5.0
SWEPT_EVERY = 10.0  # seconds between looks for what is too old


class GoneError(Exception):
    """The song is wanted no more."""


@dataclass
class Song:
    """One that was given.

    Args:
        folder: of its own, with the file and the stems.
        name: as the file was called.
    """

    folder: Path
    name: str
    state: State = "waiting"
    done: float = 0.0
    total: float = 0.0
    said: str = ""
    gone: bool = False
    end_upload: Callable[[], object] | None = None  # while its file is received
    touched: float = field(default_factory=time.monotonic)

    @property
    def upload(self) -> Path:
        """The file, by a name of ours: what a stranger calls it is not to be trusted."""
        return self.folder / "upload"

    def stem(self, name: str) -> Path:
        """Return the path of a stem; target names come from the run, so they are quoted."""
        return self.folder / f"{quote(name, safe=' ')}.wav"


class Songs:
    """All that were given and are not deleted yet.

    Args:
        loaded: by which they are taken apart.
        folder: where they lie meanwhile.
        keep_seconds: after which a song that nobody has asked for is deleted.
        options: how they are taken apart.
        max_waiting: number of songs that may be uploaded, wait or be separated at a time.
    """

    def __init__(self, loaded: Loaded, folder: Path, keep_seconds: float, options: InferenceOptions, max_waiting: int) -> None:
        self.loaded, self.folder, self.keep_seconds, self.options = loaded, folder, keep_seconds, options
        self.max_waiting = max_waiting
        self.names = FORM.names(loaded.targets)
        self.all: dict[str, Song] = {}
        self.queue: queue.Queue[Song | None] = queue.Queue()
        self.thread = threading.Thread(target=self._work, name="separation", daemon=True)

    def add(self, name: str) -> tuple[str, Song]:
        """A song without its file, with a name that cannot be guessed."""
        key = uuid.uuid4().hex
        folder = self.folder / key
        folder.mkdir()
        self.all[key] = Song(folder, name)
        return key, self.all[key]

    @property
    def full(self) -> bool:
        """Return whether no other song may be added now."""
        return len(self._open()) >= self.max_waiting

    def waiting(self, song: Song) -> int:
        """Return the number of songs before it."""
        before = self._open()
        return before.index(song) if song in before else 0

    def _open(self) -> list[Song]:
        return [song for song in list(self.all.values()) if song.state in ("waiting", "working")]

    def delete(self, key: str) -> None:
        """Delete a song with all its files. One that is being separated ends at its next chunk and is deleted then."""
        song = self.all.pop(key, None)
        if song is None:  # two threads delete
            return
        song.gone = True
        if song.end_upload is not None:
            song.end_upload()
        if song.state != "working":
            shutil.rmtree(song.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what is too old."""
        now = time.monotonic()
        for key, song in list(self.all.items()):
            if song.state != "working" and now - song.touched > self.keep_seconds:
                self.delete(key)

    def close(self) -> None:
        """End the work. A chunk that is being separated is waited for, but not longer than the user would."""
        for key in list(self.all):
            self.delete(key)
        self.queue.put(None)
        self.thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        while True:
            try:
                song = self.queue.get(timeout=SWEPT_EVERY)
            except queue.Empty:
                self.sweep()
                continue
            if song is None:
                return
            if not song.gone:
                self._take_apart(song)
            self.sweep()

    def _take_apart(self, song: Song) -> None:
        song.state = "working"
        try:
            song.total = seconds(song.upload)
            outputs = {name: song.stem(name) for name in self.names}
            said = write_stems(self.loaded, AudioInput(song.upload), outputs, FORM, self.options, _heard(song)) or ""
            song.said = said.replace(str(song.upload), song.name)
            song.state = "done"
        except GoneError:
            song.state = "failed"
        except (InputError, OSError) as error:
            song.said, song.state = _sentence(error, song), "failed"
        except Exception as error:  # a bug of ours must not end the queue; it is told to whoever waits for the song
            song.said, song.state = f"{song.name}: {type(error).__name__}: {error}", "failed"
        finally:
            song.touched = time.monotonic()
            song.upload.unlink(missing_ok=True)
            if song.gone:
                shutil.rmtree(song.folder, ignore_errors=True)


def _heard(song: Song) -> Callable[[int, int], None]:
    def heard(rate: int, samples: int) -> None:
        if song.gone:
            raise GoneError
        song.done += samples / rate

    return heard


def _sentence(error: Exception, song: Song) -> str:
    """With the user's name of the file in the place of ours."""
    said = f"{song.name}: {error.strerror}" if isinstance(error, OSError) else str(error)
    return said.replace(str(song.upload), song.name)
