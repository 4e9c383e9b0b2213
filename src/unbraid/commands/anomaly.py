"""Anomaly: where sounds are unlike what an autoencoder was trained on."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from unbraid import audio
from unbraid.commands.trained_run import InputAudio, Trained, TrainedRunConfig
from unbraid.evaluation import pictures
from unbraid.evaluation.anomalies import Anomaly, Detector, auroc, inject, intervals, labelled, read_labels, write_labels
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write, below
from unbraid.runs.text import echo, write_csv


@dataclass
class AnomalyConfig(TrainedRunConfig):
    """See `TrainedRunConfig`; output is a folder.

    Args:
        labels: CSV of true anomalies (start, stop in seconds), where one file is searched.
        inject: kinds of anomalies to put into the sounds before they are searched, for a test.
        quantile: of normal frames, in (0, 1): what lies above is flagged.
        smooth_seconds: over which errors are averaged.
        gap_seconds: shorter pauses do not divide a flagged interval.
        seed: of what is planted.
    """

    labels: str | None = None
    inject: list[str] = field(default_factory=list)
    quantile: float = 0.99
    smooth_seconds: float = 0.3
    gap_seconds: float = 0.2
    seed: int = 0


def anomaly(config: DictConfig) -> None:
    """For each sound a picture, a table of flagged intervals and, where there are labels, the area under the ROC curve."""
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
    values: list[np.ndarray] = []
    truths: list[np.ndarray | None] = []
    for sound in trained.sounds():
        if labels is not None and values:
            raise InputError(f"labels={config.labels}: are of one sound, and there are several; choose one file as input")
        if labels is not None:
            _check_labels(labels, sound, detector, config.labels)
        sound, known = _planted(sound, config, folder, detector) if config.inject else (sound, labels)
        scores = detector.scores(sound.waveform)
        found = intervals(scores, detector.seconds_per_frame, config.gap_seconds)
        _write(folder, sound, found)
        truth = None if known is None else labelled(known, len(scores), detector.seconds_per_frame)
        area = None if truth is None else auroc(scores.numpy(), truth)
        spans = [] if known is None else [(a.start, a.stop, a.kind) for a in known]
        title = f"{sound.name}: {sound.label}" if sound.label else sound.name
        pictures.anomalies(_file(folder, sound, ".png"), title, scores, detector.seconds_per_frame, found, spans)
        shown = "–" if area is None else f"{area:.3f}"
        echo(f"{title[:31]:<32}{len(found):>9}{sum(stop - start for start, stop, _ in found):>9.2f}{shown:>8}")
        values.append(scores.numpy())
        truths.append(truth)
    if len(values) > 1 and all(truth is not None for truth in truths):
        area = auroc(np.concatenate(values), np.concatenate([truth for truth in truths if truth is not None]))
        echo(f"{'all':<50}{'–' if area is None else f'{area:.3f}':>8}")
    echo(f"\nlook    {folder}")


def _check(config: DictConfig) -> None:
    if not 0 < config.quantile < 1:
        raise InputError(f"quantile must lie between 0 and 1, found {config.quantile}")
    for name in ("smooth_seconds", "gap_seconds"):
        if not 0 <= config[name] <= 60:
            raise InputError(f"{name} must lie in [0, 60], found {config[name]}")
    if config.labels is not None and (config.inject or config.split):
        raise InputError("labels: are of one input file, expected neither plant nor split beside them")
    if config.seed < 0:
        raise InputError(f"seed must be at least 0, found {config.seed}")


def _check_labels(labels: Sequence[Anomaly], sound: InputAudio, detector: Detector, path: str) -> None:
    """InputError where one lies beyond the end of the sound, by more than rounding."""
    seconds = sound.waveform.shape[-1] / detector.features.sample_rate
    for label in labels:
        if label.stop > seconds + detector.seconds_per_frame:
            raise InputError(
                f"labels={path}: has an anomaly from {label.start:g} to {label.stop:g} s, "
                f"and {sound.name} ends at {seconds:.2f} s"
            )


def _planted(sound: InputAudio, config: DictConfig, folder: Path, detector: Detector) -> tuple[InputAudio, list[Anomaly]]:
    """Disturbed; what was done to it and how it sounds is left in the folder. The same whatever else is searched."""
    random = np.random.default_rng([config.seed, zlib.crc32(_stem(sound).encode())])
    rate = detector.features.sample_rate
    samples, known = inject(sound.waveform.numpy(), list(config.inject), random, rate)
    write_labels(_file(folder, sound, "-planted.csv"), known)
    audio.write(_file(folder, sound, "-planted.flac"), samples / max(1.0, float(np.abs(samples).max())), rate)
    return sound._replace(waveform=torch.from_numpy(samples)), known


def _stem(sound: InputAudio) -> str:
    return f"{sound.name}-{sound.label}" if sound.label else sound.name


def _file(folder: Path, sound: InputAudio, ending: str) -> Path:
    """Return the path of a file about a sound; InputError if the label, which the run names, or a link leads elsewhere."""
    return below(folder, f"{_stem(sound)}{ending}")


def _write(folder: Path, sound: InputAudio, found: list[tuple[float, float, float]]) -> None:
    with atomic_write(_file(folder, sound, ".csv")) as partial, partial.open("w", newline="") as file:
        write_csv(file, ["start", "stop", "score"], ((f"{a:.4f}", f"{b:.4f}", f"{score:.3f}") for a, b, score in found))
