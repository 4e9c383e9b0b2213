"""List MoisesDB: a folder per song with `data.json` and several wav files for each stem. The wav files of a stem are summed.

The data set contains neither mixtures nor splits.

Source: Pereira et al. 2023, "MoisesDB: A dataset for source separation beyond 4-stems", arXiv:2307.15913.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unbraid.data.excluded_tracks import BLEED, NO_STEM
from unbraid.data.layouts.folders import list_contents, normalised, require_files, subfolders, unpacked_folder
from unbraid.data.layouts.grouping import Sources, group_sources, source_name
from unbraid.data.layouts.metadata import read_metadata
from unbraid.data.tracks import AudioStream, Choice, Listing, Track, split_of
from unbraid.runs.errors import InputError

METADATA = "data.json"
STEMS = frozenset({
    "bass", "bowed_strings", "drums", "guitar", "other", "other_keys", "other_plucked", "percussion", "piano", "vocals", "wind",
})  # fmt: skip


@dataclass(frozen=True)
class MoisesDB:
    """List the songs of MoisesDB. The name of a song is its uuid. All songs of an artist are in the same split.

    Args:
        sources: stems that become sources; all others are summed to `other`. None: each stem becomes a source.
        bleed: use of songs in which recordings also contain the sound of other instruments (bleed): `keep` or `leave_out`.
        valid: list of the artists of the validation split, or the share of all artists that is drawn for this split.
        test: list of the artists of the test split, or the share of all artists that is drawn for this split.
    """

    sources: list[str] | None
    bleed: Literal["keep", "leave_out"]
    valid: Choice
    test: Choice

    def tracks(self, root: Path) -> Listing:
        """List the songs under the root.

        An `InputError` is raised if the root does not contain MoisesDB, metadata are invalid, or a stem or artist is unknown.

        Args:
            root: folder of the data set, or the folder above it.

        Returns:
            The tracks, and the excluded tracks with their reasons.
        """
        songs = self._read(root)
        left_out = {name: reason for name, song in songs.items() if (reason := self._reason(song))}
        used = {name: song for name, song in songs.items() if name not in left_out}
        sources = group_sources({name: song.sources for name, song in used.items()}, self.sources, STEMS)
        splits = split_of((song.artist for song in used.values()), self.valid, self.test)
        # The recordings of about 50 songs differ in length.
        tracks = [Track(name, splits[song.artist], sources[name], lengths="pad") for name, song in used.items()]
        return Listing(tracks, left_out)

    def fetch(self, root: Path) -> None:
        """Raise an InputError if the root is missing or empty: MoisesDB must be requested from its authors."""
        hint = f"Request it on its home page and unpack moisesdb.zip into {root}."
        require_files(root, "MoisesDB cannot be downloaded automatically", hint)

    def _read(self, root: Path) -> dict[str, "_MoisesSong"]:
        place = unpacked_folder(root, lambda folder: any((path / METADATA).is_file() for path in subfolders(folder)))
        files = [folder / METADATA for folder in subfolders(place) if (folder / METADATA).is_file()]
        if not files:
            expected = f"folders <uuid>/ with {METADATA}"
            raise InputError(root, "the folder does not contain MoisesDB", found=list_contents(place), expected=expected)
        return {file.parent.name: _read_song(file) for file in files}

    def _reason(self, song: "_MoisesSong") -> str | None:
        """Return the reason for which a song is excluded, or None if the song is used."""
        if not song.sources:
            return NO_STEM
        return BLEED if song.has_bleed and self.bleed == "leave_out" else None


@dataclass(frozen=True)
class _MoisesSong:
    artist: str
    sources: Sources
    has_bleed: bool


def _read_song(file: Path) -> _MoisesSong:
    metadata = read_metadata(file)
    sources: Sources = {}
    has_bleed = False
    for stem in metadata.nodes("stems"):
        name = source_name(stem, "stemName")
        for recording in stem.nodes("tracks"):
            path = f"{stem.text('stemName')}/{recording.text('id')}.{recording.text('extension')}"
            stream = AudioStream(recording.inside(file.parent, path, "id"))
            sources[name] = (*sources.get(name, ()), stream)
            has_bleed |= "has_bleed" in recording.tree and recording.get("has_bleed", bool, "true or false")
    return _MoisesSong(normalised(metadata.text("artist")), sources, has_bleed)
