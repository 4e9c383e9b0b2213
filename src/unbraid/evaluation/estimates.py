"""Separated files that any tool has made, found by the names of track and target."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unbraid import audio
from unbraid.data.layouts.folders import audio_files
from unbraid.runs.errors import InputError


class EstimateFolder:
    """A folder with a file for each target of each track.

    Looked for are `<track>/<target>.*`, `test/<track>/<target>.*` and `<target>/<track>.*` in this order.
    Any audio suffix will do.

    Args:
        folder: of the files.
        targets: whose files are needed.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, folder: Path, targets: Sequence[str]) -> None:
        if not folder.is_dir():
            raise InputError(f"estimates={folder}: {'is a file, expected a folder' if folder.exists() else 'no such folder'}")
        self.folder, self.targets = folder, targets

    def check(self, tracks: Sequence[str]) -> None:
        """InputError where a track lacks the file of a target."""
        for track in tracks:
            self._files(track)

    def read(self, track: str, sample_rate: int, channels: int, samples: int) -> np.ndarray:
        """The estimates of a track.

        Raises:
            InputError: a file has another length, rate or number of channels, or samples that are not finite.

        Shape: [targets, channels, samples], float32.
        """
        return np.stack([_read(path, sample_rate, channels, samples) for path in self._files(track)])

    def fingerprint(self, track: str) -> str:
        """Of the files of a track, as their names, sizes and times have it."""
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self._files(track)]
        return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]

    def _files(self, track: str) -> list[Path]:
        if "/" in track or track.startswith("."):
            raise InputError(f"{track}: estimates are found by the track's name, which may neither hold / nor begin with a dot")
        return [self._file(track, target) for target in self.targets]

    def _file(self, track: str, target: str) -> Path:
        places = [(self.folder / track, target), (self.folder / "test" / track, target), (self.folder / target, track)]
        for folder, stem in places:
            found = [path for path in _audio_files(folder) if path.stem.lower() == stem.lower()]
            if len(found) > 1:
                raise InputError(f"{folder}: {found[0].name} and {found[1].name} are both estimates of {target}, expected one")
            if found:
                return found[0]
        there = ", ".join(path.name for folder, _ in places[:2] for path in _audio_files(folder)) or "nothing"
        raise InputError(
            f"{track}: has no estimate of {target} in {self.folder}; expected {track}/{target}.wav or {target}/{track}.wav, "
            f"found {there}"
        )


def _audio_files(folder: Path) -> list[Path]:
    return audio_files(folder) if folder.is_dir() else []


def _read(path: Path, sample_rate: int, channels: int, samples: int) -> np.ndarray:
    with audio.open_audio(path) as reader:
        if reader.rate != sample_rate:
            raise InputError(path, "has another sample rate", found=f"{reader.rate} Hz", expected=f"{sample_rate} Hz")
        if reader.source_channels != channels:
            found, expected = (f"{count} channels" for count in (reader.source_channels, channels))
            raise InputError(path, "has another number of channels", found=found, expected=expected)
        signal = np.concatenate([*reader], axis=1)
    if signal.shape[1] != samples:
        expected = f"{samples} as in the reference"
        raise InputError(path, "has another length", found=f"{signal.shape[1]} samples", expected=expected)
    return signal
