"""Which of many recordings are the same one, by their fingerprints.

Haitsma & Kalker 2002: an inverted index finds words that two tracks share, the shared words vote for an offset, and the share
of differing bits at that offset confirms it. Here the index is one sorted array. Copies may begin earlier or later and may be
excerpts; copies at another speed are not found, nor more than `MOST_TRACKS` copies that all differ. Of equal copies only the
first is compared with the rest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# A word in more tracks than this is a standing sound and tells nothing; it also bounds the pairs, and so the memory.
MOST_TRACKS = 20
LEAST_VOTES = 3  # of the 385 words of 20 s, an mp3 half a hop later keeps 14 and another song none
LEAST_WORDS = 60  # 3 s: shorter excerpts agree by chance
MOST_ERRORS = 0.3  # worst codecs differ in 0.16 of the bits, and no two songs in less than 0.41 at any offset


@dataclass(frozen=True)
class Match:
    """Two tracks by index, the words by which the second begins later in the recording, and the share of differing bits."""

    first: int
    second: int
    offset_words: int
    bit_error_rate: float


def matches(fingerprints: Sequence[np.ndarray]) -> list[Match]:
    """Pairs of tracks that are one recording, `first` < `second`, in order.

    Args:
        fingerprints: uint32 `[words]` of each track; the word 0 says nothing.
    """
    equal = _equal(fingerprints)
    fingerprints = [words[:0] if i in equal else words for i, words in enumerate(fingerprints)]
    found = (_confirm(fingerprints, *candidate) for candidate in _candidates(fingerprints))
    copies = [Match(first, second, 0, 0.0) for second, first in equal.items()]
    return sorted([*copies, *(match for match in found if match)], key=lambda match: (match.first, match.second))


def _equal(fingerprints: Sequence[np.ndarray]) -> dict[int, int]:
    """The first track with the same words, of each that is not the first: however many there are."""
    firsts: dict[bytes, int] = {}
    telling = [i for i, words in enumerate(fingerprints) if np.count_nonzero(words) >= LEAST_WORDS]
    return {i: first for i in telling if (first := firsts.setdefault(fingerprints[i].tobytes(), i)) != i}


def _candidates(fingerprints: Sequence[np.ndarray]) -> Iterator[tuple[int, int, int]]:
    """Pairs of tracks in order, and the offset that most of their shared words vote for."""
    if not any(len(words) for words in fingerprints):
        return
    count, longest = len(fingerprints), max(len(words) for words in fingerprints)
    span = 2 * longest + 1
    ballots, votes = np.unique(_ballots(*_index(fingerprints), count, longest), return_counts=True)
    ballots, votes = ballots[votes >= LEAST_VOTES], votes[votes >= LEAST_VOTES]
    ballots = ballots[np.lexsort((-votes, ballots // span))]
    pairs, best = np.unique(ballots // span, return_index=True)
    for pair, ballot in zip(pairs.tolist(), ballots[best].tolist(), strict=True):
        yield *divmod(pair, count), ballot % span - longest


def _index(fingerprints: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words that 2 to `MOST_TRACKS` tracks share, sorted; the track of each; its first place there."""
    lengths = [len(words) for words in fingerprints]
    words = np.concatenate(fingerprints)
    order = np.argsort(words, kind="stable")
    words = words[order]
    tracks = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
    places = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])[order]
    once = np.append(True, (words[1:] != words[:-1]) | (tracks[1:] != tracks[:-1]))[: len(words)] & (words != 0)
    words, tracks, places = words[once], tracks[once], places[once]
    begins = np.flatnonzero(np.append(True, words[1:] != words[:-1])[: len(words)])
    sizes = np.diff(np.append(begins, len(words)))
    shared = np.repeat((sizes >= 2) & (sizes <= MOST_TRACKS), sizes)
    return words[shared], tracks[shared], places[shared]


def _ballots(words: np.ndarray, tracks: np.ndarray, places: np.ndarray, count: int, longest: int) -> np.ndarray:
    """One number for each word that two tracks share: which two, and at which offset."""
    ballots = []
    here = np.arange(len(words))
    for distance in range(1, MOST_TRACKS):
        here = here[here + distance < len(words)]
        here = here[words[here] == words[here + distance]]
        there = here + distance
        offsets = places[here] - places[there] + longest
        ballots.append((tracks[here].astype(np.int64) * count + tracks[there]) * (2 * longest + 1) + offsets)
    return np.concatenate(ballots)


def _confirm(fingerprints: Sequence[np.ndarray], first: int, second: int, offset: int) -> Match | None:
    a, b = fingerprints[first][max(0, offset) :], fingerprints[second][max(0, -offset) :]
    length = min(len(a), len(b))
    a, b = a[:length], b[:length]
    tells = (a != 0) & (b != 0)
    compared = int(tells.sum())
    if compared < LEAST_WORDS:
        return None
    rate = float(np.bitwise_count(a[tells] ^ b[tells]).sum()) / (32 * compared)
    return Match(first, second, offset, rate) if rate <= MOST_ERRORS else None
