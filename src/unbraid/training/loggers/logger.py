"""What every logger is, and all those of a run together.

`metrics.csv` is the record of truth: a logger is sent its rows, one for each epoch, and a run that goes on sends again what a
logger has lost when the run was killed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unbraid.runs.metrics_reader import epochs, figures
from unbraid.runs.records import State
from unbraid.training.loggers.media import Media, Medium, media_of

Figures = Mapping[str, float]
ScoreRow = tuple[str, str, str, float | None]  # track, target, measure, value


@dataclass(frozen=True)
class About:
    """What a logger is told of a run at its start.

    Args:
        folder: of the run.
        record: its `run.json`.
        config: resolved, without paths.
        facts: what else is known of it, by name.
        sweep: name of the sweep it belongs to, if it does.
    """

    folder: Path
    record: Mapping[str, Any]
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    sweep: str | None


@dataclass(frozen=True)
class Result:
    """What a run has come to.

    Args:
        step: the epoch after the last one.
        figures: `test/<measure>/<target>`, in the statistic of the protocol.
        rows: scores of each track.
        pictures: that testing has left.
    """

    step: int
    figures: Figures
    rows: Sequence[ScoreRow]
    pictures: Sequence[Medium]

    @property
    def by_measure(self) -> dict[str, list[float]]:
        """Scores of the tracks in which they are defined, by `<measure>/<target>`."""
        found: dict[str, list[float]] = {}
        for _, target, measure, value in self.rows:
            if value is not None:
                found.setdefault(f"{measure}/{target}", []).append(value)
        return found


class Logger(ABC):
    """Told by the first process of a run how it goes."""

    def check(self) -> None:  # noqa: B027  # most have nothing to say
        """Before the run has a folder; InputError where it cannot be told."""

    @abstractmethod
    def open(self, run: About) -> set[int]:
        """Begin, or go on with the same run; the epochs that are there already."""

    @abstractmethod
    def epoch(self, number: int, figures: Figures, media: Sequence[Medium]) -> None:
        """What an epoch came to; epochs come in order."""

    @abstractmethod
    def result(self, result: Result) -> None:
        """Once, after the test."""

    @abstractmethod
    def close(self, state: State) -> None:
        """Always, last."""


class Loggers:
    """Those of a run; each of them is told each epoch once.

    Args:
        loggers: see `Logger`.
        media: what they are shown; None: nothing.
    """

    def __init__(self, loggers: Sequence[Logger], media: Media | None) -> None:
        self.loggers, self.media = list(loggers), media if loggers else None
        self.sent: dict[Logger, set[int]] = {}
        self.folder = Path()
        self.draw: Callable[[Path], None] | None = None  # leaves what is heard and seen now in a folder
        self.state: State = "failed"  # until `ended` says something else

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> "Loggers":
        """From what the config names."""
        found = [part for part in parts.values() if isinstance(part, Logger)]
        return cls(found, next((part for part in parts.values() if isinstance(part, Media)), None))

    def check(self) -> None:
        """See `Logger.check`."""
        for logger in self.loggers:
            logger.check()

    @contextmanager
    def following(self, about: Callable[[], About], clips: Callable[[Media], Callable[[Path], None]]) -> Iterator[None]:
        """All of them are open in this block, with what was sent before, and closed with the state in which it ends.

        Args:
            about: the run; called where anybody wants to know.
            clips: from what is wanted to what draws it.
        """
        self.state = "failed"
        with ExitStack() as stack:
            if self.loggers:
                self._open(about(), stack)
                self.draw = clips(self.media) if self.media else None
            try:
                yield
            except KeyboardInterrupt:
                self.state = "interrupted"
                raise

    def _open(self, about: About, stack: ExitStack) -> None:
        """With what they have not been sent yet."""
        self.folder = about.folder
        for logger in self.loggers:
            stack.callback(lambda logger=logger: logger.close(self.state))  # type: ignore[misc]
            self.sent[logger] = logger.open(about)
        for row in epochs(self.folder):
            self._send({name: float(value) for name, value in row.items() if value})

    def epoch(self, row: Mapping[str, Any], draws: bool = True) -> None:
        """Send a row of `metrics.csv` to every logger, and draw media that are due.

        Args:
            row: values by column; undefined ones are empty.
            draws: whether media can be drawn, since training has not diverged.
        """
        figures = {name: float(value) for name, value in row.items() if value != ""}
        number = int(figures["epoch"])
        if draws and self.media and self.draw and "train/loss" in figures and self.media.is_due(number, self.folder):
            self.draw(self.media.folder(self.folder, number))
        self._send(figures)

    def _send(self, row: Figures) -> None:
        number = int(row["epoch"])
        shown = media_of(self.media.folder(self.folder, number), "valid") if self.media else []
        for logger in self.loggers:
            if number not in self.sent[logger]:
                self.sent[logger].add(number)
                logger.epoch(number, row, shown)

    def result(self, scores: Mapping[str, Any]) -> None:
        """What `scores.json` holds."""
        if not self.loggers:
            return
        own = {f"test/{measure}/{target}": value for (target, measure), value in figures(scores).items() if value is not None}
        rows = [
            (track, target, measure, value)
            for track, targets in scores["tracks"].items()
            for target, measures in targets.items()
            for measure, value in measures.items()
        ]
        step = max((int(row["epoch"]) for row in epochs(self.folder)), default=-1) + 1
        found = Result(step, own, rows, media_of(self.folder / "pictures", "test") if self.media else [])
        for logger in self.loggers:
            logger.result(found)

    def ended(self, state: State) -> None:
        """How the block of `following` is about to end."""
        self.state = state
