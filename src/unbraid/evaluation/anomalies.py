"""Anomalies: where a sound is unlike what an autoencoder was trained on; and disturbances to test that.

A frame is judged by its error profile: the logarithms of the errors in each octave. Where that lies far from the profiles of
normal frames something is wrong, be the error too large (a foreign sound) or too small (a dropout is rebuilt very well).
"""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unbraid.evaluation.reconstruction import rebuilt_spectrum, spectra_of
from unbraid.nets.pca import PCA
from unbraid.runs.errors import InputError, unknown
from unbraid.tasks.reconstruction import ReconstructionTask

KINDS = {"clicks": 0.3, "dropout": 0.4, "hum": 1.0, "wrong_instrument": 1.0}  # seconds
APART_SECONDS = 0.5


@dataclass(frozen=True)
class Anomaly:
    """What is wrong from `start` to `stop`, in seconds."""

    start: float
    stop: float
    kind: str


class Detector:
    """Scores frames against what normal frames are like.

    Args:
        task: a trained autoencoder.
        smooth_seconds: over which errors are averaged.
    """

    def __init__(self, task: ReconstructionTask, smooth_seconds: float) -> None:
        self.task, self.features = task, spectra_of(task)
        self.width = max(1, round(smooth_seconds * self.features.sample_rate / self.features.stft.hop_length))
        bins = self.features.vector_size
        self.octave = torch.arange(bins).clamp(min=2).log2().floor().long() - 1  # of each bin; below the fourth they are one
        self.octave.clamp_(max=max(0, round(math.log2(bins)) - 2))  # what is left at the top is none of its own

    @torch.inference_mode()
    def fit(self, train: Iterable[Tensor], valid: Iterable[Tensor], quantile: float) -> None:
        """Learn normal profiles, and how far from them those of unseen normal sounds lie.

        Args:
            train: waveforms [C, samples].
            valid: others.
            quantile: of the distances of normal frames, that a score of 1 stands for.
        """
        errors = torch.cat([self._errors(waveform) for waveform in train])
        self.floor = (0.01 * errors.mean(dim=0)).clamp(min=1e-12)  # silence has no logarithm
        self.normal = PCA(errors.shape[1], errors.shape[1])
        self.normal.add((errors + self.floor).log10())
        self.normal.solve()
        self.limit = 1.0
        self.limit = max(float(torch.cat([self.scores(waveform) for waveform in valid]).quantile(quantile)), 1e-12)

    @torch.inference_mode()
    def scores(self, waveform: Tensor) -> Tensor:
        """How far each frame's profile lies from normal ones (Mahalanobis), 1 being the limit. Shape: [C, n] -> [frames]."""
        components = self.normal.encode((self._errors(waveform) + self.floor).log10())
        deviations = self.normal.variances.sqrt()
        known = deviations > 1e-3 * deviations[0]
        return (components[:, known] / deviations[known]).norm(dim=1) / self.limit

    @property
    def seconds_per_frame(self) -> float:
        return self.features.stft.hop_length / self.features.sample_rate

    def _errors(self, waveform: Tensor) -> Tensor:
        """Squared error in each octave, averaged over channels, bins and neighbours. Shape: [C, n] -> [frames, octaves]."""
        spectrum = self.features.analyse(waveform[None])
        errors = (rebuilt_spectrum(self.task, spectrum) - spectrum[0]).square().mean(dim=0)
        octaves = [errors[self.octave == octave].mean(dim=0) for octave in range(int(self.octave[-1]) + 1)]
        return torch.stack([smoothed(octave, self.width) for octave in octaves], dim=1)


