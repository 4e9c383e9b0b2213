"""Keep a mixture in memory until its sources are separated, so that both can be written at the same positions in time."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from unbraid import audio

Blocks = Iterable[np.ndarray]  # consecutive blocks [channels, samples] of one signal, float32


class MixtureBuffer:
    """Yield the blocks of a mixture, and keep a copy of all samples until `take` removes them.

    The separator returns the sources of a block only after it has read later blocks of the mixture. `take` then
    returns the samples of the mixture at the same positions in time as these sources.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.blocks, self.stored, self.waiting = blocks, deque[np.ndarray](), 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            self.stored.append(block)
            self.waiting += block.shape[1]
            yield block

    def take(self, samples: int) -> np.ndarray:
        """Remove the oldest `samples` samples from the buffer, and return them. Shape: [c, samples]."""
        parts, self.waiting = [], self.waiting - samples
        while samples:
            block = self.stored.popleft()
            parts.append(block[:, :samples])
            if block.shape[1] > samples:
                self.stored.appendleft(block[:, samples:])
            samples -= parts[-1].shape[1]
        return np.concatenate(parts, axis=1)


def with_sources(mixture: np.ndarray, flat: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Convert the sources to the number of channels of the mixture. Return the mixture and the converted sources.

    `flat` contains the channels of all sources, one source after another. `count` is the number S of sources.

    Shape: mixture [c, n], flat [S * C, n] -> mixture [c, n], sources [S, c, n].
    """
    sources = flat.reshape(count, -1, flat.shape[1])
    return mixture, np.stack([audio.to_channels(source, len(mixture)) for source in sources])
