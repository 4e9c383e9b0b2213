"""Draw training chunks. Tracks, start positions and lengths of chunks depend only on the seed, the training step and the rank.

The random generator is counter-based (Philox): each random number is computed from the seed and the step. So the order of the
data does not depend on the number of worker processes, and a resumed run needs no saved state. All ranks (training processes)
together draw the same chunks as one process with a batch of the same total size.

For each source, the possible start positions in all tracks are divided into slots (ranges of positions). An epoch uses the
slots in random order (the deck), each slot once. So no slot is used twice in an epoch, on any rank, and a track has the same
number of chunks in every epoch. There are two exceptions. Slots at the end of the deck that do not fill a batch are not used.
A silent chunk is replaced by a chunk at any position of any track.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch.utils.data import Sampler

from unbraid.runs.errors import InputError

# Purposes of the streams of random numbers: the last word of Philox's counter.
DECK, POSITION, REMIX, REDRAW, LENGTH = range(5)
REDRAWS = 8  # number of times that a silent chunk is drawn again at most
Draw = tuple[np.ndarray, np.ndarray]  # track indices and start positions, [batch, sources] each
# Function from tracks, start positions and length of the chunks to a mask of the silent chunks, [batch].
Silent = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Sampling:
    """Options for drawing training chunks.

    Args:
        over: `tracks`: the same number of chunks is drawn from every track. `time`: the number of chunks of a track is
            about proportional to the length of the track.
        remix: probability that the sources of a chunk are drawn from different tracks, in [0, 1].
        skip_below_db: if a target of a chunk is below this RMS level, another chunk is drawn instead. The level is in dB
            relative to full scale, and below 0. None: all chunks are used.
        keep_silent: share, in [0, 1], of the silent chunks (see `skip_below_db`) that are not replaced.
        shortest_seconds: shortest length of a chunk, in seconds. The chunks of each step have one random length between this
            length and that of the data set (`chunk_seconds`). None: all chunks have the length `chunk_seconds`.
    """

    over: Literal["tracks", "time"]
    remix: float
    skip_below_db: float | None
    keep_silent: float
    shortest_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("remix", "keep_silent"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(name, "out of range", found=getattr(self, name), expected="a number in [0, 1]")
        if self.skip_below_db is not None and self.skip_below_db >= 0:
            raise InputError("skip_below_db", "out of range", found=f"{self.skip_below_db:g} dB", expected="a level below 0 dB")


class Positions:
    """Divide all possible start positions of chunks in the given tracks into slots (ranges of positions).

    Args:
        tracks: indices of the tracks.
        rooms: number of possible start positions in each track.
        slots: required number of slots; it is rounded up to a multiple of the number of tracks.
        over: `tracks`: each track has the same number of slots. `time`: all slots have nearly the same size.
    """

    def __init__(self, tracks: np.ndarray, rooms: np.ndarray, slots: int, over: Literal["tracks", "time"]) -> None:
        self.tracks, self.rooms, self.over = tracks, rooms, over
        self.slots_per_track = -(-slots // len(tracks))
        self.slots = self.slots_per_track * len(tracks)
        self.ends = np.cumsum(rooms)

    def in_slots(self, slots: np.ndarray, uniform: np.ndarray) -> Draw:
        """Return a random track and start position from each of the given slots (ranges of positions).

        Args:
            slots: numbers of the slots.
            uniform: random numbers in [0, 1), one for each slot.

        Shape:
            slots, uniform: [n]; each array of the result: [n].

        Returns:
            The index of the track and the start position for each slot.
        """
        if self.over == "time":
            return self._at(_within(slots, self.slots, np.full(len(slots), self.ends[-1]), uniform))
        chosen, part = np.divmod(slots, self.slots_per_track)
        return self.tracks[chosen], _within(part, self.slots_per_track, self.rooms[chosen], uniform)

    def anywhere(self, uniform: np.ndarray) -> Draw:
        """Convert random numbers in [0, 1) to n random tracks and start positions. Shape: uniform [n, 2] -> [n], [n]."""
        if self.over == "time":
            return self._at((uniform[:, 0] * self.ends[-1]).astype(np.int64))
        chosen = (uniform[:, 0] * len(self.tracks)).astype(np.int64)
        return self.tracks[chosen], (uniform[:, 1] * self.rooms[chosen]).astype(np.int64)

    def _at(self, positions: np.ndarray) -> Draw:
        """Convert positions in the concatenation of all tracks to track indices and start positions within the tracks."""
        chosen = np.searchsorted(self.ends, positions, side="right")
        return self.tracks[chosen], positions - (self.ends[chosen] - self.rooms[chosen])


def _within(part: np.ndarray, parts: int, room: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Divide the integers from 0 to `room` - 1 into `parts` equal ranges. Return a random integer from range number `part`.

    `uniform` is the random number in [0, 1) from which the integer is computed.
    """
    low, high = part * room // parts, (part + 1) * room // parts
    return low + (uniform * np.maximum(high - low, 1)).astype(np.int64)


