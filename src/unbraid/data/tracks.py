"""Tracks: where the samples of each source lie, and targets as sums of sources.

A layout (`musdb`, `demo`, …) has two methods: `tracks(root)` lists what is there, `fetch(root)` makes it be there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from unbraid.errors import InputError, unknown

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class AudioStream:
    """One audio stream of one file."""

    path: Path
    stream: int = 0


@dataclass(frozen=True)
class Track:
    """A song: its mixture, which need not be the sum, and its sources by name."""

    name: str
    split: Split
    mixture: AudioStream
    sources: Mapping[str, AudioStream]


class Layout(Protocol):
    """How a data set lies on disk."""

    def tracks(self, root: Path) -> list[Track]:
        """Every track under `root`, of every split; InputError where `root` holds something else."""

    def fetch(self, root: Path) -> None:
        """Make the data set appear under `root`, or raise an InputError that says how to get it."""


def target_matrix(targets: Mapping[str, list[str]], sources: Sequence[str]) -> Tensor:
    """Targets as weights over sources: `[vocals]` is one source, `[drums, bass]` a sum, `[-vocals]` everything but it.

    Shape: [targets, sources] of zeros and ones.
    """
    rows = []
    for target, terms in targets.items():
        for term in terms:
            source = term.removeprefix("-")
            if source not in sources:
                raise InputError(f"targets.{target}: the data has no source '{source}'; {unknown(source, sources)}")
        left_out = {term[1:] for term in terms if term.startswith("-")}
        if left_out and len(left_out) < len(terms):
            raise InputError(f"targets.{target}: {list(terms)} mixes sources to sum and sources to leave out; use one kind")
        kept = set(sources) - left_out if left_out else set(terms)
        if not kept:
            raise InputError(f"targets.{target}: {list(terms)} leaves no source of {list(sources)}")
        rows.append([float(source in kept) for source in sources])
    if not rows:
        raise InputError("targets: none given; choose some with targets=vocals, or +targets.NAME=[source, …]")
    return torch.tensor(rows)
