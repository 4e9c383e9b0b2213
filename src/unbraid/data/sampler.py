"""The sampler: which chunk of which track, as a pure function of (seed, step, rank).

It is counter-based (Philox), so the order of the data does not depend on the number of workers, resuming needs no state,
and the chunks of all ranks together are those that one process with the whole batch would draw.

An epoch is a deck of slots, dealt without repetition: each slot is a stretch of start positions of its own, so that no two
chunks of an epoch are the same one, on whichever rank, and every track has its share in every epoch (but for the cards that no
longer fill a batch). Chunks that are drawn again because they are silent come from anywhere.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch.utils.data import Sampler

from unbraid.runs.errors import InputError

# What a stream of random numbers is for: the last word of Philox's counter.
DECK, POSITION, REMIX, REDRAW = range(4)
REDRAWS = 8
Draw = tuple[np.ndarray, np.ndarray]  # track numbers and start positions, [batch, sources] each
Silent = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of a draw: which of its chunks are, [batch]


@dataclass(frozen=True)
class Sampling:
    """How training chunks are drawn.

    Args:
        over: `tracks`: every track has as many chunks; `time`: every second has.
        remix: probability that a chunk takes each source from a track of its own.
        skip_below_db: a chunk in which a target lies below this loudness (RMS, dB of full scale) is drawn again; None: never.
        keep_silent: share of such chunks that is kept.
    """

    over: Literal["tracks", "time"]
    remix: float
    skip_below_db: float | None
    keep_silent: float

    def __post_init__(self) -> None:
        for name in ("remix", "keep_silent"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in [0, 1], found {getattr(self, name)}")
        if self.skip_below_db is not None and self.skip_below_db >= 0:
            raise InputError(f"skip_below_db must be below 0 dB, found {self.skip_below_db}")


class Positions:
    """All start positions of chunks in some tracks, cut into slots.

    Args:
        tracks: numbers of the tracks.
        rooms: how many start positions each has.
        slots: at least so many; `over` tracks, each has the same number.
        over: see `Sampling`.
    """

    def __init__(self, tracks: np.ndarray, rooms: np.ndarray, slots: int, over: Literal["tracks", "time"]) -> None:
        self.tracks, self.rooms, self.over = tracks, rooms, over
        self.slots_per_track = -(-slots // len(tracks))
        self.slots = self.slots_per_track * len(tracks)
        self.ends = np.cumsum(rooms)

    def in_slots(self, slots: np.ndarray, uniform: np.ndarray) -> Draw:
        """A position within each slot. Shape: [n] each."""
        if self.over == "time":
            return self._at(_within(slots, self.slots, np.full(len(slots), self.ends[-1]), uniform))
        chosen, part = np.divmod(slots, self.slots_per_track)
        return self.tracks[chosen], _within(part, self.slots_per_track, self.rooms[chosen], uniform)

    def anywhere(self, uniform: np.ndarray) -> Draw:
        """Shape: uniform [n, 2] -> [n] each."""
        if self.over == "time":
            return self._at((uniform[:, 0] * self.ends[-1]).astype(np.int64))
        chosen = (uniform[:, 0] * len(self.tracks)).astype(np.int64)
        return self.tracks[chosen], (uniform[:, 1] * self.rooms[chosen]).astype(np.int64)

    def _at(self, positions: np.ndarray) -> Draw:
        chosen = np.searchsorted(self.ends, positions, side="right")
        return self.tracks[chosen], positions - (self.ends[chosen] - self.rooms[chosen])


def _within(part: np.ndarray, parts: int, room: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """A whole number in the given one of `parts` equal parts of [0, room)."""
    low, high = part * room // parts, (part + 1) * room // parts
    return low + (uniform * np.maximum(high - low, 1)).astype(np.int64)


@dataclass(frozen=True)
class ChunkSampler:
    """Draws the chunks of each step.

    Args:
        seed: of the whole run.
        lengths: of the tracks, in samples.
        holds: which source each track has [tracks, sources]; where one lacks some, every source has a track of its own.
        chunk: in samples; of a shorter track the chunk starts at its beginning.
        batch_size: chunks per step and rank.
        chunks_per_track: an epoch has so many, times the number of tracks.
        sampling: how they are drawn.
        silent: tells which chunks of a draw are; needed where `sampling` skips them.
        rank: of this process.
        world_size: how many processes draw.
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
    decks: dict[int, tuple[int, np.ndarray]] = field(init=False, default_factory=dict)

    @cached_property
    def positions(self) -> list[Positions]:
        """Where chunks of each source start."""
        rooms = np.maximum(np.asarray(self.lengths) - self.chunk, 0) + 1
        columns = [np.flatnonzero(column) for column in self.holds.T]
        return [Positions(tracks, rooms[tracks], self._slots, self.sampling.over) for tracks in columns]

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self._slots // self._chunks_per_step)

    @property
    def _slots(self) -> int:
        """Chunks of an epoch, before they are dealt in whole batches."""
        return self.chunks_per_track * int(self.holds.sum(axis=0).max())

    @property
    def _chunks_per_step(self) -> int:
        """Of all ranks."""
        return self.batch_size * self.world_size

    def draw(self, step: int) -> Draw:
        """Tracks and start positions of this rank's batch at `step`, counted over the whole run. Shape: [batch, sources]."""
        tracks, starts = self._deal(step)
        if self.silent is None or self.sampling.skip_below_db is None:
            return tracks, starts
        kept = self._uniform(step, REDRAW) < self.sampling.keep_silent
        for attempt in range(1, REDRAWS + 1):
            again = self.silent(tracks, starts) & ~kept
            if not again.any():
                break
            other = self._redraw(step, attempt)
            tracks, starts = (np.where(again[:, None], new, old) for new, old in zip(other, (tracks, starts), strict=True))
        return tracks, starts

    def _deal(self, step: int) -> Draw:
        """The next cards of each source's deck."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        cards = self._mine(np.arange(self._chunks_per_step)) + step_of_epoch * self._chunks_per_step
        draws = []
        for source, positions in enumerate(self.positions):
            deck = self._deck(epoch, source)
            draws.append(positions.in_slots(deck[cards % positions.slots], self._uniform(step, POSITION, source)))
        return self._remixed(step, 0, draws)

    def _deck(self, epoch: int, source: int) -> np.ndarray:
        """The slots of a source in the order of an epoch; only the last one is kept."""
        held, deck = self.decks.get(source, (-1, np.empty(0)))
        if held != epoch:
            deck = self._random(epoch, DECK, source).permutation(self.positions[source].slots)
            self.decks[source] = (epoch, deck)
        return deck

    def _redraw(self, step: int, attempt: int) -> Draw:
        draws = [
            positions.anywhere(self._uniform(step, REDRAW, source, attempt, 2))
            for source, positions in enumerate(self.positions)
        ]
        return self._remixed(step, attempt, draws)

    def _remixed(self, step: int, attempt: int, draws: Sequence[Draw]) -> Draw:
        """Each source from its own draw where a chunk is a remix, all from the first one's where it is not."""
        tracks, starts = (np.stack(part, axis=1) for part in zip(*draws, strict=True))
        if not self.holds.all():
            return tracks, starts
        remixed = (self._uniform(step, REMIX, 0, attempt) < self.sampling.remix)[:, None]
        return np.where(remixed, tracks, tracks[:, :1]), np.where(remixed, starts, starts[:, :1])

    def _mine(self, of_all_ranks: np.ndarray) -> np.ndarray:
        return of_all_ranks[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]

    def _uniform(self, step: int, purpose: int, source: int = 0, attempt: int = 0, *width: int) -> np.ndarray:
        """This rank's share of what is drawn for all of them. Shape: [batch, *width]."""
        return self._mine(self._random(step, purpose, source, attempt).random((self._chunks_per_step, *width)))

    def _random(self, count: int, purpose: int, source: int = 0, attempt: int = 0) -> np.random.Generator:
        """For a step, or for the epoch of a deck."""
        return np.random.Generator(np.random.Philox(key=[self.seed, source], counter=[0, attempt, count, purpose]))


