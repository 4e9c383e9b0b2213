"""Tracks: where the samples of each source lie on disk.

A layout (`musdb`, `ikala`, …) has two methods: `tracks(root)` lists what is there, `fetch(root)` makes it be there.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from unbraid.data.stretch import Stretch
from unbraid.runs.errors import InputError, unknown

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
MIXTURE = "mixture"
Lengths = Literal["auto", "pad", "trim", "error"]


@dataclass(frozen=True)
class AudioStream:
    """One audio stream of one file, or one channel of it."""

    path: Path
    stream: int = 0
    channel: int | None = None


@dataclass(frozen=True)
class Track:
    """A song: its sources by name, each the sum of some streams; a source of no streams is silent.

    Args:
        name: unique within a data set.
        split: which of `SPLITS`.
        sources: by name.
        mixture: where it has samples of its own, which need not be the sum; None: the sum of the sources.
        residual: name of one more source, which is the mixture less all the others.
        lengths: handling of streams of unequal length. `pad`: silence is appended up to the longest. `trim`: all are cut to the
            shortest. `error`: refused. `auto`: as `pad` up to `decoding.MOST_PADDED_SECONDS`, refused beyond; for layouts whose
            option `lengths` the user can set.
        stretch: of a copy at another pitch or tempo; its mixture is the sum of the stretched sources.
    """

    name: str
    split: Split
    sources: Mapping[str, tuple[AudioStream, ...]]
    mixture: AudioStream | None = None
    residual: str | None = None
    lengths: Lengths = "error"
    stretch: Stretch | None = None

    def __post_init__(self) -> None:
        if MIXTURE in self.source_names:
            raise InputError(f"{self.name}: a source is called '{MIXTURE}', which is the name of their sum; rename it")

    @property
    def source_names(self) -> tuple[str, ...]:
        """Of all sources, sorted."""
        return tuple(sorted({*self.sources, *([self.residual] if self.residual else [])}))


@dataclass(frozen=True)
class Listing:
    """The tracks under a root, and all that was noticed while listing them.

    Args:
        tracks: tracks that can be used, those with a refused file included.
        left_out: names of tracks that are left out, with the reason.
        messages: decisions the user should know of, a line each, such as which of two formats of a file is used.
        refused: errors that a user must resolve before anything is decoded.
        own_splits: whether folders or a table give the splits, so that the options `valid` and `test` are not used.
    """

    tracks: list[Track]
    left_out: Mapping[str, str] = field(default_factory=dict)
    messages: Sequence[str] = ()
    refused: Sequence[InputError] = ()
    own_splits: bool = False


class Layout(Protocol):
    """How a data set lies on disk."""

    def tracks(self, root: Path) -> Listing:
        """Every track under `root`, of every split; InputError where `root` holds something else."""

    def fetch(self, root: Path) -> None:
        """Make the data set appear under `root`, or raise an InputError that says how to get it."""


def few(names: Iterable[str], count: int = 3) -> str:
    """Return the first few names in one line, with an ellipsis if there are more."""
    listed = list(names)
    return ", ".join([*listed[:count], *(["…"] if len(listed) > count else [])])


Choice = float | list[str]


def refuse_ids(valid: Choice, test: Choice) -> None:
    """For data with splits of its own: what somebody has listed must not be ignored without a word; a share is the default."""
    for option, choice in (("valid", valid), ("test", test)):
        if isinstance(choice, list):
            raise InputError(f"{option} lists {choice}, but the data has splits of its own, expected no list")


def split_of(ids: Iterable[str], valid: Choice, test: Choice) -> dict[str, Split]:
    """The split of each id, where a data set has none of its own.

    Args:
        ids: of the things that may not be torn apart: songs, singers, artists; all that is not chosen is for training.
        valid: ids of the validation split, or its share. A share is drawn by a hash of the ids: without a seed, independent of
            the order of files, and with few changes when ids are added.
        test: the same for the test split.
    """
    known = sorted(set(ids))
    choices: dict[Split, Choice] = {"test": test, "valid": valid}
    chosen = {split: choice for split, choice in choices.items() if isinstance(choice, list)}
    for split, names in chosen.items():
        for name in names:
            if name not in known:
                raise InputError(f"{split}: the data has no id '{name}'; {unknown(name, known)}")
    drawn = sorted(known, key=lambda name: hashlib.sha256(name.encode()).digest())
    for split, share in choices.items():
        if isinstance(share, list):
            continue
        if not 0 <= share < 1:
            raise InputError(f"{split} must be a list of ids or a share in [0, 1), found {share}")
        free = [name for name in drawn if not any(name in names for names in chosen.values())]
        chosen[split] = free[: math.ceil(share * len(known))]
    both = sorted({*chosen["test"]} & {*chosen["valid"]})
    if both:
        raise InputError(f"valid: the id '{both[0]}' is in test too, expected it in one split")
    where: dict[str, Split] = {name: split for split, names in chosen.items() for name in names}
    return {name: where.get(name, "train") for name in known}
