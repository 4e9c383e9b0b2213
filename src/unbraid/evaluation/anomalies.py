"""Detect anomalies in sounds with a trained autoencoder, and mix artificial anomalies into sounds to test the detection.

The autoencoder reconstructs a spectrogram. Each frame has a reconstruction error in each octave. The logarithms of these errors
are the error profile of the frame. A frame is anomalous if its error profile is far from the error profiles of normal frames.
An anomalous frame can have a large error (an unknown sound) or a small error (a gap in the audio, since silence is easy to
reconstruct).
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
from unbraid.runs.files import refuse_missing
from unbraid.tasks.reconstruction import ReconstructionTask

KINDS = {"clicks": 0.3, "dropout": 0.4, "hum": 1.0, "wrong_instrument": 1.0}  # duration in seconds
APART_SECONDS = 0.5  # smallest distance of injected anomalies


@dataclass(frozen=True)
class Anomaly:
    """Store the time interval and the kind of an anomaly in a sound.

    Args:
        start: start of the anomaly in seconds.
        stop: end of the anomaly in seconds.
        kind: kind of the anomaly, such as `hum`; empty if the kind is unknown.
    """

    start: float
    stop: float
    kind: str


class Detector:
    """Score each frame of a sound: a high score means that the frame differs from the frames of normal sounds.

    Frames are compared by error profiles. The error profile of a frame is the logarithm of the autoencoder's reconstruction
    error in each octave.

    Args:
        task: trained autoencoder of spectrograms.
        smooth_seconds: length of the moving average over the errors of neighbouring frames, in seconds.
    """

    def __init__(self, task: ReconstructionTask, smooth_seconds: float) -> None:
        self.task, self.features = task, spectra_of(task)
        self.width = max(1, round(smooth_seconds * self.features.sample_rate / self.features.stft.hop_length))
        bins = self.features.vector_size
        self.octave = torch.arange(bins).clamp(min=2).log2().floor().long() - 1  # of each bin; the first four share octave 0
        self.octave.clamp_(max=max(0, round(math.log2(bins)) - 2))  # an incomplete octave at the top joins the one below

    @torch.inference_mode()
    def fit(self, train: Iterable[Tensor], valid: Iterable[Tensor], quantile: float) -> None:
        """Learn the error profiles of normal frames, and a limit: a frame with a distance above the limit is anomalous.

        The error profile of a frame is the logarithm of the autoencoder's reconstruction error in each octave. The distance
        is between the error profile of a frame and the learned error profiles.

        Args:
            train: waveforms of normal sounds, from which the error profiles are learned.
            valid: waveforms of other normal sounds, from which the limit is learned.
            quantile: share in (0, 1). The limit is chosen so that this share of the frames in `valid` is not anomalous.

        Shape:
            Each waveform is [C, samples].
        """
        errors = torch.cat([self._errors(waveform) for waveform in train])
        self.floor = (0.01 * errors.mean(dim=0)).clamp(min=1e-12)  # avoids the logarithm of 0 in silence
        self.normal = PCA(errors.shape[1], errors.shape[1])
        self.normal.add((errors + self.floor).log10())
        self.normal.solve()
        self.limit = 1.0
        self.limit = max(float(torch.cat([self.scores(waveform) for waveform in valid]).quantile(quantile)), 1e-12)

    @torch.inference_mode()
    def scores(self, waveform: Tensor) -> Tensor:
        """Return the distance of each frame from normal frames, divided by the limit that `fit` has learned.

        The distance is the Mahalanobis distance between the error profile of the frame and the error profiles of normal frames.
        An error profile is the logarithm of the reconstruction error in each octave.

        Args:
            waveform: sound to score.

        Returns:
            Score of each frame; a frame with a score above 1 is anomalous.

        Shape:
            [C, samples] -> [frames].
        """
        components = self.normal.encode((self._errors(waveform) + self.floor).log10())
        deviations = self.normal.variances.sqrt()
        varying = deviations > 1e-3 * deviations[0]
        return (components[:, varying] / deviations[varying]).norm(dim=1) / self.limit

    @property
    def seconds_per_frame(self) -> float:
        """Time between two frames, in seconds."""
        return self.features.stft.hop_length / self.features.sample_rate

    def _errors(self, waveform: Tensor) -> Tensor:
        """Return the squared reconstruction error of each frame in each octave. Shape: [C, n] -> [frames, octaves].

        The error is averaged over channels, over the bins of an octave, and over neighbouring frames.
        """
        spectrum = self.features.analyse(waveform[None])
        errors = (rebuilt_spectrum(self.task, spectrum) - spectrum[0]).square().mean(dim=0)
        octaves = [errors[self.octave == octave].mean(dim=0) for octave in range(int(self.octave[-1]) + 1)]
        return torch.stack([smoothed(octave, self.width) for octave in octaves], dim=1)


def smoothed(values: Tensor, width: int) -> Tensor:
    """Return the moving average over `width` values. Near both ends, fewer values are averaged. Shape: [n] -> [n]."""
    sums = torch.nn.functional.pad(values.double().cumsum(0), (1, 0))
    centre = torch.arange(len(values))
    low, high = (centre - (width - 1) // 2).clamp(min=0), (centre + width // 2 + 1).clamp(max=len(values))
    return ((sums[high] - sums[low]) / (high - low)).float()


def intervals(scores: Tensor, seconds_per_frame: float, longest_gap_seconds: float) -> list[tuple[float, float, float]]:
    """Find the time intervals in which the anomaly scores are above 1, and join intervals with a short gap between them.

    Args:
        scores: anomaly score of each frame.
        seconds_per_frame: time between two frames, in seconds.
        longest_gap_seconds: longest gap between two intervals that are joined, in seconds.

    Returns:
        One triple for each interval: start in seconds, stop in seconds, and largest score.

    Shape:
        scores [frames].
    """
    joined: list[tuple[float, float, float]] = []
    for frame in torch.nonzero(scores > 1).flatten().tolist():
        start, stop, score = frame * seconds_per_frame, (frame + 1) * seconds_per_frame, float(scores[frame])
        if joined and start - joined[-1][1] <= longest_gap_seconds:
            joined[-1] = (joined[-1][0], stop, max(joined[-1][2], score))
        else:
            joined.append((start, stop, score))
    return joined


def labelled(anomalies: Sequence[Anomaly], frames: int, seconds_per_frame: float) -> np.ndarray:
    """Find the frames that are within a known anomaly.

    Args:
        anomalies: known anomalies.
        frames: number of frames.
        seconds_per_frame: time between two frames, in seconds.

    Returns:
        Array with one boolean for each frame: True if the frame is within a known anomaly.

    Shape:
        Result [frames].
    """
    times = np.arange(frames) * seconds_per_frame
    return np.array([any(a.start <= time < a.stop for a in anomalies) for time in times], dtype=bool)


def auroc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the area under the ROC curve: the probability that an anomalous frame has a higher score than a normal frame.

    Args:
        scores: score of each frame.
        labels: True for an anomalous frame, False for a normal frame.

    Returns:
        Area in [0, 1]; None if all frames are anomalous or all frames are normal.

    Shape:
        scores [n], labels [n].
    """
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
    """Read anomalies from a CSV file. Columns: `start` and `stop` in seconds, and optionally `kind`.

    Args:
        path: CSV file.

    Returns:
        Anomalies in the order of the file.

    Raises:
        InputError: the file is missing, lacks a column, or contains an invalid interval.
    """
    if not path.is_file():
        refuse_missing(f"labels={path}", path)
    try:
        with path.open(newline="") as file:
            table = csv.DictReader(file)
            columns = table.fieldnames or ()
            complete = {"start", "stop"} <= {*columns}
            rows = [(float(row["start"]), float(row["stop"]), row.get("kind") or "") for row in table] if complete else []
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(
            path, f"the table contains invalid times ({error})", expected="seconds in the columns 'start' and 'stop'"
        ) from error
    if not complete:
        raise InputError(path, "a column is missing", found=", ".join(columns) or "no columns", expected="'start' and 'stop'")
    for line, (start, stop, _) in enumerate(rows, start=2):
        if not 0 <= start < stop:
            interval = f"{start} to {stop} s"
            raise InputError(
                f"{path}, line {line}", "the time interval is invalid", found=interval, expected="times with 0 <= start < stop"
            )
    return [Anomaly(*row) for row in rows]


