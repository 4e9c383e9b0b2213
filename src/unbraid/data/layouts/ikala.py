"""List iKala and MIR-1K: karaoke clips with the accompaniment on the left channel and the voice on the right channel.

The mixture is the sum of the two channels. Neither data set has splits of its own.

Sources: Chan et al. 2015, "Vocal activity informed singing voice separation with the iKala dataset"; Hsu and Jang 2010, "On
the improvement of singing voice separation for monaural recordings using the MIR-1K dataset".
"""

from dataclasses import dataclass
from pathlib import Path

from unbraid.data.layouts.folders import audio_files, by_name, list_contents, require_files
from unbraid.data.tracks import AudioStream, Choice, Listing, Track, split_of
from unbraid.runs.errors import InputError

CHANNELS = {"accompaniment": 0, "vocals": 1}


@dataclass(frozen=True)
class KaraokeChannels:
    """List the stereo files in `Wavfile/`. The two channels of a file are two sources.

    The character `_` separates the parts of a file name, such as `10161_chorus.wav`. The first `id_parts` parts are an id, for
    example of the song or of the singer. All clips with the same id are in the same split.

    Args:
        id_parts: number of parts of the file name that form the id.
        valid: list of the ids of the validation split, or the share of all ids that is drawn for this split.
        test: list of the ids of the test split, or the share of all ids that is drawn for this split.

    Raises:
        InputError: `id_parts` is below 1.
    """

    id_parts: int
    valid: Choice
    test: Choice

    def __post_init__(self) -> None:
        if self.id_parts < 1:
            raise InputError("id_parts", "the number is too small", found=self.id_parts, expected="at least 1")

    def tracks(self, root: Path) -> Listing:
        """List the clips under the root.

        Args:
            root: folder that contains `Wavfile/`.

        Returns:
            The tracks of all splits.

        Raises:
            InputError: `Wavfile/` lacks audio files, a file name has too few parts, or `valid` or `test` has an unknown id.
        """
        folder = root / "Wavfile"
        clips = by_name(audio_files(folder), folder) if folder.is_dir() else {}
        if not clips:
            contents = list_contents(folder if folder.is_dir() else root)
            raise InputError(
                root, "the folder does not contain iKala or MIR-1K", found=contents, expected="Wavfile/ with wav files"
            )
        ids = {name: self._id(name, path) for name, path in clips.items()}
        splits = split_of(ids.values(), self.valid, self.test)
        return Listing(
            [
                Track(name, splits[ids[name]], {source: (AudioStream(path, channel=i),) for source, i in CHANNELS.items()})
                for name, path in clips.items()
            ]
        )

    def fetch(self, root: Path) -> None:
        """Raise an InputError if the root is missing or empty: iKala and MIR-1K cannot be downloaded."""
        problem = "iKala is not distributed any more, and MIR-1K cannot be downloaded automatically"
        require_files(root, problem, f"Put the folder Wavfile of your copy into {root}.")

    def _id(self, name: str, path: Path) -> str:
        parts = name.split("_")
        if len(parts) < self.id_parts:
            expected = f"at least id_parts={self.id_parts}"
            raise InputError(path, "the file name has too few parts separated by '_'", found=len(parts), expected=expected)
        return "_".join(parts[: self.id_parts])