class EpochSteps(Sampler[int]):
    """The steps of one epoch, or what is left of it, numbered over the whole run.

    Args:
        steps_per_epoch: how many.
        position: tells which epoch it is, and how many of its steps a resumed run has behind it.
    """

    def __init__(self, steps_per_epoch: int, position: Callable[[], tuple[int, int]]) -> None:
        self.steps_per_epoch, self.position = steps_per_epoch, position

    def __iter__(self) -> Iterator[int]:
        epoch, done = self.position()
        first = epoch * self.steps_per_epoch + done  # where all are done, the next epoch's first
        return iter(range(first, (first // self.steps_per_epoch + 1) * self.steps_per_epoch))

    def __len__(self) -> int:
        return self.steps_per_epoch


def epoch_position(trainer: Any) -> tuple[int, int]:
    """The epoch, and how many of its steps are done in a run that goes on from a checkpoint.

    Lightning knows both when it asks for the first batch, but tells samplers the epoch only later.

    Args:
        trainer: Lightning's; None outside of training.
    """
    if trainer is None:
        return 0, 0
    loop = trainer.fit_loop
    epochs, batches = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current
    if not loop.restarting or epochs.ready == epochs.processed:
        return epochs.processed, 0
    # A checkpoint that is written as a batch ends comes before the batch is counted as completed; a step that was cut
    # off is made again.
    ended = batches.ready == batches.processed == batches.completed + 1
    return epochs.processed, batches.completed + int(ended)
