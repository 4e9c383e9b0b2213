"""Describe tracks and the files of their sources, assign tracks to splits, and define the interface of layouts.

A layout is a class for one data set or folder structure, such as `MUSDB18` or `Stems`. A layout has two methods. `tracks(root)`
lists the tracks in a folder. `fetch(root)` downloads or renders the data set if that is possible.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from unbraid.data.effects import Effect
from unbraid.data.stretch import Stretch
from unbraid.runs.errors import InputError, unknown

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
MIXTURE = "mixture"
Lengths = Literal["auto", "pad", "trim", "error"]
OfflineChange = Stretch | Effect  # change of every source of a track, rendered before training


@dataclass(frozen=True)
class AudioStream:
    """Identify one audio stream of a file, or one channel of that stream.

    Args:
        path: path of the file.
        stream: number of the audio stream in the file, from 0.
        channel: number of the channel in the stream, from 0. None: all channels.
    """

    path: Path
    stream: int = 0
    channel: int | None = None


@dataclass(frozen=True)
class Track:
    """Describe a track (song): the name, the split, and the audio files of the mixture and of each source.

    Args:
        name: name of the track, unique in the data set.
        split: `train`, `valid` or `test`.
        sources: dictionary from the name of each source to its audio streams. The streams of a source are summed. A source
            without streams is silent.
        mixture: audio stream of the mixture. None: there is no such stream, and the mixture is the sum of the sources.
        residual: name of an additional source, which is the mixture minus all other sources. None: no additional source.
        lengths: handling of streams of unequal length. `pad` appends silence up to the longest stream. `trim` cuts all streams
            to the shortest stream. `error` raises an error. `auto` pads differences of up to one second, and raises an error
            for larger differences.
        change: None for an original track. For a copy: the change of pitch and tempo, or the effect. The mixture of a copy is
            the sum of its sources.
        unknown: names of sources without a recording that the mixture may contain. Losses and scores leave out the targets
            that contain such a source. A source that does not exist in the track is not unknown: it has no audio streams.
        weight: number of training chunks for each chunk from a track of weight 1.

    Raises:
        InputError: a source has the name `mixture`.
    """

    name: str
    split: Split
    sources: Mapping[str, tuple[AudioStream, ...]]
    mixture: AudioStream | None = None
    residual: str | None = None
    lengths: Lengths = "error"
    change: OfflineChange | None = None
    unknown: tuple[str, ...] = ()
    weight: int = 1

    def __post_init__(self) -> None:
        if MIXTURE in self.source_names:
            problem = f"a source of this track has the name '{MIXTURE}', which is reserved for the sum of all sources"
            raise InputError(self.name, problem, hint="Rename the source")

    @property
    def source_names(self) -> tuple[str, ...]:
        """Return the sorted names of all sources except unknown ones. The result includes the name in `residual`."""
        return tuple(sorted({*self.sources, *([self.residual] if self.residual else [])}))


@dataclass(frozen=True)
class Listing:
    """Result of a search for tracks in the folder of a data set: tracks, excluded tracks, messages and errors.

    Args:
        tracks: tracks that are not excluded. Some of these tracks may have an error in `refused`.
        left_out: dictionary from the name of each excluded track to the reason.
        messages: notes for the user, one line each, for example which file is used if a stem has two files.
        refused: errors that the user must resolve before anything is decoded.
        own_splits: True if folders or a table define the splits, so that the options `valid` and `test` are unused.
    """

    tracks: list[Track]
    left_out: Mapping[str, str] = field(default_factory=dict)
    messages: Sequence[str] = ()
    refused: Sequence[InputError] = ()
    own_splits: bool = False


class Layout(Protocol):
    """Interface of layouts. A layout lists the tracks of a data set, and can download the data set."""

    def tracks(self, root: Path) -> Listing:
        """List the tracks of all splits under the root. Raise an `InputError` if the root does not contain the data set."""

    def fetch(self, root: Path) -> None:
        """Download or render the data set into the root. If this is impossible, raise an `InputError` with instructions."""


def few(names: Iterable[str], count: int = 3) -> str:
    """Return the first `count` names separated by commas, with an ellipsis if there are more."""
    listed = list(names)
    return ", ".join([*listed[:count], *(["…"] if len(listed) > count else [])])


Choice = float | list[str]


def refuse_ids(valid: Choice, test: Choice) -> None:
    """Check that `valid` and `test` are not lists, for a data set whose folders or table define the splits.

    Such a data set does not use these options. A list raises an error, because the user has typed it. A share does not raise
    an error, because it may be the default value.

    Args:
        valid: option `valid` of a layout.
        test: option `test` of a layout.

    Raises:
        InputError: one of the options is a list.
    """
    for option, choice in (("valid", valid), ("test", test)):
        if isinstance(choice, list):
            problem = "this option cannot be a list, because the folders or the table of the data set already define the splits"
            raise InputError(
                option,
                problem,
                found=choice,
                hint=f"Remove data.layout.{option}. To move a track to another split, move its folder or edit the table.",
            )


def split_of(ids: Iterable[str], valid: Choice, test: Choice) -> dict[str, Split]:
    """Assign ids (of songs, singers or artists) to splits, for data sets that do not define splits.

    If `valid` or `test` is a share, the ids of this split are drawn by their hash. So the drawn ids are the same in each run
    and for any order of the ids. If ids are added to the data set, few of the old ids get another split. All ids that are
    neither for validation nor for testing are for training.

    Args:
        ids: ids of the data set. All tracks of one id are in the same split.
        valid: list of the ids of the validation split, or the share of all ids that is drawn for this split, in [0, 1).
        test: list of the ids of the test split, or the share of all ids that is drawn for this split, in [0, 1).

    Returns:
        The split of each id, sorted by id.

    Raises:
        InputError: an id is unknown or in both lists, or a share is outside [0, 1).
    """
    ids = set(ids)
    known = sorted(ids)
    choices: dict[Split, Choice] = {"test": test, "valid": valid}
    chosen = {split: choice for split, choice in choices.items() if isinstance(choice, list)}
    for split, names in chosen.items():
        for name in names:
            if name not in ids:
                raise InputError(
                    split, f"the data set contains no track, artist or other id named '{name}'", hint=unknown(name, known)
                )
    drawn = sorted(known, key=lambda name: hashlib.sha256(name.encode()).digest())
    for split, share in choices.items():
        if isinstance(share, list):
            continue
        if not 0 <= share < 1:
            raise InputError(split, "the share is out of range", found=share, expected="a number in [0, 1), or a list of ids")
        taken = {name for names in chosen.values() for name in names}
        free = [name for name in drawn if name not in taken]
        chosen[split] = free[: math.ceil(share * len(known))]
    both = sorted({*chosen["test"]} & {*chosen["valid"]})
    if both:
        raise InputError("valid", "the lists valid and test contain the same id", found=both[0], expected="each id in one list")
    splits: dict[str, Split] = {name: split for split, names in chosen.items() for name in names}
    return {name: splits.get(name, "train") for name in known}
