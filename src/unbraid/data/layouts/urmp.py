"""List URMP (University of Rochester Multi-Modal Music Performance): chamber music with a recording of each player.

Each piece is a folder with `AuMix_*.wav` and one `AuSep_*.wav` for each player. Players of the same instrument are summed.

Source: Li et al. 2019, "Creating a multitrack classical music performance dataset for multimodal music analysis", IEEE Trans.
Multimedia.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from unbraid.data.layouts.folders import audio_files, list_contents, require_files, subfolders, unpacked_folder
from unbraid.data.layouts.grouping import Sources, group_sources
from unbraid.data.tracks import AudioStream, Choice, Listing, Track, split_of
from unbraid.runs.errors import InputError, unknown

INSTRUMENTS = {
    "vn": "violin", "va": "viola", "vc": "cello", "db": "double_bass", "fl": "flute", "ob": "oboe", "cl": "clarinet",
    "sax": "saxophone", "bn": "bassoon", "tpt": "trumpet", "hn": "horn", "tbn": "trombone", "tba": "tuba",
}  # fmt: skip
PIECE = re.compile(r"\d+_(?P<title>[^_]+)_")
PLAYER = re.compile(r"AuSep_\d+_(?P<code>[^_]+)_")


@dataclass(frozen=True)
class URMP:
    """List the pieces of URMP, one folder for each, such as `01_Jupiter_vn_vc` (number, title, instruments).

    All arrangements of a title are in the same split, because some recordings occur in several arrangements.

    Args:
        sources: instruments that become sources; all others are summed to `other`. None: each instrument becomes a source.
        valid: list of the titles of the validation split, or the share of all titles that is drawn for this split.
        test: list of the titles of the test split, or the share of all titles that is drawn for this split.
    """

    sources: list[str] | None
    valid: Choice
    test: Choice

    def tracks(self, root: Path) -> Listing:
        """List the pieces under the root.

        Args:
            root: folder of the data set, or the folder above it.

        Returns:
            The tracks of all splits.

        Raises:
            InputError: the root does not contain URMP, a piece lacks its mixture or players, or an instrument or title is
                unknown.
        """
        place = unpacked_folder(root, lambda folder: bool(_pieces(folder)))
        pieces = _pieces(place)
        if not pieces:
            expected = "folders like 01_Jupiter_vn_vc with AuMix_*.wav and AuSep_*.wav"
            raise InputError(root, "the folder does not contain URMP", found=list_contents(place), expected=expected)
        splits = split_of(pieces.values(), self.valid, self.test)
        sources = group_sources({folder.name: _players(folder) for folder in pieces}, self.sources, INSTRUMENTS.values())
        # The documentation of URMP does not state that all recordings of a piece have the same length.
        tracks = [
            Track(folder.name, splits[title], sources[folder.name], _mixture(folder), lengths="pad")
            for folder, title in pieces.items()
        ]
        return Listing(tracks)

    def fetch(self, root: Path) -> None:
        """Raise an InputError if the root is missing or empty: URMP must be requested from its authors."""
        hint = f"Request it on its home page and put the folders of its pieces into {root}."
        require_files(root, "URMP cannot be downloaded automatically", hint)


def _pieces(place: Path) -> dict[Path, str]:
    """Return a dictionary from the folder of each piece to the title of the piece."""
    named = {folder: PIECE.match(folder.name) for folder in subfolders(place)}
    return {folder: match["title"] for folder, match in named.items() if match and any(folder.glob("Au*.*"))}


def _players(folder: Path) -> Sources:
    sources: Sources = {}
    for path in audio_files(folder):
        match = PLAYER.match(path.name)
        if match is None:
            continue
        code = match["code"]
        if code not in INSTRUMENTS:
            raise InputError(path, "the file name contains an unknown instrument", found=code, hint=unknown(code, INSTRUMENTS))
        name = INSTRUMENTS[code]
        sources[name] = (*sources.get(name, ()), AudioStream(path))
    if not sources:
        raise InputError(folder / "AuSep_*.wav", "the folder of the piece contains no recording of a player")
    return sources


def _mixture(folder: Path) -> AudioStream:
    files = [path for path in audio_files(folder) if path.name.startswith("AuMix_")]
    if len(files) != 1:
        raise InputError(
            folder / "AuMix_*.wav",
            "the folder of the piece has the wrong number of mixtures",
            found=f"{len(files)} files",
            expected="one",
        )
    return AudioStream(files[0])
