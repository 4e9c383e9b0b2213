"""The demo data sets: songs rendered by the project itself on first use, in the folder layout of MUSDB18-HQ, and leads.

The songs of a root lie in a folder named by the options they were rendered with, so another seed or length makes another
folder and nothing is ever stale. For figures that count take a real data set.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from unbraid import audio
from unbraid.data.demo_songs.leads import render_leads
from unbraid.data.demo_songs.song import SHORTEST_SECONDS, render_song
from unbraid.data.demo_songs.sounds import SAMPLE_RATE
from unbraid.data.layouts.musdb import MUSDB18
from unbraid.data.layouts.stems import Stems
from unbraid.data.parallel import cores, in_processes
from unbraid.data.tracks import SPLITS, Listing
from unbraid.runs.errors import InputError

VERSION = 1
# Names of `DemoSongs._songs`, and of what `fetch` makes beside them.
OWN = re.compile(r"v\d+-seed\d+-\d+\+\d+\+\d+x[\d.e+]+s(\.lock|\.partial)?")


@dataclass(frozen=True)
class DemoSongs:
    """A small band playing songs that differ in key, tempo, chords, pattern and voice.

    Args:
        train: number of training songs.
        valid: number of validation songs.
        test: number of test songs.
        seconds: length of each song.
        seed: of the songs, which does not change with the seed of a run.
    """

    train: int
    valid: int
    test: int
    seconds: float
    seed: int
    render = staticmethod(render_song)

    def __post_init__(self) -> None:
        least = {"train": 1, "valid": 1, "test": 1, "seconds": SHORTEST_SECONDS, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InputError(f"{name} must be at least {bound}, found {getattr(self, name)}")

    def tracks(self, root: Path) -> Listing:
        songs = self._songs(root)
        refuse_other_files(root)
        if not songs.is_dir():
            raise InputError(f"{root}: these demo songs are not rendered yet; render them with data.download=true")
        return self._listed(songs)

    def fetch(self, root: Path) -> None:
        """Render the songs, in parallel, unless they are there.

        Raises:
            InputError: the folder holds something else than demo songs; nothing is written into it.
        """
        songs = self._songs(root)
        refuse_other_files(root)
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(songs.with_name(f"{songs.name}.lock")):
            if songs.is_dir():
                return
            partial = songs.with_name(f"{songs.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                self._render(partial)
                partial.rename(songs)
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def _listed(self, songs: Path) -> Listing:
        return MUSDB18().tracks(songs)

    def _songs(self, root: Path) -> Path:
        return root / f"v{VERSION}-seed{self.seed}-{self.train}+{self.valid}+{self.test}x{self.seconds:g}s"

    def _render(self, folder: Path) -> None:
        splits = [split for split in SPLITS for _ in range(getattr(self, split))]
        songs = [
            _DemoSong(folder / split / f"song {number:02d}", 1000 * self.seed + number, self.seconds, self.render)
            for number, split in enumerate(splits, start=1)
        ]
        done = in_processes(_render, songs, min(cores(), len(songs)))
        for _, refused in tqdm(done, "rendering the demo songs", len(songs), unit="song", leave=False):
            if isinstance(refused, InputError):
                raise refused


@dataclass(frozen=True)
class DemoLeads(DemoSongs):
    """Monophonic leads, each a melody of its own: `vocals`, `reed`, `string`; see `demo_songs.leads`. Arguments as there."""

    render = staticmethod(render_leads)

    def _listed(self, songs: Path) -> Listing:
        return Stems(
            mixture="mixture", missing="error", lengths="error", sources=None, manifest=None, valid=0.0, test=0.0
        ).tracks(songs)


def refuse_other_files(root: Path) -> None:
    """Raise an InputError if a folder holds anything that was not rendered into it."""
    names = sorted(path.name for path in root.iterdir() if not path.name.startswith(".")) if root.is_dir() else []
    if others := [name for name in names if not OWN.fullmatch(name)]:
        expected = "an empty or missing folder, or one of earlier demo songs"
        raise InputError(root, "is not a demo data set", found=", ".join(others[:5]), expected=expected)


@dataclass(frozen=True)
class _DemoSong:
    folder: Path
    seed: int
    seconds: float
    render: Callable[[int, float], dict[str, np.ndarray]]


def _render(song: _DemoSong) -> None:
    song.folder.mkdir(parents=True)
    for name, samples in song.render(song.seed, song.seconds).items():
        audio.write(song.folder / f"{name}.wav", samples, SAMPLE_RATE)
