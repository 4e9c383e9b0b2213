"""Read the separated sources of a track from audio files that another program has written.

The path of a file contains the name of the track and the name of the target.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unbraid import audio
from unbraid.data.layouts.folders import audio_files
from unbraid.runs.errors import InputError
from unbraid.runs.files import check_folder

FOLDERS = " - "  # in the name of a track: between the names of folders, see `unbraid.data.layouts`


class EstimateFolder:
    """Read estimated sources from a folder with one audio file for each target of each track.

    The path of a file is the first existing path of these four: `<track>/<target>.*`, `test/<track>/<target>.*`,
    `<target>/<track>.*`, and `<track>/<target>.*` with folders in place of the text ` - `: the name `test - song` of a track in
    the folder `test/song` gives `test/song/<target>.*`. Every audio format is accepted.
    A missing folder raises InputError.

    Args:
        folder: folder of the files.
        targets: names of the targets that are read.
    """

    def __init__(self, folder: Path, targets: Sequence[str]) -> None:
        check_folder(f"estimates={folder}", folder)
        self.folder, self.targets = folder, targets

    def check(self, tracks: Sequence[str]) -> None:
        """Check that each track has an audio file for each target. A missing file raises InputError."""
        for track in tracks:
            self._files(track)

    def read(self, track: str, sample_rate: int, channels: int, samples: int) -> np.ndarray:
        """Read the estimated sources of a track.

        InputError is raised if a file does not have the expected length, sample rate and number of channels, or contains NaN or
        infinite samples.

        Args:
            track: name of the track.
            sample_rate: expected sample rate in Hz.
            channels: expected number of channels.
            samples: expected length in samples.

        Returns:
            Estimated sources in the order of the targets, float32.

        Shape:
            Result [targets, channels, samples].
        """
        return np.stack([_read(path, sample_rate, channels, samples) for path in self._files(track)])

    def fingerprint(self, track: str) -> str:
        """Return a hash of the names, sizes and modification times of the estimate files of a track."""
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self._files(track)]
        return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]

    def _files(self, track: str) -> list[Path]:
        if "/" in track or track.startswith("."):
            problem = "the name of the track cannot be used in file names"
            raise InputError(track, problem, expected="a name without / that does not start with a dot")
        return [self._file(track, target) for target in self.targets]

    def _file(self, track: str, target: str) -> Path:
        by_track = [self.folder / track, self.folder / "test" / track]
        if (parts := track.split(FOLDERS))[1:] and not any(part.startswith(".") for part in parts):
            by_track.append(self.folder.joinpath(*parts))
        places = [*((folder, target) for folder in by_track), (self.folder / target, track)]
        for folder, stem in places:
            paths = [path for path in _audio_files(folder) if path.stem.lower() == stem.lower()]
            if len(paths) > 1:
                names = f"{paths[0].name} and {paths[1].name}"
                raise InputError(folder, f"several files contain the target {target}", found=names, expected="one file")
            if paths:
                return paths[0]
        names = ", ".join(path.name for folder in by_track for path in _audio_files(folder)) or "no audio files"
        expected = " or ".join(dict.fromkeys(f"{(folder / stem).relative_to(self.folder)}.wav" for folder, stem in places))
        problem = f"the file with the target {target} of the track {track} is missing"
        raise InputError(self.folder, problem, found=names, expected=expected)


def _audio_files(folder: Path) -> list[Path]:
    return audio_files(folder) if folder.is_dir() else []


def _read(path: Path, sample_rate: int, channels: int, samples: int) -> np.ndarray:
    with audio.open_audio(path) as reader:
        if reader.rate != sample_rate:
            raise InputError(path, "the file has a wrong sample rate", found=f"{reader.rate} Hz", expected=f"{sample_rate} Hz")
        if reader.source_channels != channels:
            found, expected = (f"{count} channels" for count in (reader.source_channels, channels))
            raise InputError(path, "the file has a wrong number of channels", found=found, expected=expected)
        signal = np.concatenate([*reader], axis=1)
    if signal.shape[1] != samples:
        expected = f"{samples} samples"
        raise InputError(
            path, "the length differs from the length of the true source", found=f"{signal.shape[1]} samples", expected=expected
        )
    return signal
