"""MUSDB18: the compressed edition (`*.stem.mp4`) and the HQ edition (a folder of wav files per track).

Both have `train/` and `test/`, in the root or in the folder that the archive was unpacked to. The validation tracks are the 14
of `train/` that the `musdb` package names, or those of a `valid/` folder if there is one.

Source: Rafii et al. 2017, doi 10.5281/zenodo.1117372 and 10.5281/zenodo.3338373.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unbraid.data.layouts.folders import (
    audio_files,
    by_name,
    found_in,
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
    """Either edition, recognised by what lies under the root.

    Args:
        edition: the only one that will do: the compressed stems, or HQ.
    """

    edition: Literal["stems", "hq"] | None = None

    def tracks(self, root: Path) -> Listing:
        splits = split_folders(unpacked_folder(root, lambda folder: bool(split_folders(folder))))
        stems = [path for folder in splits.values() for path in audio_files(folder) if path.name.lower().endswith(".stem.mp4")]
        folders = [path for folder in splits.values() for path in subfolders(folder)]
        songs = [path for path in folders if _wav_files(path)]
        if stems and songs:
            raise InputError(
                root, "holds both editions of MUSDB18", found=f"{stems[0].name} and {songs[0].name}/", expected="one"
            )
        if not stems and not songs:
            expected = "train/ and test/ with *.stem.mp4 files or a folder of wav files per track"
            raise InputError(root, "not MUSDB18", found=found_in(root), expected=expected)
        found, example = ("stems", stems[0].name) if stems else ("hq", f"{songs[0].name}/")
        if self.edition not in (None, found):
            raise InputError(
                root, "another edition", found=f"{found} ({example})", expected=f"data.layout.edition={self.edition}"
            )
        named = frozenset() if "valid" in splits else VALIDATION_TRACKS
        tracks = [_stem_track(path, named) for path in stems] + [_wav_track(path, named) for path in songs]
        return Listing(tracks, {path.name: "holds no wav file" for path in folders if path not in songs})

    def fetch(self, root: Path) -> None:
        """Download the 7-second edition through the `musdb` package, which needs ffmpeg and a network."""
        if root.is_dir() and any(root.iterdir()):
            self.tracks(root)  # a folder that holds something else is said, not filled
            return
        if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
            raise InputError("data.download=true: the musdb package needs ffmpeg and ffprobe on the PATH, and they are missing")
        try:
            import musdb
        except ModuleNotFoundError as error:
            raise InputError("data.download=true: needs the musdb package: pip install 'unbraid[musdb]'") from error
        try:
            musdb.DB(root=str(root), download=True)
        except OSError as error:
            raise InputError(f"data.download=true: the 7-second edition of MUSDB18 cannot be downloaded: {error}") from error


def _split(path: Path, name: str, named_valid: frozenset[str]) -> Split:
    folder = next(split for split in SPLITS if split == path.parent.name)
    return "valid" if folder == "train" and name in named_valid else folder


def _stem_track(path: Path, named_valid: frozenset[str]) -> Track:
    name = without_stem(path.stem)
    sources = {source: (AudioStream(path, STEM_STREAMS[source]),) for source in SOURCES}
    return Track(name, _split(path, name, named_valid), sources, AudioStream(path, STEM_STREAMS["mixture"]))


def _wav_files(folder: Path) -> dict[str, Path]:
    return by_name((path for path in audio_files(folder) if path.suffix.lower() == ".wav"), folder)


def _wav_track(folder: Path, named_valid: frozenset[str]) -> Track:
    files = _wav_files(folder)
    for name in ("mixture", *SOURCES):
        if name not in files:
            raise InputError(folder / f"{name}.wav", "this file of the track is missing")
    sources = {source: (AudioStream(files[source]),) for source in SOURCES}
    return Track(folder.name, _split(folder, folder.name, named_valid), sources, AudioStream(files["mixture"]))
