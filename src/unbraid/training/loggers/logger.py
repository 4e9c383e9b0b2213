"""Base class of loggers, and the group of all loggers of a run.

`metrics.csv` is the complete record of a run. Loggers receive each row of `metrics.csv` after its epoch. If the run is killed
before a logger has stored a row, the logger receives this row again when the run resumes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger as LightningLogger

from unbraid.runs.errors import InputError
from unbraid.runs.metrics_reader import epochs, figures
from unbraid.runs.records import ENDED, State
from unbraid.training.loggers.media import Media, Medium, media_of

Figures = Mapping[str, float]
ScoreRow = tuple[str, str, str, float | None]  # track, target, measure, value


@dataclass(frozen=True)
class About:
    """Describe a run. Each logger receives this description when the run starts.

    Args:
        folder: run folder.
        record: content of `run.json` in the run folder.
        config: complete config of the run, without paths of this machine.
        facts: further values by name, such as the number of parameters.
        sweep: name of the sweep that contains the run; None if the run is not part of a sweep.
    """

    folder: Path
    record: Mapping[str, Any]
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    sweep: str | None


@dataclass(frozen=True)
class Result:
    """Store the test results of a run.

    Args:
        step: step under which loggers show the results. It is 1 more than the number of the last epoch.
        figures: dictionary from `test/<measure>/<target>` to the score (mean or median over the tracks).
        rows: score of each track, target and measure; None if the score is undefined.
        pictures: pictures that the test wrote.
    """

    step: int
    figures: Figures
    rows: Sequence[ScoreRow]
    pictures: Sequence[Medium]

    @property
    def by_measure(self) -> dict[str, list[float]]:
        """Dictionary from `<measure>/<target>` to the list of the defined scores of all tracks."""
        scores: dict[str, list[float]] = {}
        for _, target, measure, value in self.rows:
            if value is not None:
                scores.setdefault(f"{measure}/{target}", []).append(value)
        return scores


class Logger(ABC):
    """Send metrics, audio, pictures and test results of a run to another tool. Only the first process of a run uses loggers."""

    def check(self) -> None:  # noqa: B027  # most loggers have nothing to check
        """Check the options of the logger. Invalid options raise InputError.

        This method is called before the run folder is created.
        """

    @abstractmethod
    def open(self, run: About) -> set[int]:
        """Open the log of a run. A resumed run continues its earlier log.

        Args:
            run: description of the run.

        Returns:
            Numbers of the epochs that the log already contains.
        """

    @abstractmethod
    def epoch(self, number: int, figures: Figures, media: Sequence[Medium]) -> None:
        """Log the metrics, audio and pictures of one epoch. Epochs are logged in ascending order.

        Args:
            number: number of the epoch, from 0.
            figures: dictionary from the name of a column of `metrics.csv` to the value.
            media: audio files and pictures of the epoch.
        """

    @abstractmethod
    def result(self, result: Result) -> None:
        """Log the test results. This method is called once, after the test."""

    @abstractmethod
    def close(self, state: State) -> None:
        """Close the log with the final state of the run, such as `done`. This method is called last, also after an error."""


class LightningRows(Logger):
    """Pass the rows of `metrics.csv` to a logger of Lightning.

    A logger of Lightning cannot report which rows its log already contains. A resumed run therefore passes all rows again.

    Args:
        logger: logger of Lightning, such as `pytorch_lightning.loggers.CSVLogger`.
    """

    def __init__(self, logger: LightningLogger) -> None:
        self.logger = logger

    def open(self, run: About) -> set[int]:
        """Log the config of a run. Return an empty set, because it is unknown which epochs the log already contains."""
        self.logger.log_hyperparams({**run.config, **run.facts})
        return set()

    def epoch(self, number: int, figures: Figures, media: Sequence[Medium]) -> None:
        """Log the metrics of an epoch. Audio and pictures are not logged."""
        self.logger.log_metrics(dict(figures), step=number)
        self.logger.save()

    def result(self, result: Result) -> None:
        """Log the test results."""
        self.logger.log_metrics(dict(result.figures), step=result.step)

    def close(self, state: State) -> None:
        """Close the log of Lightning's logger with the final state of the run."""
        self.logger.finalize("success" if state in ENDED else "failed")


