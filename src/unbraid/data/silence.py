"""Which chunks a target is silent in, by the loudness that the store keeps of every 100 ms."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from unbraid.data.fill import BLOCK_SECONDS, FLOOR_DB
from unbraid.data.store import StoredTrack


class SilentChunks:
    """Tells which chunks of a draw have a target below a loudness; a target is silent when all of its sources are.

    Args:
        tracks: of the training split.
        sources: that are drawn.
        targets: weights over them [targets, sources].
        chunk_seconds: length of a chunk.
        sample_rate: in Hz.
        below_db: RMS in dB of full scale.
    """

    def __init__(
        self, tracks: Sequence[StoredTrack], sources: Sequence[str], targets: Tensor, chunk_seconds: float, sample_rate: int,
        below_db: float,
    ) -> None:  # fmt: skip
        self.tracks, self.sources, self.uses = tracks, sources, targets.numpy() > 0
        self.blocks, self.per_block = max(1, round(chunk_seconds / BLOCK_SECONDS)), round(BLOCK_SECONDS * sample_rate)
        self.below_db = below_db

    def __call__(self, tracks: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Shape: [B, sources] each -> [B]."""
        loudness = np.array([self._of_chunk(*chunk) for chunk in zip(tracks.tolist(), starts.tolist(), strict=True)])
        quiet = loudness < self.below_db
        return np.logical_or.reduce([quiet[:, uses].all(axis=1) for uses in self.uses])

    def _of_chunk(self, tracks: list[int], starts: list[int]) -> list[float]:
        """The loudness of each source in dB."""
        levels = {number: self.tracks[number].levels() for number in tracks}
        draws = zip(self.sources, tracks, starts, strict=True)
        return [self._mean(levels[number], self.tracks[number].rows, source, start) for source, number, start in draws]

    def _mean(self, levels: np.ndarray, rows: tuple[str, ...], source: str, start: int) -> float:
        if source not in rows:
            return FLOOR_DB
        first = start // self.per_block
        decibels = levels[rows.index(source), first : first + self.blocks].astype(np.float64)
        return float(10 * np.log10(np.mean(10 ** (decibels / 10))))