def smoothed(values: Tensor, width: int) -> Tensor:
    """The mean of `width` neighbours, of fewer at the ends. Shape: [n]."""
    sums = torch.nn.functional.pad(values.double().cumsum(0), (1, 0))
    centre = torch.arange(len(values))
    low, high = (centre - (width - 1) // 2).clamp(min=0), (centre + width // 2 + 1).clamp(max=len(values))
    return ((sums[high] - sums[low]) / (high - low)).float()


def intervals(scores: Tensor, seconds_per_frame: float, longest_gap_seconds: float) -> list[tuple[float, float, float]]:
    """Stretches above 1 with their largest score; a shorter gap than the given one does not divide them. Shape: [frames]."""
    found: list[tuple[float, float, float]] = []
    for frame in torch.nonzero(scores > 1).flatten().tolist():
        start, stop, score = frame * seconds_per_frame, (frame + 1) * seconds_per_frame, float(scores[frame])
        if found and start - found[-1][1] <= longest_gap_seconds:
            found[-1] = (found[-1][0], stop, max(found[-1][2], score))
        else:
            found.append((start, stop, score))
    return found


def labelled(anomalies: Sequence[Anomaly], frames: int, seconds_per_frame: float) -> np.ndarray:
    """Which frames lie in an anomaly. Shape: bool [frames]."""
    times = np.arange(frames) * seconds_per_frame
    return np.array([any(a.start <= time < a.stop for a in anomalies) for time in times], dtype=bool)


def auroc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Chance that a labelled frame scores higher than another one; None where all frames are of one kind. Shape: [n] each."""
    if labels.all() or not labels.any():
        return None
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.searchsorted(ordered, scores, side="left")
    last = np.searchsorted(ordered, scores, side="right")
    ranks = (first + last + 1) / 2  # the mean rank of equal scores
    positives, negatives = int(labels.sum()), int((~labels).sum())
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def read_labels(path: Path) -> list[Anomaly]:
    """A CSV with the columns start and stop in seconds and, where it has one, kind; InputError where it is none."""
    if not path.is_file():
        raise InputError(f"labels={path}: no such file")
    try:
        with path.open(newline="") as file:
            table = csv.DictReader(file)
            if not {"start", "stop"} <= {*(table.fieldnames or ())}:
                raise InputError(f"{path}: has the columns {table.fieldnames or 'none'}, expected start and stop")
            rows = [(float(row["start"]), float(row["stop"]), row.get("kind") or "") for row in table]
    except (ValueError, TypeError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: start and stop must be seconds: {error}") from error
    for line, (start, stop, _) in enumerate(rows, start=2):
        if not 0 <= start < stop:
            raise InputError(f"{path}, line {line}: starts at {start} s and stops at {stop} s")
    return [Anomaly(*row) for row in rows]


def write_labels(path: Path, anomalies: Sequence[Anomaly]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["start", "stop", "kind"])
        table.writerows((f"{a.start:.4f}", f"{a.stop:.4f}", a.kind) for a in anomalies)


def inject(
    samples: np.ndarray, kinds: Sequence[str], random: np.random.Generator, sample_rate: int
) -> tuple[np.ndarray, list[Anomaly]]:
    """Disturb a sound at random places, one for each kind, half a second and more from each other and from the ends.

    Args:
        samples: float32; those outside the anomalies stay as they are.
        kinds: of `KINDS`, each as often as wanted.
        random: says where and how.
        sample_rate: in Hz.

    Shape:
        samples [C, n] -> [C, n].

    Raises:
        InputError: a kind is unknown, or the sound is too short.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"plant: there is no anomaly '{kind}'; {unknown(kind, KINDS)}")
    seconds = samples.shape[1] / sample_rate
    spare = seconds - sum(KINDS[kind] for kind in kinds) - APART_SECONDS * (len(kinds) + 1)
    if spare < 0:
        raise InputError(f"plant: {seconds:.1f} s are too short for {len(kinds)} anomalies, expected {seconds - spare:.1f} s")
    out = samples.copy()
    level = float(np.sqrt(np.mean(samples**2)))
    gaps = np.diff(np.sort(random.uniform(0, spare, len(kinds))), prepend=0)
    time, found = 0.0, []
    for kind, gap in zip(random.permutation(list(kinds)).tolist(), gaps, strict=True):
        start = time + APART_SECONDS + float(gap)
        time = start + KINDS[kind]
        first, last = round(start * sample_rate), round(time * sample_rate)
        out[:, first:last] = _disturbed(kind, samples[:, first:last], level, random, sample_rate)
        found.append(Anomaly(first / sample_rate, last / sample_rate, kind))
    return out, found


def _disturbed(kind: str, samples: np.ndarray, level: float, random: np.random.Generator, rate: int) -> np.ndarray:
    n = samples.shape[1]
    t = np.arange(n) / rate
    if kind == "dropout":
        return np.zeros_like(samples)
    if kind == "clicks":
        clicks = np.zeros(n)
        clicks[random.choice(n, max(1, n // round(0.01 * rate)), replace=False)] = 1
        return (samples + 8 * level * clicks * random.choice([-1, 1], n)).astype(np.float32)
    if kind == "hum":
        hum = sum(np.sin(2 * np.pi * 50 * h * t) / np.sqrt(h) for h in range(1, 20, 2) if 50 * h < rate / 2)
        return (samples + level * hum).astype(np.float32)
    notes = random.uniform(500, 900, 4)[np.minimum((4 * t / t[-1]).astype(int), 3)]
    phase = 2 * np.pi * np.cumsum(notes) / rate
    orders = [ratio for ratio in (1, 1.41, 2.76, 3.93, 5.4) if 900 * ratio < rate / 2]
    bell = sum(np.sin(ratio * phase) for ratio in orders) / len(orders)
    return (0.3 * samples + 3 * level * bell).astype(np.float32)
