"""The sampler: which chunk of which track, as a pure function of (seed, step, rank).

It is counter-based (Philox), so the order of the data does not depend on the number of workers, resuming needs no state,
and the chunks of all ranks together are those that one process with the whole batch would draw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler


@dataclass(frozen=True)
class ChunkSampler:
    """Draws chunks uniformly over tracks, then uniformly over the positions in a track.

    Args:
        seed: of the whole run.
        lengths: of the tracks, in samples.
        chunk: in samples; of a shorter track the chunk starts at its beginning.
        batch_size: chunks per step and rank.
        rank: of this process.
        world_size: how many processes draw.
    """

    seed: int
    lengths: Sequence[int]
    chunk: int
    batch_size: int
    rank: int = 0
    world_size: int = 1

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Track numbers and start positions of this rank's batch at `step`, counted over the whole run. Shape: [batch] each."""
        generator = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, step]))
        uniform = generator.random((self.batch_size * self.world_size, 2))
        uniform = uniform[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]
        tracks = (uniform[:, 0] * len(self.lengths)).astype(np.int64)
        room = np.maximum(np.asarray(self.lengths)[tracks] - self.chunk, 0) + 1
        return tracks, (uniform[:, 1] * room).astype(np.int64)


class EpochSteps(Sampler[int]):
    """The steps of one epoch, numbered over the whole run. Lightning calls `set_epoch`."""

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch, self.epoch = steps_per_epoch, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.steps_per_epoch
        return iter(range(first, first + self.steps_per_epoch))

    def __len__(self) -> int:
        return self.steps_per_epoch
