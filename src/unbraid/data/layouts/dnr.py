"""Divide and Remaster (DnR): soundtracks of one minute with the stems speech, music and effects.

Version 2 has `tr/`, `cv/` and `tt/` with the files `mix`, `speech`, `music` and `sfx`. In version 3, each language has `audio/`
with `train/`, `val/` and `test/`, and `mix` is called `mixture`.

Sources: Petermann et al. 2022, "The cocktail fork problem", doi 10.5281/zenodo.6949108; Watcharasupat et al. 2024, "Remastering
Divide and Remaster", arXiv:2407.07275.
"""

from dataclasses import dataclass
from pathlib import Path

from unbraid.data.layouts.folders import audio_files, by_name, found_in, must_be_there, subfolders, unpacked_folder
from unbraid.data.tracks import AudioStream, Listing, Split, Track
from unbraid.runs.errors import InputError

SPLIT_FOLDERS: dict[str, Split] = {"tr": "train", "cv": "valid", "tt": "test", "train": "train", "val": "valid", "test": "test"}
MIXTURES = ("mix", "mixture")
STEMS = {"speech": "speech", "music": "music", "effects": "sfx"}


@dataclass(frozen=True)
class DivideAndRemaster:
    """Either version, recognised by its folders; tracks are named by split folder and clip."""

    def tracks(self, root: Path) -> Listing:
        place = unpacked_folder(root, _has_splits)
        folders = [folder for split in _split_folders(place) for folder in subfolders(split)]
        clips = {folder: files for folder in folders if (files := by_name(audio_files(folder), folder))}
        if not clips:
            expected = "tr/, cv/ and tt/, or train/, val/ and test/, with a folder of audio files for each clip"
            raise InputError(root, "not Divide and Remaster", found=found_in(place), expected=expected)
        left_out = {_name(folder): "holds no audio file" for folder in folders if folder not in clips}
        return Listing([_track(folder, files) for folder, files in clips.items()], left_out)

    def fetch(self, root: Path) -> None:
        must_be_there(root, f"Divide and Remaster is on Zenodo, record 6949108 for version 2; unpack it at {root}")


def _split_folders(place: Path) -> list[Path]:
    """Return the split folders of a data set, which version 3 has in `audio/`."""
    return [path for name in SPLIT_FOLDERS for path in (place / name, place / "audio" / name) if path.is_dir()]


def _has_splits(folder: Path) -> bool:
    return bool(_split_folders(folder))


def _name(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name}"  # the clips of each split of version 3 are numbered from zero


def _track(folder: Path, files: dict[str, Path]) -> Track:
    mixture = next((name for name in MIXTURES if name in files), MIXTURES[0])
    for name in (mixture, *STEMS.values()):
        if name not in files:
            raise InputError(folder, f"the file of '{name}' is missing", found=", ".join(sorted(files)))
    sources = {source: (AudioStream(files[stem]),) for source, stem in STEMS.items()}
    return Track(_name(folder), SPLIT_FOLDERS[folder.parent.name], sources, AudioStream(files[mixture]))
