"""What the listening page plays: the audio that runs have left of some test tracks, at one level, with spectrograms.

A run gives all files of a track one gain, so that none clips, and another run another gain. The mixture, which all runs have,
says how these gains relate; here the files of a track get one for all runs. A run that has lost its mixture is heard as it
is, and is not `levelled`: blind, the louder of two would win. They are flac of 16 bits, which every browser plays and seeks in
to the sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unbraid import audio
from unbraid.dsp.stft import STFT
from unbraid.evaluation import pictures
from unbraid.reports.variants import RunScores, Variant
from unbraid.runs.errors import InputError
from unbraid.runs.files import below, file_name

COLUMNS, ROWS = 1000, 120  # of a spectrogram
MOST_SAMPLES = 2**26  # of a file that is heard, per channel: 25 minutes at 44.1 kHz
WINDOW_SECONDS = 0.06
MIXTURE, RESIDUAL = "mixture", "residual"


@dataclass(frozen=True)
class AudioClip:
    """A file of a run that can be read.

    Args:
        path: of the file.
        rate: in Hz.
        seconds: its length.
        level: what brings it to the level that is common to the track.
        peak: its largest sample, at that level.
    """

    path: Path
    rate: int
    seconds: float
    level: float
    peak: float

    def samples(self) -> np.ndarray:
        """At the common level; read again, since those of all arms are many. Shape: [C, T]."""
        samples, _ = _whole(self.path)
        return self.level * samples


@dataclass(frozen=True)
class ListeningSet:
    """An arm, the run of it that is heard, and its number on the page."""

    number: int
    variant: Variant
    run: RunScores

    def folder(self, track: str) -> Path:
        return self.run.folder / "audio" / track

    def file(self, track: str, name: str) -> Path:
        """Return a file of the run; InputError if a link leads out of the run."""
        return below(self.run.folder, "audio", track, f"{name}.flac")


def heard(variants: Sequence[Variant]) -> list[ListeningSet]:
    """Of each arm with scores the first run that has left audio, or its first run."""
    scored = [variant for variant in variants if variant.runs]
    found = [next((run for run in variant.runs if (run.folder / "audio").is_dir()), variant.runs[0]) for variant in scored]
    return [ListeningSet(number, variant, run) for number, (variant, run) in enumerate(zip(scored, found, strict=True))]


def songs_of(players: Sequence[ListeningSet], most: int) -> list[str]:
    """Tracks of which any arm has left audio, in the order of the scores."""
    tracks = [*players[0].run.scores["tracks"]]
    return [track for track in tracks if any(one.folder(track).is_dir() for one in players)][:most]


def leave(players: Sequence[ListeningSet], track: str, number: int, folder: Path) -> dict[str, Any]:
    """Write audio and spectrograms of a track.

    Args:
        players: the arms.
        track: by its name.
        number: of the track, which begins the names of its files.
        folder: of the report.

    Returns:
        what the page has to know: name, seconds, and the rows of each target, each a file or the reason why there is none.
    """
    targets = _targets(players)
    collected = _Collected(players, track, targets)
    sounds = collected.sounds
    gain = 1 / max([1.0, *(sound.peak for sound in sounds.values())])
    writer = _Writer(folder, f"{number}-{file_name(track)}", gain, collected.brightest)
    files = {key: writer.write(_file_name(key, players), sound) for key, sound in sounds.items()}
    return {
        "name": track,
        "seconds": max((sound.seconds for sound in sounds.values()), default=0.0),
        "targets": {target: [*_rows(players, target, files, collected)] for target in targets},
        "missing": sorted({*collected.missing.values()}),
    }


def _targets(players: Sequence[ListeningSet]) -> list[str]:
    """Those of any arm, without what is no target but the rest."""
    named = dict.fromkeys(target for player in players for target in player.run.scores["summary"])
    return [target for target in named if target != players[0].run.scores["protocol"].get("rest")]


Key = tuple[int | None, str]  # number of the arm, None for what all have; what it is


class _Collected:
    """The sounds of a track, and why others are missing."""

    def __init__(self, players: Sequence[ListeningSet], track: str, targets: Sequence[str]) -> None:
        self.sounds: dict[Key, AudioClip] = {}
        self.missing: dict[Key, str] = {}
        self.first: np.ndarray | None = None  # the mixture whose level is that of all
        self.brightest = 0.0  # magnitude of its spectrogram
        self.levels = {player.number: self._level(player, track) for player in players}
        for player in sorted(players, key=lambda player: self.levels[player.number] is None):
            self._collect(player, track, targets)

    def _collect(self, player: ListeningSet, track: str, targets: Sequence[str]) -> None:
        number, level = player.number, self.levels[player.number]
        names: dict[str, Key] = {RESIDUAL: (number, RESIDUAL)}
        names |= {f"{target}-estimate": (number, target) for target in targets}
        if level is not None or self.first is None:  # a true target of another level would mislead
            names |= {f"{target}-target": (None, target) for target in targets if (None, target) not in self.sounds}
        for name, key in names.items():
            if read := self._read(key, player, track, name):
                self.sounds[key] = _sound(player.file(track, name), *read, 1.0 if level is None else level)

    def _level(self, player: ListeningSet, track: str) -> float | None:
        """What brings a run to the level of the first; None where it has no mixture that would say."""
        mixture = self._read((player.number, MIXTURE), player, track, MIXTURE)
        return None if mixture is None else self._level_of(*mixture, player.file(track, MIXTURE))

    def _level_of(self, samples: np.ndarray, rate: int, path: Path) -> float:
        """What brings a run with this mixture to the level of the first."""
        if self.first is None:
            self.first, sound = samples, _sound(path, samples, rate, 1.0)
            self.sounds[None, MIXTURE] = sound
            self.brightest = float(_stft(rate)(torch.from_numpy(samples).mean(dim=0)).abs().max())
            return 1.0
        common = self.sounds[None, MIXTURE].rate
        first = audio.resample(self.first, common, rate) if rate < common else self.first
        level = _rms(audio.resample(samples, rate, common) if common < rate else samples)
        return _rms(first) / level if level else 1.0

    def _read(self, key: Key, player: ListeningSet, track: str, name: str) -> tuple[np.ndarray, int] | None:
        """Read a file of a run; None, with the reason kept, if it is missing or cannot be used."""
        try:
            samples, rate = _whole(player.file(track, name))
        except InputError as error:
            self.missing[key] = str(error).replace(f"{player.run.folder.parent}/", "")  # the folder of the sweep
            return None
        self.missing.pop(key, None)
        return samples, rate


def _whole(path: Path) -> tuple[np.ndarray, int]:
    """Return all samples of a file and their rate; InputError if they are more than `MOST_SAMPLES` or cannot be read."""
    blocks, count = [], 0
    with audio.open_audio(path) as file:
        for block in file:
            blocks.append(block)
            count += block.shape[1]
            if count > MOST_SAMPLES:
                raise InputError(path, "is too long for a report", expected=f"at most {MOST_SAMPLES} samples")
        return np.concatenate(blocks, axis=1), file.rate


def _sound(path: Path, samples: np.ndarray, rate: int, level: float) -> AudioClip:
    return AudioClip(path, rate, samples.shape[1] / rate, level, level * float(np.abs(samples).max(initial=0)))


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples).mean()))


@dataclass(frozen=True)
class _Writer:
    """Of the files of a track: with one gain, and one scale of brightness."""

    folder: Path
    track: str
    gain: float
    brightest: float

    def write(self, name: str, sound: AudioClip) -> dict[str, str]:
        """Where audio and spectrogram lie, from the folder of the report."""
        flac, picture = Path("audio", self.track, f"{name}.flac"), Path("spectrograms", self.track, f"{name}.png")
        (self.folder / flac).parent.mkdir(parents=True, exist_ok=True)
        samples = sound.samples()
        whole = np.rint(32767 * np.clip(self.gain * samples, -1, 1)).astype(np.int16)
        audio.write(self.folder / flac, whole, sound.rate)
        pictures.strip(
            self.folder / picture, torch.from_numpy(samples), _stft(sound.rate), self.brightest, COLUMNS, ROWS
        )  # fmt: skip
        return {"audio": flac.as_posix(), "picture": picture.as_posix(), "kHz": f"{sound.rate / 2000:.3g}"}


def _rows(
    players: Sequence[ListeningSet], target: str, files: dict[Key, dict[str, str]], collected: _Collected
) -> Iterator[dict[str, Any]]:
    missing = collected.missing
    mixture = files.get((None, MIXTURE)) or {"missing": missing[0, MIXTURE]}
    yield {"kind": "mixture", "name": "mixture"} | mixture
    yield {"kind": "target", "name": f"true {target}"} | (files.get((None, target)) or {"missing": missing[None, target]})
    for player in players:
        own, rest = (player.number, target), (player.number, RESIDUAL)
        levelled = collected.levels[player.number] is not None
        row = {"kind": "estimate", "name": player.variant.name, "run": player.run.folder.name, "levelled": levelled}
        row |= files.get(own) or {"missing": missing[own]}
        yield row | {"residual": files.get(rest) or {"missing": missing[rest]}}


def _stft(rate: int) -> STFT:
    """Of a spectrogram: windows of the power of two that is nearest to some hundredths of a second."""
    size = 2 ** round(np.log2(WINDOW_SECONDS * rate))
    return STFT(size, size // 4)


def _file_name(key: Key, players: Sequence[ListeningSet]) -> str:
    number, what = key
    plain = file_name(what, distinct=True)
    if number is None:
        return plain if what == MIXTURE else f"true-{plain}"
    return f"{number}-{file_name(players[number].variant.name)}-{plain}"
