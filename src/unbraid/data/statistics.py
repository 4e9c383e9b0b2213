"""Compute means and standard deviations of the mixtures in a data set, and store the results in files.

`statistics` computes mean and standard deviation of the STFT magnitudes at each frequency, over all tracks. `song_scales`
computes mean and standard deviation of the samples of each track.

The tracks are read in segments, so that tracks of any length fit into memory. Sums are in float64.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, from_numpy
from torch.nn import functional
from tqdm import tqdm

from unbraid.data.store import StoredTrack
from unbraid.data.tracks import MIXTURE
from unbraid.dsp.input_scale import InputScale
from unbraid.dsp.stft import STFT
from unbraid.runs.files import atomic_write
from unbraid.runs.locks import FileLock

SEGMENT_FRAMES = 1024
SEGMENT_SAMPLES = 2**20


class Statistics(NamedTuple):
    """Mean and standard deviation of the STFT magnitudes of mixtures at each of the F frequencies. Shape: [F] each."""

    mean: Tensor
    deviation: Tensor


def statistics(tracks: Sequence[StoredTrack], stft: STFT, folder: Path, progress: bool) -> Statistics:
    """Return the mean and the standard deviation of the STFT magnitudes of all mixtures at each frequency, over all frames.

    The magnitudes are first averaged over the audio channels. If several processes need the same statistics, one process
    computes the statistics and the other processes wait.

    Args:
        tracks: tracks at one sample rate, in any order.
        stft: short-time Fourier transform of the mixtures.
        folder: folder in which the results are stored. The name of a file is a hash of the tracks and of the transform.
        progress: whether a progress bar is shown.

    Returns:
        The mean and the standard deviation at each frequency.
    """
    # The name of an entry is a hash of its files, sample rate and channels.
    tracks = sorted(tracks, key=lambda track: track.entry.name)
    key = [[track.entry.name for track in tracks], stft.n_fft, stft.hop_length, stft.edges]
    stored = _stored(folder, key, lambda: _compute(_with_progress(tracks, progress), stft)._asdict())
    return Statistics(from_numpy(stored["mean"]), from_numpy(stored["deviation"]))


def song_scales(tracks: Sequence[StoredTrack], folder: Path, progress: bool) -> Tensor:
    """Return the mean and the standard deviation of the mixture of each track, for the normalisation in training.

    Args:
        tracks: tracks at one sample rate.
        folder: folder in which the results are stored. The name of a file is a hash of the tracks.
        progress: whether a progress bar is shown.

    Shape:
        [2, tracks]: means, then standard deviations.

    Returns:
        The mean and the standard deviation for each track, float32.
    """
    key = ["song scales", [track.entry.name for track in tracks]]
    stored = _stored(
        folder,
        key,
        lambda: {"scales": np.array([InputScale.of(_samples(track)) for track in _with_progress(tracks, progress)])},
    )
    return from_numpy(stored["scales"]).float().T


def _stored(folder: Path, key: list[Any], compute: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Read arrays from a file whose name is a hash of `key`. If the file is missing, compute and store the arrays first."""
    path = folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                computed = {name: np.asarray(values) for name, values in compute().items()}
                with atomic_write(path) as partial:
                    np.savez(partial, allow_pickle=False, **computed)
    with np.load(path) as stored:
        return dict(stored)


def _with_progress(tracks: Sequence[StoredTrack], progress: bool) -> "tqdm[StoredTrack]":
    return tqdm(tracks, "statistics", unit="track", leave=False, disable=not progress or None)


def _samples(track: StoredTrack) -> Iterator[Tensor]:
    """Yield the samples of a whole mixture, in segments of at most `SEGMENT_SAMPLES` samples: [C, samples]."""
    mixture = track.samples[track.row(MIXTURE)]
    for start in range(0, track.length, SEGMENT_SAMPLES):
        yield from_numpy(np.multiply(mixture[:, start : start + SEGMENT_SAMPLES], np.float32(track.scale)))


def _compute(tracks: "tqdm[StoredTrack]", stft: STFT) -> Statistics:
    frames, total, squares = 0, torch.zeros(()), torch.zeros(())
    for track in tracks:
        for magnitudes in _segments(track, stft):
            precise = magnitudes.mean(dim=0).double()
            frames += precise.shape[-1]
            total, squares = total + precise.sum(dim=-1), squares + precise.square().sum(dim=-1)
    mean = total / frames
    return Statistics(mean, (squares / frames - mean.square()).clamp(min=0).sqrt())


def _segments(track: StoredTrack, stft: STFT) -> Iterator[Tensor]:
    """Yield the STFT magnitudes of a whole mixture, in segments of at most `SEGMENT_FRAMES` frames: [C, F, frames]."""
    hop, row, samples = stft.hop_length, track.row(MIXTURE), track.samples
    margin = stft.n_fft // hop + 1  # frames at the ends of a segment whose windows need samples outside it
    n_frames = stft.frames(track.length)
    for first in range(0, n_frames, SEGMENT_FRAMES):
        start, stop = max(0, first - margin), first + SEGMENT_FRAMES + margin
        segment = from_numpy(np.multiply(samples[row, :, start * hop : stop * hop], np.float32(track.scale)))
        missing = max(0, stft.n_fft - segment.shape[-1])  # above 0 if the track is shorter than a window
        magnitudes = stft(functional.pad(segment, (0, missing))).abs()
        yield magnitudes[..., first - start :][..., : min(SEGMENT_FRAMES, n_frames - first)]