def write_labels(path: Path, anomalies: Sequence[Anomaly]) -> None:
    """Write anomalies to a CSV file. Columns: `start` and `stop` in seconds, and `kind`."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["start", "stop", "kind"])
        table.writerows((f"{a.start:.4f}", f"{a.stop:.4f}", a.kind) for a in anomalies)


def inject(
    samples: np.ndarray, kinds: Sequence[str], random: np.random.Generator, sample_rate: int
) -> tuple[np.ndarray, list[Anomaly]]:
    """Return a copy of a sound with artificial anomalies, such as clicks, at random positions.

    The distance between two anomalies, and between an anomaly and an end of the sound, is at least half a second.

    Args:
        samples: waveform, float32. Samples outside the anomalies are not changed.
        kinds: kind of each anomaly: `clicks`, `dropout` (a gap in the audio), `hum` or `wrong_instrument`. A kind may be
            repeated.
        random: random number generator for the positions and the audio of the anomalies.
        sample_rate: sample rate in Hz.

    Returns:
        Waveform with the anomalies, and the list of the anomalies.

    Shape:
        samples [C, n] -> [C, n].

    Raises:
        InputError: a kind is unknown, or the sound is too short.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError("inject", "unknown kind of anomaly", found=kind, hint=unknown(kind, KINDS))
    seconds = samples.shape[1] / sample_rate
    spare = seconds - sum(KINDS[kind] for kind in kinds) - APART_SECONDS * (len(kinds) + 1)
    if spare < 0:
        problem, expected = f"the sound is too short for {len(kinds)} anomalies", f"at least {seconds - spare:.1f} s"
        raise InputError("inject", problem, found=f"{seconds:.1f} s", expected=expected)
    out = samples.copy()
    level = float(np.sqrt(np.mean(samples**2)))
    gaps = np.diff(np.sort(random.uniform(0, spare, len(kinds))), prepend=0)
    time, anomalies = 0.0, []
    for kind, gap in zip(random.permutation(list(kinds)).tolist(), gaps, strict=True):
        start = time + APART_SECONDS + float(gap)
        time = start + KINDS[kind]
        first, last = round(start * sample_rate), round(time * sample_rate)
        out[:, first:last] = _disturbed(kind, samples[:, first:last], level, random, sample_rate)
        anomalies.append(Anomaly(first / sample_rate, last / sample_rate, kind))
    return out, anomalies


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
