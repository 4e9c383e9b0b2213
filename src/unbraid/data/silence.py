"""Find training chunks in which a target is silent, from the RMS levels that are stored for each 100 ms of a track."""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from unbraid.data.fill import BLOCK_SECONDS, FLOOR_DB
from unbraid.data.store import StoredTrack


class SilentChunks:
    """Find training chunks with a silent target. A target is silent if all of its sources are below the level `below_db`.

    Args:
        tracks: tracks of the training split.
        sources: names of the sources from which chunks are drawn.
        targets: weight of each of these sources in each target, [targets, sources].
        sample_rate: sample rate of the tracks, in Hz.
        below_db: RMS level below which a source is silent, in dB relative to full scale.
    """

    def __init__(
        self, tracks: Sequence[StoredTrack], sources: Sequence[str], targets: Tensor, sample_rate: int, below_db: float
    ) -> None:
        self.tracks, self.sources, self.uses = tracks, sources, targets.numpy() > 0
        self.sample_rate, self.per_block, self.below_db = sample_rate, round(BLOCK_SECONDS * sample_rate), below_db

    def __call__(self, tracks: np.ndarray, starts: np.ndarray, samples: int) -> np.ndarray:
        """Return True for each chunk with a silent target.

        Args:
            tracks: index of the track from which each source of each chunk is taken.
            starts: index of the first sample of each source of each chunk, counted from the start of the track.
            samples: length of the chunks, in samples.

        Shape:
            tracks, starts: [B, sources]. Returned value: [B].

        Returns:
            True for each chunk in which at least one target is silent.
        """
        blocks = max(1, round(samples / self.sample_rate / BLOCK_SECONDS))
        levels = np.array([self._chunk_levels(*chunk, blocks) for chunk in zip(tracks.tolist(), starts.tolist(), strict=True)])
        silent = levels < self.below_db
        return np.logical_or.reduce([silent[:, uses].all(axis=1) for uses in self.uses])

    def _chunk_levels(self, tracks: list[int], starts: list[int], blocks: int) -> list[float]:
        """Return the RMS level of each source in one chunk, in dB relative to full scale; infinity for unknown sources."""
        levels = {number: self.tracks[number].levels() for number in tracks}
        draws = zip(self.sources, tracks, starts, strict=True)
        return [
            math.inf
            if source in self.tracks[number].unknown
            else self._mean_db(levels[number], self.tracks[number].rows, source, start, blocks)
            for source, number, start in draws
        ]

    def _mean_db(self, levels: np.ndarray, rows: tuple[str, ...], source: str, start: int, blocks: int) -> float:
        if source not in rows:
            return FLOOR_DB
        first = start // self.per_block
        decibels = levels[rows.index(source), first : first + blocks].astype(np.float64)
        return float(10 * np.log10(np.mean(10 ** (decibels / 10))))
