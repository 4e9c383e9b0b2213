"""Command `anomaly`: find the parts of a sound that differ from the training data of an autoencoder."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from unbraid import audio
from unbraid.commands.keys import check_range
from unbraid.commands.trained_run import InputAudio, Trained, TrainedRunConfig
from unbraid.evaluation import pictures
from unbraid.evaluation.anomalies import Anomaly, Detector, auroc, inject, intervals, labelled, read_labels, write_labels
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write, below
from unbraid.runs.text import echo, write_csv


@dataclass
class AnomalyConfig(TrainedRunConfig):
    """Command-line keys of `scripts/anomaly.py`, in addition to those of `TrainedRunConfig`. The key `output` names a folder.

    Args:
        labels: CSV file with the start and stop of each true anomaly in the input file, in s; None if the true anomalies are
            unknown.
        inject: kinds of artificial anomalies, such as `clicks`, that are mixed into the sounds to test the detector.
        quantile: number in (0, 1). The threshold is this quantile of the reconstruction errors of all frames in the validation
            tracks. A frame with an error above the threshold is flagged as an anomaly.
        smooth_seconds: length of the moving average that smooths the reconstruction error of the frames, in s.
        gap_seconds: duration in s. Two flagged intervals are joined if the gap between these intervals is at most this long.
        seed: random seed of the injected anomalies.
    """

    labels: str | None = None
    inject: list[str] = field(default_factory=list)
    quantile: float = 0.99
    smooth_seconds: float = 0.3
    gap_seconds: float = 0.2
    seed: int = 0


def anomaly(config: DictConfig) -> None:
    """Detect anomalies in each sound, and write a picture and a table of the flagged intervals.

    If the true anomalies are known, the AUROC (area under the ROC curve) of the detector is printed.

    Args:
        config: composed config, see `AnomalyConfig`.

    Raises:
        InputError: a key is invalid, or the run, the input or the label file cannot be used.
    """
    trained = Trained(config, AnomalyConfig)
    _check(config)
    trained.spectra()
    labels = None if config.labels is None else read_labels(Path(config.labels).expanduser())
    torch.set_flush_denormal(True)
    detector = Detector(trained.task, config.smooth_seconds)
    valid = [sound.waveform for sound in trained.of_split("valid")]
    detector.fit((sound.waveform for sound in trained.of_split("train")), valid, config.quantile)
    folder = Path(config.output).expanduser() if config.output else below(trained.folder, "anomalies")
    folder.mkdir(parents=True, exist_ok=True)
    echo(f"{'sound':<32}{'flagged':>9}{'seconds':>9}{'AUROC':>8}")
    scores: list[np.ndarray] = []
    truths: list[np.ndarray | None] = []
    for sound in trained.sounds():
        if labels is not None:
            if scores:
                raise InputError(
                    "labels", "the file describes one sound, but the input contains several", hint="Set input to one audio file"
                )
            _check_labels(labels, sound, detector, config.labels)
        sound, known = _planted(sound, config, folder, detector) if config.inject else (sound, labels)
        sound_scores, truth = _search(sound, known, detector, config.gap_seconds, folder)
        scores.append(sound_scores)
        truths.append(truth)
    if len(scores) > 1 and all(truth is not None for truth in truths):
        area = auroc(np.concatenate(scores), np.concatenate([truth for truth in truths if truth is not None]))
        echo(f"{'all':<50}{_shown(area):>8}")
    echo(f"\nlook    {folder}")


def _search(
    sound: InputAudio, known: Sequence[Anomaly] | None, detector: Detector, gap_seconds: float, folder: Path
) -> tuple[np.ndarray, np.ndarray | None]:
    """Detect anomalies in one sound, and write a table and a picture. Return the error and the true label of each frame."""
    scores = detector.scores(sound.waveform)
    flagged = intervals(scores, detector.seconds_per_frame, gap_seconds)
    _write(folder, sound, flagged)
    truth = None if known is None else labelled(known, len(scores), detector.seconds_per_frame)
    area = None if truth is None else auroc(scores.numpy(), truth)
    spans = [(a.start, a.stop, a.kind) for a in known or ()]
    title = f"{sound.name}: {sound.label}" if sound.label else sound.name
    pictures.anomalies(_file(folder, sound, ".png"), title, scores, detector.seconds_per_frame, flagged, spans)
    seconds = sum(stop - start for start, stop, _ in flagged)
    echo(f"{title[:31]:<32}{len(flagged):>9}{seconds:>9.2f}{_shown(area):>8}")
    return scores.numpy(), truth


def _shown(area: float | None) -> str:
    return "–" if area is None else f"{area:.3f}"


def _check(config: DictConfig) -> None:
    if not 0 < config.quantile < 1:
        raise InputError("quantile", found=config.quantile, expected="a number between 0 and 1")
    for key in ("smooth_seconds", "gap_seconds"):
        check_range(config, key, 0, 60)
    if config.labels is not None and (config.inject or config.split):
        raise InputError(
            "labels",
            "this key needs a single input file without artificial anomalies",
            hint="Remove 'inject' and 'split', or remove 'labels'",
        )
    check_range(config, "seed", 0, float("inf"))


def _check_labels(labels: Sequence[Anomaly], sound: InputAudio, detector: Detector, path: str) -> None:
    """Raise InputError if a labelled anomaly ends after the end of the sound (with a tolerance of one frame)."""
    seconds = sound.waveform.shape[-1] / detector.features.sample_rate
    for label in labels:
        if label.stop > seconds + detector.seconds_per_frame:
            label_span = f"an anomaly from {label.start:g} to {label.stop:g} s"
            raise InputError(
                f"labels={path}",
                f"an anomaly in the file ends later than the sound {sound.name}",
                found=label_span,
                expected=f"times of at most {seconds:.2f} s",
            )


def _planted(sound: InputAudio, config: DictConfig, folder: Path, detector: Detector) -> tuple[InputAudio, list[Anomaly]]:
    """Mix artificial anomalies into a sound. Write the mixed sound as .flac, and the start and stop of each anomaly as .csv.

    The same seed, the same kinds of anomalies and the same sound always give the same anomalies.
    """
    random = np.random.default_rng([config.seed, zlib.crc32(_stem(sound).encode())])
    rate = detector.features.sample_rate
    samples, known = inject(sound.waveform.numpy(), list(config.inject), random, rate)
    write_labels(_file(folder, sound, "-planted.csv"), known)
    audio.write(_file(folder, sound, "-planted.flac"), samples / max(1.0, float(np.abs(samples).max())), rate)
    return sound._replace(waveform=torch.from_numpy(samples)), known


def _stem(sound: InputAudio) -> str:
    return f"{sound.name}-{sound.label}" if sound.label else sound.name


def _file(folder: Path, sound: InputAudio, ending: str) -> Path:
    """Return the path of the output file of a sound, with the given ending of the file name.

    If the name of the sound cannot be used as a file name, InputError is raised, see `unbraid.runs.files.below`.
    """
    return below(folder, f"{_stem(sound)}{ending}")


def _write(folder: Path, sound: InputAudio, flagged: list[tuple[float, float, float]]) -> None:
    with atomic_write(_file(folder, sound, ".csv")) as partial, partial.open("w", newline="") as file:
        write_csv(file, ["start", "stop", "score"], ((f"{a:.4f}", f"{b:.4f}", f"{score:.3f}") for a, b, score in flagged))