@dataclass(frozen=True)
class ChunkSampler:
    """Draw the tracks and start positions of the training chunks of each step.

    Args:
        seed: random seed of the run.
        lengths: lengths of the tracks, in samples.
        holds: for each track and source, True if the track contains the source. If any track lacks a source, the sources of
            every chunk are drawn from different tracks.
        chunk: length of the longest chunk, in samples; the chunk of a shorter track starts at sample 0.
        batch_size: number of chunks per step and rank.
        accumulate: number of steps between two updates of the weights. The chunks of these steps are those of one step with a
            batch that is `accumulate` times as large.
        chunks_per_track: average number of chunks per track in an epoch.
        sampling: options for drawing the chunks.
        silent: function that gets the tracks, the start positions and the length of chunks, and returns True for each silent
            chunk. Required if `sampling.skip_below_db` is set.
        song_column: column of `holds` for the chunks that are not remixed: all sources of such a chunk use the track and the
            position that are drawn for this column. None: the first column, if every track contains every source.
        weights: for each track, the number of chunks for each chunk from a track of weight 1. None: all weights are 1.
        rank: rank of this process.
        world_size: number of processes.
        shortest: length of the shortest chunk, in samples; None: all chunks have the length `chunk`.

    Shape:
        holds: bool [tracks, sources].
    """

    seed: int
    lengths: Sequence[int]
    holds: np.ndarray
    chunk: int
    batch_size: int
    chunks_per_track: int
    sampling: Sampling
    silent: Silent | None = None
    rank: int = 0
    world_size: int = 1
    song_column: int | None = None
    weights: Sequence[int] | None = None
    accumulate: int = 1
    shortest: int | None = None
    decks: dict[int, tuple[int, np.ndarray]] = field(init=False, default_factory=dict)

    @cached_property
    def positions(self) -> list[Positions]:
        """Return, for each source, the positions at which a chunk can start, in all tracks that contain the source.

        The positions are divided into slots (ranges of positions).
        """
        rooms = np.maximum(np.asarray(self.lengths) - self.chunk, 0) + 1
        columns = [np.repeat(np.arange(len(column)), column) for column in self._counts.T]
        return [Positions(tracks, rooms[tracks], self._slots, self.sampling.over) for tracks in columns]

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of training steps of an epoch: the steps of at least one update."""
        return self.accumulate * max(1, self._slots // self._chunks_per_update)

    @property
    def _slots(self) -> int:
        """Return the number of chunks in an epoch. The chunks of an incomplete last update are counted, but not used."""
        return self.chunks_per_track * int(self._counts.sum(axis=0).max())

    @property
    def _counts(self) -> np.ndarray:
        """Return the weight of each track for each source, 0 if the track lacks the source. Shape: int [tracks, sources]."""
        return self.holds * np.array(self.weights or [1] * len(self.holds))[:, None]

    @property
    def _chunks_per_update(self) -> int:
        """Return the number of chunks on all ranks between two updates of the weights."""
        return self.batch_size * self.world_size * self.accumulate

    def draw(self, step: int) -> Draw:
        """Draw the track and the start position of each chunk of this process (rank) at a training step.

        Args:
            step: number of the step, counted over the whole run.

        Shape:
            each array of the result: [batch, sources].

        Returns:
            The index of the track and the start position of each chunk, for each source.
        """
        tracks, starts = self._deal(step)
        if self.silent is None or self.sampling.skip_below_db is None:
            return tracks, starts
        keep = self._uniform(step, REDRAW) < self.sampling.keep_silent
        for attempt in range(1, REDRAWS + 1):
            again = self.silent(tracks, starts, self.samples(step)) & ~keep
            if not again.any():
                break
            other = self._redraw(step, attempt)
            tracks, starts = (np.where(again[:, None], new, old) for new, old in zip(other, (tracks, starts), strict=True))
        return tracks, starts

    def samples(self, step: int) -> int:
        """Return the length of the chunks of a step, in samples. It is equal on all ranks, and in all steps of an update."""
        if self.shortest is None:
            return self.chunk
        return int(self._random(step // self.accumulate, LENGTH).integers(self.shortest, self.chunk, endpoint=True))

    def _deal(self, step: int) -> Draw:
        """Draw the chunks of this process at a step. Each chunk starts in a different slot (range of positions)."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        update = step_of_epoch // self.accumulate
        indices = self._of_this_step(np.arange(self._chunks_per_update), step) + update * self._chunks_per_update
        draws = []
        for source, positions in enumerate(self.positions):
            deck = self._deck(epoch, source)
            draws.append(positions.in_slots(deck[indices % positions.slots], self._uniform(step, POSITION, source)))
        return self._remixed(step, 0, draws)

    def _deck(self, epoch: int, source: int) -> np.ndarray:
        """Return the numbers of all slots (ranges of start positions) of a source, in the random order of an epoch."""
        cached_epoch, deck = self.decks.get(source, (-1, np.empty(0)))
        if cached_epoch != epoch:
            deck = self._random(epoch, DECK, source).permutation(self.positions[source].slots)
            self.decks[source] = (epoch, deck)
        return deck

    def _redraw(self, step: int, attempt: int) -> Draw:
        """Draw the chunks that replace the silent chunks of a step. The new chunks start at any position of any track."""
        draws = [
            positions.anywhere(self._uniform(step, REDRAW, source, attempt, 2))
            for source, positions in enumerate(self.positions)
        ]
        return self._remixed(step, attempt, draws)

    def _remixed(self, step: int, attempt: int, draws: Sequence[Draw]) -> Draw:
        """Combine the drawn tracks and start positions of all sources to the chunks of a step.

        In a remixed chunk, each source has its own track and position. In any other chunk, all sources use the track and
        position of one column, by default the first.
        """
        tracks, starts = (np.stack(part, axis=1) for part in zip(*draws, strict=True))
        if self.song_column is None and not self.holds.all():
            return tracks, starts
        remixed = (self._uniform(step, REMIX, 0, attempt) < self.sampling.remix)[:, None]
        song = slice(self.song_column or 0, (self.song_column or 0) + 1)
        return np.where(remixed, tracks, tracks[:, song]), np.where(remixed, starts, starts[:, song])

    def _of_this_step(self, values: np.ndarray, step: int) -> np.ndarray:
        """Return the values of this rank and step from the values of an update."""
        first = (self.rank * self.accumulate + step % self.accumulate) * self.batch_size
        return values[first : first + self.batch_size]

    def _uniform(self, step: int, purpose: int, source: int = 0, attempt: int = 0, *width: int) -> np.ndarray:
        """Draw random numbers in [0, 1) for all chunks of an update, and return the numbers of this process and step.

        Shape: [batch, *width].
        """
        update = step // self.accumulate
        return self._of_this_step(
            self._random(update, purpose, source, attempt).random((self._chunks_per_update, *width)), step
        )

    def _random(self, count: int, purpose: int, source: int = 0, attempt: int = 0) -> np.random.Generator:
        """Return the random generator for one purpose, such as `REMIX`, at update `count`. For `DECK`, `count` is the epoch."""
        return np.random.Generator(np.random.Philox(key=[self.seed, source], counter=[0, attempt, count, purpose]))


