"""Compare fingerprints to find recordings that occur more than once. A fingerprint contains one 32-bit word for each 50 ms.

Method: Haitsma & Kalker 2002. An inverted index (here one sorted array) finds the words that occur in two tracks. Each of these
words is a vote for an offset in time between the two tracks. Two tracks match if few bits differ at the offset with the most
votes.

Copies that start earlier or later are found, and also copies that are excerpts. Copies at another speed are not found. Copies
with equal fingerprints are found without the index. If a recording has more than `MOST_TRACKS` copies with unequal
fingerprints, these copies are not found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Words that occur in more tracks than this are constant sounds and are ignored. This also limits the number of pairs in memory.
MOST_TRACKS = 20
LEAST_VOTES = 3  # of the 385 words of 20 s, an mp3 that starts half a hop later keeps 14; a different song keeps 0
LEAST_WORDS = 60  # 3 s; shorter excerpts may match by chance
MOST_ERRORS = 0.3  # share of wrong bits: at most 0.16 for the worst codecs, at least 0.41 for different songs at any offset


@dataclass(frozen=True)
class Match:
    """A pair of tracks with the same recording.

    Args:
        first: index of the first track.
        second: index of the second track, larger than `first`.
        offset_words: position in the first track at which the second track starts, in fingerprint words of 50 ms. Negative if
            the second track starts earlier in the recording than the first track.
        bit_error_rate: share of the bits that differ between the two fingerprints, in [0, 1].
    """

    first: int
    second: int
    offset_words: int
    bit_error_rate: float


def matches(fingerprints: Sequence[np.ndarray]) -> list[Match]:
    """Find the pairs of tracks with the same recording.

    Args:
        fingerprints: fingerprint of each track, one 32-bit word for each 50 ms. Words with the value 0 (silence) are ignored.

    Shape:
        fingerprints: uint32 [words] each.

    Returns:
        The pairs, sorted by the indices of the two tracks.
    """
    equal = _equal(fingerprints)
    fingerprints = [words[:0] if i in equal else words for i, words in enumerate(fingerprints)]
    similar = (_confirm(fingerprints, *candidate) for candidate in _candidates(fingerprints))
    copies = [Match(first, second, 0, 0.0) for second, first in equal.items()]
    return sorted([*copies, *(match for match in similar if match)], key=lambda match: (match.first, match.second))


def _equal(fingerprints: Sequence[np.ndarray]) -> dict[int, int]:
    """Find tracks whose fingerprint equals the fingerprint of an earlier track.

    The result is a dictionary from the index of each of these tracks to the index of the first track with the same fingerprint.
    """
    firsts: dict[bytes, int] = {}
    long_enough = [i for i, words in enumerate(fingerprints) if np.count_nonzero(words) >= LEAST_WORDS]
    return {i: first for i in long_enough if (first := firsts.setdefault(fingerprints[i].tobytes(), i)) != i}


def _candidates(fingerprints: Sequence[np.ndarray]) -> Iterator[tuple[int, int, int]]:
    """Yield the pairs of tracks that may contain the same recording: index of first and second track, and offset in words.

    A word is the 32 bits of a fingerprint for 50 ms of audio. If the second track is shifted by the offset, at least
    `LEAST_VOTES` words of the two tracks are equal.
    """
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
    """Find the fingerprint words (32 bits for 50 ms of audio) that occur in at least 2 and at most `MOST_TRACKS` tracks.

    The result is three arrays of equal length, sorted by word. Each entry of the first array is a word. The second array
    contains the index of a track with this word. The third array contains the first position of the word in this track.
    """
    lengths = [len(words) for words in fingerprints]
    words = np.concatenate(fingerprints)
    order = np.argsort(words, kind="stable")
    words = words[order]
    tracks = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
    positions = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])[order]
    once = np.append(True, (words[1:] != words[:-1]) | (tracks[1:] != tracks[:-1]))[: len(words)] & (words != 0)
    words, tracks, positions = words[once], tracks[once], positions[once]
    begins = np.flatnonzero(np.append(True, words[1:] != words[:-1])[: len(words)])
    sizes = np.diff(np.append(begins, len(words)))
    shared = np.repeat((sizes >= 2) & (sizes <= MOST_TRACKS), sizes)
    return words[shared], tracks[shared], positions[shared]


def _ballots(words: np.ndarray, tracks: np.ndarray, positions: np.ndarray, count: int, longest: int) -> np.ndarray:
    """Return one vote for each fingerprint word that occurs in two tracks.

    A vote is an integer that encodes the two tracks, and the distance (in words) between the positions of the word in the two
    tracks.
    """
    ballots = []
    first = np.arange(len(words))
    for distance in range(1, MOST_TRACKS):
        first = first[first + distance < len(words)]
        first = first[words[first] == words[first + distance]]
        second = first + distance
        offsets = positions[first] - positions[second] + longest
        ballots.append((tracks[first].astype(np.int64) * count + tracks[second]) * (2 * longest + 1) + offsets)
    return np.concatenate(ballots)


def _confirm(fingerprints: Sequence[np.ndarray], first: int, second: int, offset: int) -> Match | None:
    """Compare two fingerprints at an offset in words of 50 ms each. Return a match if at most 30 % of the bits differ.

    The result is None if more bits differ, or if fewer than `LEAST_WORDS` words overlap at this offset.
    """
    a, b = fingerprints[first][max(0, offset) :], fingerprints[second][max(0, -offset) :]
    length = min(len(a), len(b))
    a, b = a[:length], b[:length]
    valid = (a != 0) & (b != 0)
    compared = int(valid.sum())
    if compared < LEAST_WORDS:
        return None
    rate = float(np.bitwise_count(a[valid] ^ b[valid]).sum()) / (32 * compared)
    return Match(first, second, offset, rate) if rate <= MOST_ERRORS else None
