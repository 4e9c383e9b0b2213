"""Queue of songs. One thread separates the songs one after the other and deletes songs that nobody uses any more."""

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
FORMAT = OutputFormat("wav", 16, residual=True, accompaniment=False, peaks="scale", tags=False)
CLOSE_SECONDS = 5.0
SWEEP_SECONDS = 10.0  # between two searches for songs that are too old


class GoneError(Exception):
    """The song was deleted during its separation."""


@dataclass
class Song:
    """Store the state of one song.

    Args:
        folder: folder of this song, with the uploaded file and the stems.
        name: file name on the user's computer.
        state: progress of the song: waiting, working, done or failed.
        done: number of separated seconds.
        total: length in seconds; 0 before the separation starts.
        message: message for the user, such as an error; empty without a message.
        gone: whether the song was deleted.
        end_upload: function that ends the upload; None if no upload is active.
        touched: time of the last request for the song, in seconds of `time.monotonic`.
    """

    folder: Path
    name: str
    state: State = "waiting"
    done: float = 0.0
    total: float = 0.0
    message: str = ""
    gone: bool = False
    end_upload: Callable[[], object] | None = None
    touched: float = field(default_factory=time.monotonic)

    @property
    def upload(self) -> Path:
        """Path of the uploaded file. It does not contain the user's file name, which could be a path."""
        return self.folder / "upload"

    def stem(self, name: str) -> Path:
        """Return the path of a stem. The name comes from the run, so it is quoted."""
        return self.folder / f"{quote(name, safe=' ')}.wav"


class Songs:
    """Separate songs in a thread, one after the other. Start the thread with `songs.thread.start()`.

    Args:
        loaded: separator.
        folder: folder for uploaded files and stems.
        keep_seconds: time in seconds after which a song without requests is deleted.
        options: options for long signals.
        max_waiting: number of songs that can be uploaded, waiting or working at the same time.
    """

    def __init__(self, loaded: Loaded, folder: Path, keep_seconds: float, options: InferenceOptions, max_waiting: int) -> None:
        self.loaded, self.folder, self.keep_seconds, self.options = loaded, folder, keep_seconds, options
        self.max_waiting = max_waiting
        self.names = FORMAT.names(loaded.targets)
        self.all: dict[str, Song] = {}
        self.queue: queue.Queue[Song | None] = queue.Queue()
        self.thread = threading.Thread(target=self._work, name="separation", daemon=True)

    def add(self, name: str) -> tuple[str, Song]:
        """Add a song, whose file is not uploaded yet.

        Args:
            name: file name on the user's computer.

        Returns:
            The key of the song, which cannot be guessed, and the song.
        """
        key = uuid.uuid4().hex
        folder = self.folder / key
        folder.mkdir()
        self.all[key] = Song(folder, name)
        return key, self.all[key]

    @property
    def full(self) -> bool:
        """True if `max_waiting` songs are uploaded, waiting or working."""
        return len(self._open()) >= self.max_waiting

    def waiting(self, song: Song) -> int:
        """Return the number of songs that are separated before this song."""
        before = self._open()
        return before.index(song) if song in before else 0

    def _open(self) -> list[Song]:
        return [song for song in list(self.all.values()) if song.state in ("waiting", "working")]

    def delete(self, key: str) -> None:
        """Delete a song with all its files. If it is being separated, the separation stops after the current chunk first.

        Args:
            key: key of the song. An unknown key does nothing.
        """
        song = self.all.pop(key, None)
        if song is None:  # another thread has deleted it
            return
        song.gone = True
        if song.end_upload is not None:
            song.end_upload()
        if song.state != "working":
            shutil.rmtree(song.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Delete songs that have had no request for `keep_seconds`, except the one that is being separated."""
        now = time.monotonic()
        for key, song in list(self.all.items()):
            if song.state != "working" and now - song.touched > self.keep_seconds:
                self.delete(key)

    def close(self) -> None:
        """Delete all songs and end the thread. Wait at most 5 seconds for the current chunk."""
        for key in list(self.all):
            self.delete(key)
        self.queue.put(None)
        self.thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        while True:
            try:
                song = self.queue.get(timeout=SWEEP_SECONDS)
            except queue.Empty:
                self.sweep()
                continue
            if song is None:
                return
            if not song.gone:
                self._separate(song)
            self.sweep()

    def _separate(self, song: Song) -> None:
        def on_progress(rate: int, samples: int) -> None:
            if song.gone:
                raise GoneError
            song.done += samples / rate

        song.state = "working"
        try:
            song.total = seconds(song.upload)
            outputs = {name: song.stem(name) for name in self.names}
            message = write_stems(self.loaded, AudioInput(song.upload), outputs, FORMAT, self.options, on_progress) or ""
            song.message, song.state = message.replace(str(song.upload), song.name), "done"
        except GoneError:
            song.state = "failed"
        except (InputError, OSError) as error:
            message = f"{song.name}: {error.strerror}" if isinstance(error, OSError) else str(error)
            song.message, song.state = message.replace(str(song.upload), song.name), "failed"
        except Exception as error:  # a bug must not end the queue; the page shows it
            song.message, song.state = f"{song.name}: {type(error).__name__}: {error}", "failed"
        finally:
            song.touched = time.monotonic()
            song.upload.unlink(missing_ok=True)
            if song.gone:
                shutil.rmtree(song.folder, ignore_errors=True)
