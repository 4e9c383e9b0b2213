"""List MUSDB18: the compressed edition (`*.stem.mp4`) and the HQ edition (a folder of wav files per track).

Both editions have the folders `train/` and `test/`. The tracks in a folder `valid/` are the validation tracks. Without this
folder, the validation tracks are 14 tracks of `train/`: the tracks that the `musdb` package uses for validation.

Source: Rafii et al. 2017, doi 10.5281/zenodo.1117372 and 10.5281/zenodo.3338373.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unbraid.data.excluded_tracks import NO_WAV_FILE
from unbraid.data.layouts.folders import (
    audio_files,
    by_name,
    list_contents,
    split_folders,
    subfolders,
    unpacked_folder,
    without_stem,
)
from unbraid.data.tracks import SPLITS, AudioStream, Listing, Split, Track
from unbraid.runs.errors import InputError

SOURCES = ("drums", "bass", "other", "vocals")
STEM_STREAMS = {"mixture": 0, "drums": 1, "bass": 2, "other": 3, "vocals": 4}
VALIDATION_TRACKS = frozenset({
    "ANiMAL - Rockshow",
    "Actions - One Minute Smile",
    "Alexander Ross - Goodbye Bolero",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Fergessen - Nos Palpitants",
    "James May - On The Line",
    "Johnny Lokke - Promises & Lies",
    "Leaf - Summerghost",
    "Meaxic - Take A Step",
    "Patrick Talbot - A Reason To Leave",
    "Skelpolu - Human Mistakes",
    "Traffic Experiment - Sirens",
    "Triviul - Angelsaint",
    "Young Griffo - Pennies",
})  # fmt: skip


@dataclass(frozen=True)
class MUSDB18:
    """List the tracks of MUSDB18, compressed edition or HQ edition. The edition is recognised by the files under the root.

    Args:
        edition: required edition, the compressed stem files (`stems`) or the wav files (`hq`). None: either edition.
    """

    edition: Literal["stems", "hq"] | None = None

    def tracks(self, root: Path) -> Listing:
        """List the tracks under the root. Folders without wav files are excluded.

        Args:
            root: folder of the data set, or the folder above it.

        Returns:
            The tracks, and the excluded tracks with their reasons.

        Raises:
            InputError: the root does not contain MUSDB18 or the required edition, the root contains both editions, or a track
                lacks a wav file.
        """
        splits = split_folders(unpacked_folder(root, lambda folder: bool(split_folders(folder))))
        stems = [path for folder in splits.values() for path in audio_files(folder) if path.name.lower().endswith(".stem.mp4")]
        folders = [path for folder in splits.values() for path in subfolders(folder)]
        songs = [path for path in folders if _wav_files(path)]
        if stems and songs:
            examples = f"{stems[0].name} and {songs[0].name}/"
            raise InputError(root, "the folder contains both editions of MUSDB18", found=examples, expected="one of the two")
        if not stems and not songs:
            expected = "train/ and test/ with *.stem.mp4 files or a folder of wav files per track"
            raise InputError(root, "the folder does not contain MUSDB18", found=list_contents(root), expected=expected)
        edition, example = ("stems", stems[0].name) if stems else ("hq", f"{songs[0].name}/")
        if self.edition not in (None, edition):
            expected = f"data.layout.edition={self.edition}"
            raise InputError(
                root, "the folder contains the wrong edition of MUSDB18", found=f"{edition} ({example})", expected=expected
            )
        validation = frozenset() if "valid" in splits else VALIDATION_TRACKS
        tracks = [_stem_track(path, validation) for path in stems] + [_wav_track(path, validation) for path in songs]
        return Listing(tracks, {path.name: NO_WAV_FILE for path in folders if path not in songs})

    def fetch(self, root: Path) -> None:
        """Download the 7-second edition with the `musdb` package. The download needs ffmpeg and a network.

        Args:
            root: folder of the data set. If it contains files, nothing is downloaded.

        Raises:
            InputError: ffmpeg or the package `musdb` is missing, the download fails, or the root contains other files than
                MUSDB18.
        """
        if root.is_dir() and any(root.iterdir()):
            self.tracks(root)  # raises an error about a folder with other files
            return
        if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
            problem = "ffmpeg or ffprobe is not on the PATH, and the musdb package needs both"
            raise InputError("data.download=true", problem, hint="Install ffmpeg.")
        try:
            import musdb
        except ModuleNotFoundError as error:
            hint = "Run pip install 'unbraid[musdb]'"
            raise InputError("data.download=true", "the Python package musdb is not installed", hint=hint) from error
        try:
            musdb.DB(root=str(root), download=True)
        except OSError as error:
            problem = f"the 7-second edition of MUSDB18 cannot be downloaded: {error}"
            raise InputError("data.download=true", problem) from error


def _split(path: Path, name: str, validation: frozenset[str]) -> Split:
    folder = next(split for split in SPLITS if split == path.parent.name)
    return "valid" if folder == "train" and name in validation else folder


def _stem_track(path: Path, validation: frozenset[str]) -> Track:
    name = without_stem(path.stem)
    sources = {source: (AudioStream(path, STEM_STREAMS[source]),) for source in SOURCES}
    return Track(name, _split(path, name, validation), sources, AudioStream(path, STEM_STREAMS["mixture"]))


def _wav_files(folder: Path) -> dict[str, Path]:
    return by_name((path for path in audio_files(folder) if path.suffix.lower() == ".wav"), folder)


def _wav_track(folder: Path, validation: frozenset[str]) -> Track:
    files = _wav_files(folder)
    for name in ("mixture", *SOURCES):
        if name not in files:
            raise InputError(folder / f"{name}.wav", "this file is missing in the folder of the track")
    sources = {source: (AudioStream(files[source]),) for source in SOURCES}
    return Track(folder.name, _split(folder, folder.name, validation), sources, AudioStream(files["mixture"]))
