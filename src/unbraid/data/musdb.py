"""MUSDB18: the compressed edition (`*.stem.mp4`) and the HQ edition (a folder of wav files per track).

Both have `train/` and `test/`; the validation tracks are the 14 of `train/` that the `musdb` package names, or those of a
`valid/` folder where there is one. Source: Rafii et al. 2017, doi 10.5281/zenodo.1117372 and 10.5281/zenodo.3338373.
"""

import shutil
from pathlib import Path

from unbraid.data.tracks import SPLITS, AudioStream, Listing, Split, Track
from unbraid.errors import InputError

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


class MUSDB18:
    """Either edition, recognised by what lies under the root."""

    def tracks(self, root: Path) -> Listing:
        stems = [path for folder in SPLITS for path in sorted((root / folder).glob("*.stem.mp4"))]
        songs = [path for folder in SPLITS for path in sorted((root / folder).glob("*/")) if any(path.glob("*.wav"))]
        if stems and songs:
            raise InputError(f"{root}: holds both editions of MUSDB18 ({stems[0].name} and {songs[0].name}/), expected one")
        if not stems and not songs:
            found = ", ".join(sorted(path.name for path in root.iterdir())[:5]) or "nothing"
            raise InputError(
                f"{root}: is not MUSDB18: expected train/ and test/ with *.stem.mp4 files or a folder of wav files "
                f"per track, found {found}"
            )
        return Listing([_stem_track(path) for path in stems] + [_wav_track(path) for path in songs])

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


def _split(path: Path, name: str) -> Split:
    folder = next(split for split in SPLITS if split == path.parent.name)
    return "valid" if folder == "train" and name in VALIDATION_TRACKS else folder


def _stem_track(path: Path) -> Track:
    name = path.name.removesuffix(".stem.mp4")
    sources = {source: (AudioStream(path, STEM_STREAMS[source]),) for source in SOURCES}
    return Track(name, _split(path, name), sources, AudioStream(path, STEM_STREAMS["mixture"]))


def _wav_track(folder: Path) -> Track:
    files = {source: folder / f"{source}.wav" for source in ("mixture", *SOURCES)}
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path}: this file of the track is missing")
    sources = {source: (AudioStream(files[source]),) for source in SOURCES}
    return Track(folder.name, _split(folder, folder.name), sources, AudioStream(files["mixture"]))
