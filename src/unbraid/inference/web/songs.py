"""Queue of the web page that separates songs.

One thread separates the uploaded songs one after another. The same thread also deletes a song if the page has not requested the
song for a while. If the program is killed, the next start of the app restores the songs from their folders.
"""

import queue
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from unbraid.audio import AudioInput, seconds
from unbraid.inference.chunked import InferenceOptions
from unbraid.inference.loading import Loaded
from unbraid.inference.stems import OutputFormat, write_stems
from unbraid.runs.documents import read_json
from unbraid.runs.errors import InputError
from unbraid.runs.files import write_json

State = Literal["waiting", "working", "done", "failed"]
FORMAT = OutputFormat("wav", 16, residual=True, accompaniment=False, peaks="scale", tags=False)
CLOSE_SECONDS = 5.0
RECORD = "song.json"  # name of a song whose upload is complete
SWEEP_SECONDS = 10.0  # time between two searches for songs that the page no longer requests


class GoneError(Exception):
    """Stop the separation of a song, because the user has deleted the song."""


@dataclass
class Song:
    """Store the state of a song that was uploaded for separation.

    Args:
        folder: folder of this song, with the uploaded audio file and the stems.
        name: name of the audio file on the user's computer.
        state: `waiting`, `working` (the song is being separated), `done` or `failed`.
        done: number of seconds of the song that are already separated.
        total: length of the song in seconds; 0 before the separation starts.
        message: error or warning for the user; empty without an error or warning.
        gone: whether the user has deleted the song.
        end_upload: function that stops a running upload; None if the song is not being uploaded.
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
        """Path of the uploaded audio file. For safety, the path does not contain the file name that the user has given."""
        return self.folder / "upload"

    def stem(self, name: str) -> Path:
        """Return the path of a stem. Special characters in the name of the stem are replaced, for example `/` by `%2F`."""
        return self.folder / f"{quote(name, safe=' ')}.wav"


class Songs:
    """Separate uploaded songs in a thread, one after another. `songs.thread.start()` starts the thread.

    Args:
        loaded: separator with its trained weights.
        folder: folder for the uploaded audio files and the stems.
        keep_seconds: time in seconds. A song is deleted if the page has not requested the song for this time.
        options: chunk length, overlap and other options of the separation.
        max_waiting: largest number of unfinished songs: songs that are being uploaded, waiting or being separated.
    """

    def __init__(self, loaded: Loaded, folder: Path, keep_seconds: float, options: InferenceOptions, max_waiting: int) -> None:
        self.loaded, self.folder, self.keep_seconds, self.options = loaded, folder, keep_seconds, options
        self.max_waiting = max_waiting
        self.names = FORMAT.names(loaded.targets)
        self.all: dict[str, Song] = {}
        self.queue: queue.Queue[Song | None] = queue.Queue()
        self.earlier: list[str] = []  # keys of restored songs that no page shows yet
        self.thread = threading.Thread(target=self._work, name="separation", daemon=True)

    def add(self, name: str) -> tuple[str, Song]:
        """Create a folder and a `Song` for a song. This method is called before the audio file is uploaded.

        Args:
            name: name of the audio file on the user's computer.

        Returns:
            The key of the song and the `Song`. The key is a random text that cannot be guessed.
        """
        key = uuid.uuid4().hex
        folder = self.folder / key
        folder.mkdir()
        self.all[key] = Song(folder, name)
        return key, self.all[key]

    def accept(self, song: Song) -> None:
        """Add a song to the queue. This method is called when the upload is complete."""
        write_json(song.folder / RECORD, {"name": song.name})
        self.queue.put(song)

    def restore(self) -> None:
        """Add the songs that a killed app has left in the folder, and delete incomplete uploads."""
        for folder in sorted((path for path in self.folder.iterdir() if path.is_dir()), key=_accepted):
            if (song := self._left(folder)) is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self.all[folder.name] = song
            self.earlier.append(folder.name)
            if song.state == "waiting":
                _keep(folder, {song.upload, folder / RECORD})
                self.queue.put(song)

    def _left(self, folder: Path) -> Song | None:
        """Return the song of a folder, with the state `done` or `waiting`; None if its upload was incomplete."""
        try:
            song = Song(folder, str(read_json(folder / RECORD)["name"]))
        except (OSError, ValueError, KeyError, TypeError):  # also InputError
            return None
        if all(song.stem(name).is_file() for name in self.names):
            song.state = "done"
        return song if song.state == "done" or song.upload.is_file() else None

    @property
    def full(self) -> bool:
        """True if `max_waiting` or more songs are unfinished (being uploaded, waiting or being separated)."""
        return len(self._open()) >= self.max_waiting

    def waiting(self, song: Song) -> int:
        """Return the number of songs that will be separated before the given song."""
        before = self._open()
        return before.index(song) if song in before else 0

    def _open(self) -> list[Song]:
        return [song for song in list(self.all.values()) if song.state in ("waiting", "working")]

    def delete(self, key: str) -> None:
        """Delete a song: its audio file and its stems. A running separation of the song stops after the current chunk.

        Args:
            key: key of the song. If no song has this key, nothing is deleted.
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
        """Delete songs that the page has not requested for `keep_seconds`, except the song that is being separated."""
        now = time.monotonic()
        for key, song in list(self.all.items()):
            if song.state != "working" and now - song.touched > self.keep_seconds:
                self.delete(key)

    def close(self) -> None:
        """Delete all songs and end the thread. Wait at most 5 seconds until the thread has ended."""
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


def _accepted(folder: Path) -> tuple[float, str]:
    """Return a sort key of a song's folder: the time at which the song entered the queue, and the name of the folder."""
    record = folder / RECORD
    return record.stat().st_mtime if record.is_file() else 0.0, folder.name


def _keep(folder: Path, kept: Collection[Path]) -> None:
    """Delete the files and folders in a folder that a killed separation has left, except those in `kept`."""
    for path in folder.iterdir():
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
