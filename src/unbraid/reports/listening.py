"""Write the audio files and spectrograms of the listening page of a report, for some test tracks.

The page plays one training run of each variant (a group of runs that differ only in the seed). The files are FLAC with 16 bits,
which all browsers can play.

The test of a run multiplies all audio files of a track (mixture, targets, estimates) by one gain, so that no file clips. This
gain can differ between runs. The original mixture of a track is the same for all runs, so the level of the mixture file shows
the gain of a run. This module removes the difference: for each track, it writes the files of all runs with one common gain.

If a run lacks the mixture file of a track, the gain is unknown. The estimates of such a run are written unchanged, and are
excluded from blind comparisons, because listeners would prefer the louder estimate.
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

COLUMNS, ROWS = 1000, 120  # pixels of a spectrogram
MOST_SAMPLES = 2**26  # samples per channel of the longest accepted file: 25 minutes at 44.1 kHz
WINDOW_SECONDS = 0.06  # window of the spectrograms
MIXTURE, RESIDUAL = "mixture", "residual"
Key = tuple[int | None, str]  # number of a variant (None for a file that all variants share), and name of a source


@dataclass(frozen=True)
class AudioClip:
    """Store the properties of an audio file that a run has written for a test track.

    Args:
        path: path of the audio file.
        rate: sample rate in Hz.
        seconds: length in seconds.
        level: factor by which the samples are multiplied, to give the files of a track the same gain in all runs.
        peak: largest absolute sample after the multiplication by `level`.
    """

    path: Path
    rate: int
    seconds: float
    level: float
    peak: float

    def samples(self) -> np.ndarray:
        """Read the audio file and return its samples [channels, samples], multiplied by `level`."""
        samples, _ = _read_whole(self.path)
        return self.level * samples


@dataclass(frozen=True)
class ListeningSet:
    """Store a variant, and one run of this variant. The listening page plays the audio of this run.

    A variant is a group of runs that differ only in the seed.

    Args:
        number: number of the variant on the listening page, counted from 0.
        variant: a variant in which at least one run has scores.
        run: the run whose audio the page plays.
    """

    number: int
    variant: Variant
    run: RunScores

    def folder(self, track: str) -> Path:
        """Return the folder with the audio files that the run has written for a test track."""
        return self.run.folder / "audio" / track

    def file(self, track: str, name: str) -> Path:
        """Return the path of an audio file of a test track in the run folder.

        If a symbolic link leads out of the run folder, an InputError is raised.
        """
        return below(self.run.folder, "audio", track, f"{name}.flac")


def heard(variants: Sequence[Variant]) -> list[ListeningSet]:
    """Choose one run of each variant for the listening page. Variants without scores are left out.

    A variant is a group of runs that differ only in the seed.

    Args:
        variants: all variants of the report, also those without scores.

    Returns:
        One run for each variant with scores: the first run that has audio files, or the first run if no run has audio files.
    """
    scored = [variant for variant in variants if variant.runs]
    runs = [next((run for run in variant.runs if (run.folder / "audio").is_dir()), variant.runs[0]) for variant in scored]
    return [ListeningSet(number, variant, run) for number, (variant, run) in enumerate(zip(scored, runs, strict=True))]


def songs_of(players: Sequence[ListeningSet], most: int) -> list[str]:
    """Choose the test tracks of the listening page: the first tracks for which at least one run has audio files.

    Args:
        players: the chosen run of each variant.
        most: largest number of tracks.

    Returns:
        Names of at most `most` tracks, in the order of the tracks in `scores.json`.
    """
    tracks = [*players[0].run.scores["tracks"]]
    return [track for track in tracks if any(player.folder(track).is_dir() for player in players)][:most]


def leave(players: Sequence[ListeningSet], track: str, number: int, folder: Path) -> dict[str, Any]:
    """Write the audio files and spectrograms of a test track for the listening page.

    Args:
        players: the chosen run of each variant.
        track: name of the track.
        number: number of the track on the page. The names of the track's folders begin with this number.
        folder: folder of the report.

    Returns:
        The data that the page shows for the track: name, length in seconds, a list of rows for each target, and the reasons
        why audio files are missing. A row contains the path of an audio file and the path of the spectrogram of this file. If
        the audio file is missing, the row contains the reason instead.
    """
    targets = targets_of(players)
    clips = TrackClips(players, track, targets)
    gain = 1 / max([1.0, *(clip.peak for clip in clips.clips.values())])
    writer = _Writer(folder, f"{number}-{file_name(track)}", gain, clips.brightest)
    files = {key: writer.write(_file_name(key, players), clip) for key, clip in clips.clips.items()}
    return {
        "name": track,
        "seconds": max((clip.seconds for clip in clips.clips.values()), default=0.0),
        "targets": {target: [*_rows(players, target, files, clips)] for target in targets},
        "missing": sorted({*clips.missing.values()}),
    }


def targets_of(players: Sequence[ListeningSet]) -> list[str]:
    """List the targets that the page plays: all targets of all runs, except the residual.

    The residual is the mixture minus all targets. If the protocol scores the residual, `scores.json` lists the
    residual as a target.

    Args:
        players: the chosen run of each variant.

    Returns:
        Names of the targets, in the order of the runs.
    """
    names = dict.fromkeys(target for player in players for target in player.run.scores["summary"])
    return [target for target in names if target != players[0].run.scores["protocol"].get("rest")]


class TrackClips:
    """Collect, for one track, the audio files of all runs, the gain of each run, and the reasons why files are missing.

    Args:
        players: the chosen run of each variant.
        track: name of the track.
        targets: names of the targets.

    Attributes:
        clips: dictionary from the key of each readable audio file to its properties.
        missing: dictionary from the key of each missing audio file to the reason.
        levels: dictionary from the number of each variant to the factor that brings its audio files to the common gain; None
            if the gain of the run is unknown.
    """

    def __init__(self, players: Sequence[ListeningSet], track: str, targets: Sequence[str]) -> None:
        self.clips: dict[Key, AudioClip] = {}
        self.missing: dict[Key, str] = {}
        self.first: np.ndarray | None = None  # mixture of the first run that has one; its gain is used for all runs
        self.brightest = 0.0  # largest magnitude in the spectrogram of this mixture
        self.levels = {player.number: self._level(player, track) for player in players}
        for player in sorted(players, key=lambda player: self.levels[player.number] is None):
            self._collect(player, track, targets)

    def _collect(self, player: ListeningSet, track: str, targets: Sequence[str]) -> None:
        number, level = player.number, self.levels[player.number]
        names: dict[str, Key] = {RESIDUAL: (number, RESIDUAL)}
        names |= {f"{target}-estimate": (number, target) for target in targets}
        if level is not None or self.first is None:  # the gain of the true target must be known
            names |= {f"{target}-target": (None, target) for target in targets if (None, target) not in self.clips}
        for name, key in names.items():
            if audio_data := self._read(key, player, track, name):
                self.clips[key] = _clip(player.file(track, name), *audio_data, 1.0 if level is None else level)

    def _level(self, player: ListeningSet, track: str) -> float | None:
        """Return the factor that brings the audio of a run to the common gain of the track.

        If the run lacks the mixture file of the track, return None.
        """
        mixture = self._read((player.number, MIXTURE), player, track, MIXTURE)
        if mixture is None:
            return None
        samples, rate = mixture
        if self.first is None:
            self.first = samples
            self.clips[None, MIXTURE] = _clip(player.file(track, MIXTURE), samples, rate, 1.0)
            self.brightest = float(_stft(rate)(torch.from_numpy(samples).mean(dim=0)).abs().max())
            return 1.0
        first_rate = self.clips[None, MIXTURE].rate
        first = audio.resample(self.first, first_rate, rate) if rate < first_rate else self.first
        level = _rms(audio.resample(samples, rate, first_rate) if first_rate < rate else samples)
        return _rms(first) / level if level else 1.0

    def _read(self, key: Key, player: ListeningSet, track: str, name: str) -> tuple[np.ndarray, int] | None:
        """Read an audio file of a run, and return the samples and the sample rate.

        If the file cannot be read, return None, and store the reason in the attribute `missing`.
        """
        try:
            samples, rate = _read_whole(player.file(track, name))
        except InputError as error:
            self.missing[key] = str(error).replace(f"{player.run.folder.parent}/", "")
            return None
        self.missing.pop(key, None)
        return samples, rate


def _read_whole(path: Path) -> tuple[np.ndarray, int]:
    """Read an audio file, and return its samples and its sample rate in Hz.

    A file with more than 2**26 samples raises InputError.
    """
    blocks, count = [], 0
    with audio.open_audio(path) as file:
        for block in file:
            blocks.append(block)
            count += block.shape[1]
            if count > MOST_SAMPLES:
                problem = "this audio file is too long for the listening page of a report"
                raise InputError(path, problem, expected=f"at most {MOST_SAMPLES} samples")
        return np.concatenate(blocks, axis=1), file.rate


def _clip(path: Path, samples: np.ndarray, rate: int, level: float) -> AudioClip:
    return AudioClip(path, rate, samples.shape[1] / rate, level, level * float(np.abs(samples).max(initial=0)))


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples).mean()))


@dataclass(frozen=True)
class _Writer:
    """Write the audio files of a track with one gain, and the spectrograms of the track with one scale of brightness."""

    folder: Path
    track: str
    gain: float
    brightest: float

    def write(self, name: str, clip: AudioClip) -> dict[str, str]:
        """Write an audio file and its spectrogram.

        Return a dictionary with three texts: `audio` (path of the audio file), `picture` (path of the spectrogram), and `kHz`
        (highest frequency of the spectrogram). The paths are relative to the folder of the report.
        """
        flac, picture = Path("audio", self.track, f"{name}.flac"), Path("spectrograms", self.track, f"{name}.png")
        (self.folder / flac).parent.mkdir(parents=True, exist_ok=True)
        samples = clip.samples()
        integers = np.rint(32767 * np.clip(self.gain * samples, -1, 1)).astype(np.int16)
        audio.write(self.folder / flac, integers, clip.rate)
        waveform = torch.from_numpy(samples)
        pictures.strip(self.folder / picture, waveform, _stft(clip.rate), self.brightest, COLUMNS, ROWS)
        return {"audio": flac.as_posix(), "picture": picture.as_posix(), "kHz": f"{clip.rate / 2000:.3g}"}


def _rows(
    players: Sequence[ListeningSet], target: str, files: dict[Key, dict[str, str]], clips: TrackClips
) -> Iterator[dict[str, Any]]:
    def entry(key: Key, missing_key: Key) -> dict[str, str]:
        return files.get(key) or {"missing": clips.missing[missing_key]}

    yield {"kind": "mixture", "name": "mixture"} | entry((None, MIXTURE), (0, MIXTURE))
    yield {"kind": "target", "name": f"true {target}"} | entry((None, target), (None, target))
    for player in players:
        key, residual = (player.number, target), (player.number, RESIDUAL)
        levelled = clips.levels[player.number] is not None
        row = {"kind": "estimate", "name": player.variant.name, "run": player.run.folder.name, "levelled": levelled}
        yield row | entry(key, key) | {"residual": entry(residual, residual)}


def _stft(rate: int) -> STFT:
    """Return the STFT object that computes the spectrograms.

    The window is about 0.06 s long. The number of samples in the window is a power of two.
    """
    size = 2 ** round(np.log2(WINDOW_SECONDS * rate))
    return STFT(size, size // 4)


def _file_name(key: Key, players: Sequence[ListeningSet]) -> str:
    number, source = key
    name = file_name(source, distinct=True)
    if number is None:
        return name if source == MIXTURE else f"true-{name}"
    return f"{number}-{file_name(players[number].variant.name)}-{name}"