class EpochSteps(Sampler[int]):
    """Iterate over the numbers of the remaining steps of the current epoch. Steps are counted over the whole run.

    Args:
        steps_per_epoch: number of steps of an epoch.
        position: function that returns the number of the current epoch, and the number of finished steps of this epoch, see
            `epoch_position`.
    """

    def __init__(self, steps_per_epoch: int, position: Callable[[], tuple[int, int]]) -> None:
        self.steps_per_epoch, self.position = steps_per_epoch, position

    def __iter__(self) -> Iterator[int]:
        epoch, done = self.position()
        first = epoch * self.steps_per_epoch + done  # the first step of the next epoch if all steps are done
        return iter(range(first, (first // self.steps_per_epoch + 1) * self.steps_per_epoch))

    def __len__(self) -> int:
        return self.steps_per_epoch


def epoch_position(trainer: Any) -> tuple[int, int]:
    """Return the current epoch of a run, and the number of steps of this epoch that were finished before the run was resumed.

    The epoch is read from the training loop of Lightning. The usual method `set_epoch` of a sampler cannot be used: in a
    resumed run, Lightning calls this method too late, after the first batch was requested.

    Args:
        trainer: trainer of Lightning; None outside of training.

    Returns:
        The number of the current epoch, and the number of finished steps; 0 steps if the run was not resumed in this epoch.
    """
    if trainer is None:
        return 0, 0
    loop = trainer.fit_loop
    epochs, batches = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current
    if not loop.restarting or epochs.ready == epochs.processed:
        return epochs.processed, 0
    # A checkpoint at the end of a batch is written before the batch is counted as completed. An interrupted step is repeated.
    ended = batches.ready == batches.processed == batches.completed + 1
    return epochs.processed, batches.completed + int(ended)
