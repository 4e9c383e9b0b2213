"""Render and list the demo data sets: synthetic songs and synthetic melodies, in the folder structure of MUSDB18-HQ.

The songs are rendered on first use, into a folder whose name contains the seed and the length of the songs. Scores on these
songs only show how to use the program. Use a real data set for results that you report.
"""

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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
from unbraid.runs.locks import FileLock

VERSION = 1
# Names of the folders of `DemoSongs._songs`, and of the lock file and temporary folder of `fetch`.
RENDERED = re.compile(r"v\d+-seed\d+-\d+\+\d+\+\d+x[\d.e+]+s(\.lock|\.partial)?")


@dataclass(frozen=True)
class DemoSongs:
    """Render and list synthetic songs of a small band. The songs differ in key, tempo, chords, rhythm and voice.

    Args:
        train: number of training songs.
        valid: number of validation songs.
        test: number of test songs.
        seconds: length of each song in seconds.
        seed: random seed of the songs, independent of the seed of a run.

    Raises:
        InputError: a number is too small.
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
                raise InputError(name, "the value is too small", found=getattr(self, name), expected=f"at least {bound}")

    def tracks(self, root: Path) -> Listing:
        """List the songs that were rendered with the options of this layout (numbers of songs, length, seed).

        Args:
            root: folder of all demo songs, with one subfolder for each combination of options.

        Returns:
            The tracks of all splits.

        Raises:
            InputError: the songs are not rendered yet, or the root contains files other than demo songs.
        """
        songs = self._songs(root)
        refuse_other_files(root)
        if not songs.is_dir():
            problem = "demo songs with these options are not rendered yet"
            raise InputError(root, problem, hint="Render them with data.download=true.")
        return self._listed(songs)

    def fetch(self, root: Path) -> None:
        """Render the songs in several processes, unless they are already rendered.

        If the root contains files other than demo songs, an `InputError` is raised and nothing is written.
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
        tqdm.write(f"generating {len(songs)} songs of {self.seconds:g} s in {folder.parent}", file=sys.stderr)
        results = in_processes(_render, songs, min(cores(), len(songs)))
        for _, result in tqdm(results, "generating songs", len(songs), unit="song", leave=False, disable=None):
            if isinstance(result, InputError):
                raise result


@dataclass(frozen=True)
class DemoLeads(DemoSongs):
    """Render and list synthetic songs with three monophonic melodies: `vocals`, `reed` and `string`.

    The arguments have the same meaning as those of `DemoSongs`: numbers of songs, length of a song, and random seed.
    """

    render = staticmethod(render_leads)

    def _listed(self, songs: Path) -> Listing:
        return Stems(
            mixture="mixture", missing="error", lengths="error", sources=None, manifest=None, valid=0.0, test=0.0
        ).tracks(songs)


def refuse_other_files(root: Path) -> None:
    """Check that a folder contains only demo songs, so that songs are not rendered into a folder with other data.

    Args:
        root: folder of all demo songs; it may be missing.

    Raises:
        InputError: the folder contains files other than demo songs.
    """
    names = sorted(path.name for path in root.iterdir() if not path.name.startswith(".")) if root.is_dir() else []
    if others := [name for name in names if not RENDERED.fullmatch(name)]:
        expected = "an empty or missing folder, or a folder that contains only demo songs"
        raise InputError(
            root, "the folder contains files other than demo songs", found=", ".join(others[:5]), expected=expected
        )


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
