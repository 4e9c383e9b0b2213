"""TensorBoard's event files, in `tensorboard/` of the run folder."""

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
    """Written out after every epoch, so that a kill loses nothing."""

    writer: "SummaryWriter"

    def __init__(self) -> None:
        if find_spec("tensorboard") is None:
            raise ModuleNotFoundError("needs the package tensorboard: pip install 'unbraid[tensorboard]'")

    def open(self, run: About) -> set[int]:
        from torch.utils.tensorboard import SummaryWriter

        folder = run.folder / "tensorboard"
        there = _epochs(folder) if folder.is_dir() else set()
        self.writer = SummaryWriter(str(folder))
        return there

    def epoch(self, number: int, figures: Figures, media: Sequence[Medium]) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(name, value, number)
        self._show(media, number)
        self.writer.flush()

    def result(self, result: Result) -> None:
        for name, value in result.figures.items():
            self.writer.add_scalar(name, value, result.step)
        for name, values in result.by_measure.items():
            self.writer.add_histogram(f"test/tracks/{name}", np.array(values), result.step)
        self._show(result.pictures, result.step)

    def close(self, state: State) -> None:
        if hasattr(self, "writer"):
            self.writer.close()

    def _show(self, media: Sequence[Medium], step: int) -> None:
        from matplotlib.image import imread

        for one in media:
            tag = f"{one.key}/{one.caption}"
            if one.kind == "audio":
                (samples,), rate = audio.read(one.path)
                self.writer.add_audio(tag, samples.mean(axis=0), step, sample_rate=rate)
            else:
                self.writer.add_image(tag, imread(one.path)[..., :3], step, dataformats="HWC")


def _epochs(folder: Path) -> set[int]:
    """Those that event files hold."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(folder), {"scalars": 0, "images": 1, "audio": 1, "histograms": 1}).Reload()
    return {event.step for event in events.Scalars(EPOCH)} if EPOCH in events.Tags()["scalars"] else set()
