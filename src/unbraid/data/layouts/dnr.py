"""List Divide and Remaster (DnR): soundtracks of one minute with the stems speech, music and effects.

Version 2 has the folders `tr/`, `cv/` and `tt/`. Each clip has the files `mix`, `speech`, `music` and `sfx`. Version 3 has the
folders `train/`, `val/` and `test/` in the folder `audio/` of each language, and the file of the mixture is named `mixture`
instead of `mix`.

Sources: Petermann et al. 2022, "The cocktail fork problem", doi 10.5281/zenodo.6949108; Watcharasupat et al. 2024, "Remastering
Divide and Remaster", arXiv:2407.07275.
"""

from dataclasses import dataclass
from pathlib import Path

from unbraid.data.excluded_tracks import NO_AUDIO_FILE
from unbraid.data.layouts.folders import audio_files, by_name, list_contents, require_files, subfolders, unpacked_folder
from unbraid.data.tracks import AudioStream, Listing, Split, Track
from unbraid.runs.errors import InputError

SPLIT_FOLDERS: dict[str, Split] = {"tr": "train", "cv": "valid", "tt": "test", "train": "train", "val": "valid", "test": "test"}
MIXTURES = ("mix", "mixture")
STEMS = {"speech": "speech", "music": "music", "effects": "sfx"}


@dataclass(frozen=True)
class DivideAndRemaster:
    """List the clips of Divide and Remaster, version 2 or 3. The version is recognised by the names of the split folders.

    The name of a track consists of the names of the split folder and the clip folder, such as `tr-1002`.
    """

    def tracks(self, root: Path) -> Listing:
        """List the clips under the root. Folders without audio files are excluded.

        Args:
            root: folder that contains the folders of the splits (such as `tr/`), or a folder above it.

        Returns:
            The tracks, and the excluded tracks with their reasons.

        Raises:
            InputError: the root does not contain Divide and Remaster, the root contains several data sets, or a clip lacks a
                file.
        """
        place = unpacked_folder(root, lambda folder: bool(_split_folders(folder)))
        folders = [folder for split in _split_folders(place) for folder in subfolders(split)]
        clips = {folder: files for folder in folders if (files := by_name(audio_files(folder), folder))}
        if not clips:
            expected = "tr/, cv/ and tt/, or train/, val/ and test/, with a folder of audio files for each clip"
            raise InputError(
                root, "the folder does not contain Divide and Remaster", found=list_contents(place), expected=expected
            )
        left_out = {_name(folder): NO_AUDIO_FILE for folder in folders if folder not in clips}
        return Listing([_track(folder, files) for folder, files in clips.items()], left_out)

    def fetch(self, root: Path) -> None:
        """Raise an InputError if the root is missing or empty: Divide and Remaster is not downloaded automatically."""
        hint = f"Download version 2 from Zenodo record 6949108 and unpack it into {root}."
        require_files(root, "Divide and Remaster cannot be downloaded automatically", hint)


def _split_folders(place: Path) -> list[Path]:
    """Return the folders of the splits (such as `tr/`). They are in the folder `place`, or in its subfolder `audio/`."""
    return [path for name in SPLIT_FOLDERS for path in (place / name, place / "audio" / name) if path.is_dir()]


def _name(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name}"  # version 3 numbers the clips of each split from zero


def _track(folder: Path, files: dict[str, Path]) -> Track:
    mixture = next((name for name in MIXTURES if name in files), MIXTURES[0])
    for name in (mixture, *STEMS.values()):
        if name not in files:
            raise InputError(folder, f"the clip lacks the audio file '{name}'", found=", ".join(sorted(files)))
    sources = {source: (AudioStream(files[stem]),) for source, stem in STEMS.items()}
    return Track(_name(folder), SPLIT_FOLDERS[folder.parent.name], sources, AudioStream(files[mixture]))
