"""List Slakh2100: a folder per track with `metadata.yaml`, the mixture, and one file for each MIDI instrument.

Stems of the same instrument class are summed. The folder `omitted/` of the redux edition contains tracks whose MIDI file also
occurs in another track. BabySlakh, which consists of the first 20 tracks, does not have split folders.

Source: Manilow et al. 2019, "Cutting Music Source Separation Some Slakh", WASPAA.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unbraid.data.excluded_tracks import IN_OMITTED, MIDI_IS_HELD_OUT, missing
from unbraid.data.layouts.folders import audio_files, by_name, list_contents, require_files, subfolders, unpacked_folder
from unbraid.data.layouts.grouping import Sources, group_sources, source_name
from unbraid.data.layouts.metadata import Metadata, read_metadata
from unbraid.data.tracks import AudioStream, Choice, Listing, Split, Track, refuse_ids, split_of
from unbraid.runs.errors import InputError

METADATA = "metadata.yaml"
MIX = "mix"
OMITTED = "omitted"
SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "validation": "valid", "test": "test"}
CLASSES = frozenset({
    "bass", "brass", "chromatic_percussion", "drums", "ethnic", "guitar", "organ", "percussive", "piano", "pipe", "reed",
    "sound_effects", "strings", "strings_continued", "synth_lead", "synth_pad",
})  # fmt: skip


@dataclass(frozen=True)
class Slakh2100:
    """List the tracks in `train/`, `validation/`, `test/` and `omitted/`, or in a folder without these subfolders.

    Args:
        sources: instrument classes that become sources; all others are summed to `other`. None: each class becomes a source.
        omitted: use of the tracks in `omitted/`. `leave_out`: these tracks are excluded. `train`: these tracks are used for
            training, except tracks whose MIDI file is also in a validation or test track.
        valid: list of the MIDI files of the validation split, or the share of all MIDI files that is drawn for this split. A
            MIDI file is given by its `UUID` in the metadata. Unused if the data set has folders of splits, such as `train/`.
        test: list of the MIDI files of the test split, or the share of all MIDI files that is drawn for this split. Unused if
            the data set has folders of splits.
    """

    sources: list[str] | None
    omitted: Literal["leave_out", "train"]
    valid: Choice
    test: Choice

    def tracks(self, root: Path) -> Listing:
        """List the tracks under the root.

        An `InputError` is raised if the root does not contain Slakh2100, metadata are invalid, a mixture is missing, or a track
        is in two folders of splits. An `InputError` is also raised if an option names an unknown instrument class or MIDI file.

        Args:
            root: folder of the data set, or the folder above it.

        Returns:
            The tracks, and the excluded tracks with their reasons.
        """
        songs, left_out = self._read(root)
        splits = self._splits(songs)
        left_out |= {name: MIDI_IS_HELD_OUT for name in songs if name not in splits}
        sources = group_sources({name: songs[name].sources for name in splits}, self.sources, CLASSES)
        return Listing([Track(name, splits[name], sources[name], songs[name].mixture) for name in splits], left_out)

    def fetch(self, root: Path) -> None:
        """Raise an InputError if the root is missing or empty: Slakh2100 is not downloaded automatically."""
        hint = f"Download slakh2100_flac_redux.tar.gz from Zenodo record 4599666 and unpack it into {root}."
        require_files(root, "Slakh2100 cannot be downloaded automatically", hint)

    def _read(self, root: Path) -> tuple[dict[str, "_SlakhSong"], dict[str, str]]:
        """Return the songs that are used, and the reason for each excluded song."""
        place = unpacked_folder(root, lambda folder: any(_track_folders(folder)))
        folders = [*_track_folders(place)]
        if not folders:
            expected = f"train/, validation/ and test/ with Track00001/{METADATA} …"
            raise InputError(root, "the folder does not contain Slakh2100", found=list_contents(place), expected=expected)
        songs: dict[str, _SlakhSong] = {}
        left_out = {}
        for folder in folders:
            if folder.name in songs or folder.name in left_out:
                raise InputError(folder, "the track is in two split folders", expected="each track in one split folder")
            if folder.parent.name == OMITTED and self.omitted == "leave_out":
                left_out[folder.name] = IN_OMITTED
                continue
            try:
                songs[folder.name] = _read_song(folder, folder.parent.name if folder.parent != place else "")
            except _MissingStemError as error:
                left_out[folder.name] = str(error)
        return songs, left_out

    def _splits(self, songs: dict[str, "_SlakhSong"]) -> dict[str, Split]:
        """Return the split of each song. Omit songs of `omitted/` whose MIDI file is in a validation or test song."""
        if not any(song.folder for song in songs.values()):
            drawn = split_of((song.midi for song in songs.values()), self.valid, self.test)
            return {name: drawn[song.midi] for name, song in songs.items()}
        refuse_ids(self.valid, self.test)
        held_out = {song.midi for song in songs.values() if song.folder in ("validation", "test")}
        return {
            name: SPLIT_FOLDERS.get(song.folder, "train")
            for name, song in songs.items()
            if not (song.folder == OMITTED and song.midi in held_out)
        }


@dataclass(frozen=True)
class _SlakhSong:
    folder: str  # name of the split folder, empty without split folders
    midi: str
    sources: Sources
    mixture: AudioStream


class _MissingStemError(Exception):
    """Report that a track is excluded because the file of a stem is missing, as in a few published tracks."""


def _track_folders(place: Path) -> Iterator[Path]:
    """Yield the folders of the tracks: in the split folders below `place`, or in `place` itself if it has no split folders."""
    folders = [place / name for name in (*SPLIT_FOLDERS, OMITTED) if (place / name).is_dir()]
    for folder in folders or [place]:
        yield from (path for path in subfolders(folder) if (path / METADATA).is_file())


def _read_song(folder: Path, split: str) -> _SlakhSong:
    metadata = read_metadata(folder / METADATA)
    mixture = by_name(audio_files(folder), folder).get(MIX)
    if mixture is None:
        raise InputError(folder / f"{MIX}.flac", "the mixture file is missing in the folder of the track")
    return _SlakhSong(split, metadata.text("UUID"), _sources(metadata, folder / "stems"), AudioStream(mixture))


def _sources(metadata: Metadata, folder: Path) -> Sources:
    files = by_name(audio_files(folder), folder) if folder.is_dir() else {}
    stems = metadata.node("stems")
    sources: Sources = {}
    for key in sorted(stems.tree, key=str):
        stem = stems.node(key)
        if not stem.get("audio_rendered", bool, "true or false"):
            continue
        if key not in files:
            raise _MissingStemError(missing(f"stems/{key}"))
        name = source_name(stem, "inst_class")
        sources[name] = (*sources.get(name, ()), AudioStream(files[key]))
    return sources
