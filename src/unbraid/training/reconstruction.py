"""Train autoencoders, and measure how well they reconstruct the test data."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unbraid.data.module import MultitrackData
from unbraid.evaluation.reconstruction import Reconstructions
from unbraid.evaluation.reconstruction_scores import report
from unbraid.models.features import Spectra
from unbraid.nets.layer_costs import layer_costs
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.tasks.reconstruction import ClosedFormTask, ReconstructionTask
from unbraid.training.base import THIS_RUN, Workflow
from unbraid.training.loggers import Media


class ReconstructionWorkflow(Workflow):
    """Train an autoencoder. The test measures the error between the test data and the reconstruction of the test data."""

    task: ReconstructionTask
    reconstructions: Reconstructions

    @property
    def data_kind(self) -> str:
        """Kind of data that the autoencoder is trained on: `audio` or `images`."""
        return self.task.features.kind

    def prepare(self) -> None:
        """Check the number of processes and the chunk length, and prepare the data.

        Raises:
            InputError: the chunks have random lengths. Or the model is fitted in closed form (PCA), but the run has more than
                one process.
        """
        model, processes = self.chosen["model"], self.trainer.world_size
        if isinstance(self.task, ClosedFormTask) and processes > 1:
            raise InputError("trainer.devices", f"model={model} cannot use several processes", found=processes, expected="1")
        self.reconstructions = build(self.config.evaluation)
        self.one_pass, item = "an item", torch.zeros(1, *self.task.item_shape)
        self.costs = layer_costs(self.task.net.eval(), lambda: self.task.net(item))
        self.task.net.train()
        if isinstance(self.data, MultitrackData):
            if self.data.shortest_samples is not None:
                where, problem = "data.sampling.shortest_seconds", "an autoencoder is trained on chunks of one length"
                raise InputError(where, problem, found=self.data.sampling.shortest_seconds, expected="null")
            self.prepare_tracks(self.data)
            self.data.check_known()
        else:
            self.data.prepare_data()
            self.data.setup("fit")

    def introduction(self) -> str:
        """Return a text about the data set and the model (number of parameters, code size and input size)."""
        data, net = self.data, self.task.net
        data_lines = self.introduced_tracks(data) if isinstance(data, MultitrackData) else f"data    {data.summary()}"
        return (
            f"model   {self.chosen['model']}: {self.size()}, a code of {net.code_size} for "
            f"{' x '.join(map(str, self.task.item_shape))} numbers\n{data_lines}"
        )

    def clips(self, media: Media) -> Callable[[Path], None]:
        """Return a function that reconstructs validation clips with the current weights.

        The function writes pictures to a folder. If the data are tracks, the function also writes audio.

        Args:
            media: options with the number of clips and the length of a clip in seconds.

        Returns:
            Function with one argument, the folder to write to.
        """
        rate = self.task.features.sample_rate if isinstance(self.task.features, Spectra) else None
        batches = media.choose(self.data.in_order("valid").dataset, rate)
        return partial(self.reconstructions.leave_batches, self.task, batches, self.data.labels())

    def report(self, scores: Mapping[str, Any]) -> str:
        """Return a text table of the reconstruction errors: of the autoencoder, and of baselines such as PCA."""
        return report(scores, THIS_RUN)

    def test(self) -> dict[str, Any]:
        """Reconstruct the test data with the weights of `best.ckpt`. Only the first process of the run does so.

        Returns:
            Content of `scores.json` in the first process, an empty dictionary in the other processes.
        """
        weights, _ = self.best_weights(self.task)
        if not self.trainer.is_global_zero:
            return {}
        task = self.task.to(self.trainer.strategy.root_device).eval()
        return self.reconstructions.scores(task, self.data, self.folder, self.limited) | {"checkpoint": weights}
