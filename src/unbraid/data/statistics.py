"""What mixtures sound like on average: mean and deviation of each frequency over all frames of some tracks.

Summed in float64, a stretch at a time, so that tracks of any length fit into memory; computed once and kept.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, from_numpy
from torch.nn import functional
from tqdm import tqdm

from unbraid.data.store import StoredTrack
from unbraid.data.tracks import MIXTURE
from unbraid.dsp.stft import STFT
from unbraid.runs.files import atomic_write

STRETCH_FRAMES = 1024


class Statistics(NamedTuple):
    """Mean and standard deviation of magnitudes, [F] both."""

    mean: Tensor
    deviation: Tensor


def statistics(tracks: Sequence[StoredTrack], stft: STFT, folder: Path, progress: bool) -> Statistics:
    """Of the mixtures' magnitudes, the mean of the channels, in every frame of every track.

    Args:
        tracks: all of one rate, in any order.
        stft: the transform.
        folder: where results are kept, by tracks and transform; other processes wait for the one that computes.
        progress: show it.
    """
    # The name of an entry is a hash of the files it was made of, and of rate and channels.
    tracks = sorted(tracks, key=lambda track: track.entry.name)
    key = json.dumps([[track.entry.name for track in tracks], stft.n_fft, stft.hop_length, stft.edges])
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                computed = _compute(tqdm(tracks, "statistics", unit="track", leave=False, disable=not progress), stft)
                with atomic_write(path) as partial:
                    np.savez(partial, mean=computed.mean.numpy(), deviation=computed.deviation.numpy())
    with np.load(path) as kept:
        return Statistics(from_numpy(kept["mean"]), from_numpy(kept["deviation"]))


def _compute(tracks: "tqdm[StoredTrack]", stft: STFT) -> Statistics:
    frames, total, squares = 0, torch.zeros(()), torch.zeros(())
    for track in tracks:
        for magnitudes in _stretches(track, stft):
            precise = magnitudes.mean(dim=0).double()
            frames += precise.shape[-1]
            total, squares = total + precise.sum(dim=-1), squares + precise.square().sum(dim=-1)
    mean = total / frames
    return Statistics(mean, (squares / frames - mean.square()).clamp(min=0).sqrt())


def _stretches(track: StoredTrack, stft: STFT) -> Iterator[Tensor]:
    """Magnitudes of the whole mixture, some frames at a time: [C, F, frames]."""
    hop, row, samples = stft.hop_length, track.row(MIXTURE), track.samples
    margin = stft.n_fft // hop + 1  # frames whose windows would reach beyond the samples at hand
    whole = stft.frames(track.length)
    for first in range(0, whole, STRETCH_FRAMES):
        start, stop = max(0, first - margin), first + STRETCH_FRAMES + margin
        heard = from_numpy(np.multiply(samples[row, :, start * hop : stop * hop], np.float32(track.scale)))
        missing = max(0, stft.n_fft - heard.shape[-1])  # of a track that is shorter than a window
        yield stft(functional.pad(heard, (0, missing))).abs()[..., first - start :][..., : min(STRETCH_FRAMES, whole - first)]
