"""Training of autoencoders, tested by what they reconstruct."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig

from unbraid.data.digits import Digits
from unbraid.data.module import MultitrackData
from unbraid.evaluation.reconstruction import Reconstructions, report
from unbraid.models.features import Spectra
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.tasks.reconstruction import ClosedFormTask, ReconstructionTask
from unbraid.training.base import THIS_RUN, Workflow, millions
from unbraid.training.loggers import Loggers, Media


class ReconstructionWorkflow(Workflow):
    """An autoencoder, judged by what it rebuilds of the test data."""

    task: ReconstructionTask
    data: MultitrackData | Digits

    def __init__(
        self, config: DictConfig, chosen: Mapping[str, str], trainer: pl.Trainer, task: ReconstructionTask,
        data: MultitrackData | Digits, loggers: Loggers, folder: Path,
    ) -> None:  # fmt: skip
        super().__init__(config, chosen, trainer, loggers, folder)
        if data.kind != task.features.kind:
            raise InputError(f"features: are made of {task.features.kind}, and data={self.chosen['data']} has {data.kind}")
        if isinstance(task, ClosedFormTask) and trainer.world_size > 1:
            raise InputError(f"trainer.devices: {self.chosen['model']} is fitted by 1 process, found {trainer.world_size}")
        self.task, self.data = task, data
        self.reconstructions: Reconstructions = build(config.evaluation)

    def prepare(self) -> None:
        if isinstance(self.data, MultitrackData):
            self.prepare_tracks(self.data)
        else:
            self.data.prepare_data()
            self.data.setup("fit")

    def introduction(self) -> str:
        data, net = self.data, self.task.net
        said = self.introduced_tracks(data) if isinstance(data, MultitrackData) else f"data    {data.summary()}"
        return (
            f"model   {self.chosen['model']}: {millions(net)} M parameters, a code of {net.code_size} for "
            f"{' x '.join(map(str, self.task.item_shape))} numbers\n{said}"
        )

    def clips(self, media: Media) -> Callable[[Path], None]:
        rate = self.task.features.sample_rate if isinstance(self.task.features, Spectra) else None
        chosen = media.choose(self.data.in_order("valid").dataset, rate)
        return partial(self.reconstructions.leave_batches, self.task, chosen, self.data.labels())

    def report(self, scores: Mapping[str, Any]) -> str:
        return report(scores, THIS_RUN)

    def test(self) -> dict[str, Any]:
        weights, _ = self.best_weights(self.task)
        if not self.trainer.is_global_zero:
            return {}
        task = self.task.to(self.trainer.strategy.root_device).eval()
        return self.reconstructions.scores(task, self.data, self.folder) | {"checkpoint": weights}
