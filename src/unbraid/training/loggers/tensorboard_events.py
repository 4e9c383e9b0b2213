"""TensorBoard logger: write metrics, audio and pictures to event files in the subfolder `tensorboard/` of the run folder."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unbraid import audio
from unbraid.runs.records import State
from unbraid.training.loggers.logger import About, Figures, Logger, Result
from unbraid.training.loggers.media import Medium

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EPOCH = "epoch"


class TensorBoard(Logger):
    """Write metrics, audio and pictures of a run to event files for TensorBoard. The files are flushed after every epoch.

    Raises:
        ModuleNotFoundError: the package tensorboard is not installed.
    """

    writer: "SummaryWriter"

    def __init__(self) -> None:
        if find_spec("tensorboard") is None:
            raise ModuleNotFoundError("the package tensorboard is not installed; type: pip install 'unbraid[tensorboard]'")

    def open(self, run: About) -> set[int]:
        """Open a new event file.

        Args:
            run: description of the run.

        Returns:
            Numbers of the epochs that earlier event files of the run contain.
        """
        from torch.utils.tensorboard import SummaryWriter

        folder = run.folder / "tensorboard"
        logged = _epochs(folder) if folder.is_dir() else set()
        self.writer = SummaryWriter(str(folder))
        return logged

    def epoch(self, number: int, figures: Figures, media: Sequence[Medium]) -> None:
        """Write the metrics, audio and pictures of an epoch. The step in TensorBoard is the number of the epoch.

        Args:
            number: number of the epoch, from 0.
            figures: dictionary from the name of a metric to the value.
            media: audio files and pictures.
        """
        for name, value in figures.items():
            self.writer.add_scalar(name, value, number)
        self._add_media(media, number)
        self.writer.flush()

    def result(self, result: Result) -> None:
        """Write the test results: average scores as scalars, scores of all tracks as histograms, and pictures."""
        for name, value in result.figures.items():
            self.writer.add_scalar(name, value, result.step)
        for name, values in result.by_measure.items():
            self.writer.add_histogram(f"test/tracks/{name}", np.array(values), result.step)
        self._add_media(result.pictures, result.step)

    def close(self, state: State) -> None:
        """Close the event file of this process."""
        if hasattr(self, "writer"):
            self.writer.close()

    def _add_media(self, media: Sequence[Medium], step: int) -> None:
        from matplotlib.image import imread

        for medium in media:
            tag = f"{medium.key}/{medium.caption}"
            if medium.kind == "audio":
                (samples,), rate = audio.read(medium.path)
                self.writer.add_audio(tag, samples.mean(axis=0), step, sample_rate=rate)
            else:
                self.writer.add_image(tag, imread(medium.path)[..., :3], step, dataformats="HWC")


def _epochs(folder: Path) -> set[int]:
    """Read the numbers of the epochs that the event files in a folder contain."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(folder), {"scalars": 0, "images": 1, "audio": 1, "histograms": 1}).Reload()
    return {event.step for event in events.Scalars(EPOCH)} if EPOCH in events.Tags()["scalars"] else set()