class Loggers:
    """Pass the metrics and the test results of a run to all loggers of the run.

    Args:
        loggers: loggers of the run.
        media: options of the audio and pictures that are logged during training; None: no audio and pictures are logged.
    """

    def __init__(self, loggers: Sequence[Logger], media: Media | None) -> None:
        self.loggers, self.media = list(loggers), media if loggers else None
        self.sent: dict[Logger, set[int]] = {}
        self.folder = Path()
        self.draw: Callable[[Path], None] | None = None  # writes audio and pictures of the current weights to a folder
        self.state: State = "failed"  # until `ended` sets another state

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> "Loggers":
        """Find the loggers and the media options among the objects of the config group `logger`.

        Args:
            parts: dictionary from each key of the config group to an object or None. None is ignored. A logger of Lightning is
                wrapped in `LightningRows`.

        Returns:
            Group of all loggers of the run.

        Raises:
            InputError: an object is neither a logger nor media options.
        """
        loggers = list[Logger]()
        for key, part in parts.items():
            if isinstance(part, Logger | LightningLogger):
                loggers.append(part if isinstance(part, Logger) else LightningRows(part))
            elif part is not None and not isinstance(part, Media):
                expected = "a subclass of unbraid.training.loggers.Logger or of pytorch_lightning.loggers.Logger"
                raise InputError(f"logger.{key}", "this object is not a logger", found=type(part).__name__, expected=expected)
        return cls(loggers, next((part for part in parts.values() if isinstance(part, Media)), None))

    def check(self) -> None:
        """Check the options of all loggers. Invalid options raise InputError."""
        for logger in self.loggers:
            logger.check()

    @contextmanager
    def following(self, about: Callable[[], About], clips: Callable[[Media], Callable[[Path], None]]) -> Iterator[None]:
        """Open all loggers, run the `with` block, and close the loggers with the final state of the run.

        When a logger is opened, it receives the earlier epochs that its log lacks.

        Args:
            about: function that returns the description of the run. It is called only if the run has loggers.
            clips: function that receives the media options, and returns another function. The returned function writes audio
                and pictures to a folder.

        Yields:
            Nothing.

        Raises:
            KeyboardInterrupt: the block was interrupted. The loggers are closed with the state `interrupted`.
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
        """Open all loggers. If the log of a logger lacks earlier epochs of the run, send these epochs to the logger."""
        self.folder = about.folder
        for logger in self.loggers:
            stack.callback(lambda logger=logger: logger.close(self.state))  # type: ignore[misc]
            self.sent[logger] = logger.open(about)
        for row in epochs(self.folder):
            self._send({name: float(value) for name, value in row.items() if value})

    def epoch(self, row: Mapping[str, Any], draws: bool = True) -> None:
        """Send a row of `metrics.csv` to every logger. Every few epochs, also make and send audio and pictures.

        Args:
            row: dictionary from column to value; an undefined value is an empty string.
            draws: False: audio and pictures are not made, because training has diverged.
        """
        figures = {name: float(value) for name, value in row.items() if value != ""}
        number = int(figures["epoch"])
        if draws and self.media and self.draw and "train/loss" in figures and self.media.is_due(number, self.folder):
            self.draw(self.media.folder(self.folder, number))
        self._send(figures)

    def _send(self, row: Figures) -> None:
        number = int(row["epoch"])
        media = media_of(self.media.folder(self.folder, number), "valid") if self.media else []
        for logger in self.loggers:
            if number not in self.sent[logger]:
                self.sent[logger].add(number)
                logger.epoch(number, row, media)

    def result(self, scores: Mapping[str, Any]) -> None:
        """Send the test scores (the content of `scores.json`) and the pictures of the test to every logger."""
        if not self.loggers:
            return
        defined = {key: value for key, value in figures(scores).items() if value is not None}
        summary = {f"test/{measure}/{target}": value for (target, measure), value in defined.items()}
        rows = [
            (track, target, measure, value)
            for track, targets in scores["tracks"].items()
            for target, measures in targets.items()
            for measure, value in measures.items()
        ]
        step = max((int(row["epoch"]) for row in epochs(self.folder)), default=-1) + 1
        result = Result(step, summary, rows, media_of(self.folder / "pictures", "test") if self.media else [])
        for logger in self.loggers:
            logger.result(result)

    def ended(self, state: State) -> None:
        """Store the final state of the run, such as `done`. The loggers receive this state when they are closed."""
        self.state = state
