"""iKala and MIR-1K: clips of karaoke, accompaniment on the left channel and voice on the right; the mixture is their sum.

Sources: Chan et al. 2015, "Vocal activity informed singing voice separation with the iKala dataset"; Hsu and Jang 2010, "On
the improvement of singing voice separation for monaural recordings using the MIR-1K dataset". Neither has splits of its own.
"""

from dataclasses import dataclass
from pathlib import Path

from unbraid.data.layouts.folders import audio_files, by_name, found_in, must_be_there
from unbraid.data.tracks import AudioStream, Choice, Listing, Track, split_of
from unbraid.runs.errors import InputError

CHANNELS = {"accompaniment": 0, "vocals": 1}


@dataclass(frozen=True)
class KaraokeChannels:
    """Stereo files in `Wavfile/` whose channels are two sources.

    Args:
        id_parts: how many `_`-separated parts of a file's name say which clips may not be torn apart by a split.
        valid: ids of the validation split, or its share of the ids.
        test: ids of the test split, or its share of the ids.
    """

    id_parts: int
    valid: Choice
    test: Choice

    def __post_init__(self) -> None:
        if self.id_parts < 1:
            raise InputError(f"id_parts must be at least 1, found {self.id_parts}")

    def tracks(self, root: Path) -> Listing:
        folder = root / "Wavfile"
        clips = by_name(audio_files(folder), folder) if folder.is_dir() else {}
        if not clips:
            place = folder if folder.is_dir() else root
            raise InputError(f"{root}: is not iKala or MIR-1K: expected Wavfile/ with wav files, found {found_in(place)}")
        ids = {name: self._id(name, path) for name, path in clips.items()}
        splits = split_of(ids.values(), self.valid, self.test)
        return Listing([Track(name, splits[ids[name]], _sources(path)) for name, path in clips.items()])

    def fetch(self, root: Path) -> None:
        must_be_there(
            root,
            "iKala is no longer distributed and MIR-1K cannot be downloaded from here; whoever has one "
            f"puts its Wavfile folder at {root / 'Wavfile'}",
        )

    def _id(self, name: str, path: Path) -> str:
        parts = name.split("_")
        if len(parts) < self.id_parts:
            raise InputError(f"{path}: its name has {len(parts)} parts between '_', expected at least id_parts={self.id_parts}")
        return "_".join(parts[: self.id_parts])


def _sources(path: Path) -> dict[str, tuple[AudioStream, ...]]:
    return {source: (AudioStream(path, channel=channel),) for source, channel in CHANNELS.items()}
