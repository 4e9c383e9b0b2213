"""Training of separators, tested by scores of whole songs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from tqdm import tqdm

from unbraid.data.digits import Digits
from unbraid.data.module import MultitrackData
from unbraid.data.statistics import statistics
from unbraid.data.store import StoredTrack
from unbraid.data.training_tracks import write_training_tracks
from unbraid.evaluation.methods import Method, mixtures_for
from unbraid.evaluation.reconstruction import on_device
from unbraid.evaluation.scorer import ESTIMATE, Evaluation, Scorer, baselines, report, stft_for
from unbraid.interop.published import load_published
from unbraid.models.separators.base import Separator
from unbraid.models.separators.masking import Masking
from unbraid.nets.interfaces import Whitening
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.runs.records import State
from unbraid.scoring.protocols import Protocol
from unbraid.scoring.published import PublishedScores, comparison_text
from unbraid.tasks.segmentation import SegmentationTask
from unbraid.tasks.separation import SeparationTask
from unbraid.training.base import THIS_RUN, Workflow, millions, multitrack
from unbraid.training.loggers import Loggers, Media


class SeparationWorkflow(Workflow):
    """A separator, scored on whole test tracks under a protocol."""

    task: SeparationTask
    data: MultitrackData

    def __init__(
        self, config: DictConfig, chosen: Mapping[str, str], trainer: pl.Trainer, task: SeparationTask,
        data: MultitrackData | Digits, loggers: Loggers, folder: Path,
    ) -> None:  # fmt: skip
        super().__init__(config, chosen, trainer, loggers, folder)
        self.task, self.data = task, multitrack(data)
        self.protocol: Protocol = build(config.protocol)
        self.evaluation: Evaluation = build(config.evaluation)
        self.reference: PublishedScores | None = None if config.published is None else build(config.published)
        self.scorer: Scorer
        self.mixtures: Sequence[StoredTrack]  # to be separated and scored

    def prepare(self) -> None:
        try_one_chunk(self.task.separator, self.task.loss, self.data.chunk_samples)
        if self.config.init is not None:
            load_published(self.task.separator, self.config.init)
        self.prepare_tracks(self.data)
        if self.config.init is None:
            self.start_from_statistics()
        separator, weights = self.task.separator, self.data.target_weights()
        at = self.protocol.at(separator.sample_rate, separator.channels)
        source_group = at.source_group(separator.targets, weights)  # said before more is decoded
        self.scorer = Scorer(
            at, source_group, weights, self.data.whole("test", *at.format, progress=self.trainer.is_global_zero),
            self.folder / "scores" / at.name, self.data.cache_dir / "baselines", self.trainer.strategy.root_device,
        )  # fmt: skip
        whole = partial(self.data.whole, "test", progress=self.trainer.is_global_zero)
        self.mixtures = mixtures_for(separator, at, self.scorer.tracks, whole)

    def start_from_statistics(self) -> None:
        """Set the statistics of the training mixtures in networks that normalize their input."""
        separator = self.task.separator
        whitening = [net for net in separator.modules() if isinstance(net, Whitening)]
        if whitening and isinstance(separator, Masking):
            folder, progress = self.data.cache_dir / "statistics", self.trainer.is_global_zero
            mean, scale = statistics(self.data.split("train"), separator.stft, folder, progress)
            for net in whitening:
                net.start_from(mean, scale)

    def _run(self) -> State:
        if self.trainer.is_global_zero:
            write_training_tracks(self.folder, {split: self.data.split(split) for split in ("train", "valid")})
        return super()._run()

    def introduction(self) -> str:
        separator = self.task.separator
        return (
            f"model   {self.chosen['model']}: {millions(separator)} M parameters, {' + '.join(separator.targets)}, "
            f"{separator.sample_rate} Hz, {'mono' if separator.channels == 1 else 'stereo'}\n"
            f"{self.introduced_tracks(self.data)}"
        )

    def test(self) -> dict[str, Any]:
        """Each track is scored by one of the processes."""
        task, data, trainer, scorer = self.task, self.data, self.trainer, self.scorer
        weights, origin = self.best_weights(task)
        separator = task.separator.to(trainer.strategy.root_device)
        method = self.evaluation.of(separator, origin, self.mixtures, scorer.protocol)
        rows: dict[str, Method] = {ESTIMATE: method} | baselines(stft_for(task.separator, scorer.protocol.sample_rate))
        mine = scorer.tracks[trainer.global_rank :: trainer.world_size]
        error: InputError | None = None
        try:
            for track in tqdm(mine, "scoring", unit="track", leave=False, disable=not trainer.is_global_zero):
                scorer.score(rows, track, wait=True)
            if trainer.is_global_zero:
                self.evaluation.leave_clips(method, data.target_weights(), self.folder)
        except InputError as caught:  # the other processes must hear of it instead of waiting
            error = caught
        for found in _gathered(error, trainer.world_size):
            if found:
                raise found
        if not trainer.is_global_zero:
            return {}
        scores = scorer.scores(rows, weights)
        return scores | self._compared(scores) | self._segmentation()

    def report(self, scores: Mapping[str, Any]) -> str:
        blocks = [report(scores, THIS_RUN)]
        if "reference" in scores:
            blocks.append(comparison_text(scores["reference"]))
        if found := list(scores.get("segmentation", {}).values()):
            means = {name: sum(one[name] for one in found) / len(found) for name in found[0]}
            blocks.append(f"classes of bins: accuracy {means['accuracy']:.3f}, mean IoU {means['mIoU']:.3f}")
        return "\n\n".join(blocks)

    def clips(self, media: Media) -> Callable[[Path], None]:
        separator = self.task.separator
        chosen = media.choose(self.data.in_order("valid").dataset, separator.sample_rate)
        return partial(self.evaluation.leave_batches, separator, chosen)

    def _compared(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        """With published figures, where the experiment has some."""
        if self.reference is None:
            return {}
        return {"reference": self.reference.compare(scores, self.chosen["data"], self.chosen["model"])}

    def _segmentation(self) -> dict[str, Any]:
        """Where bins were given classes: how many rightly, in each test track."""
        if not isinstance(self.task, SegmentationTask):
            return {}
        device, tracks = self.trainer.strategy.root_device, self.data.split("test")
        batches = self.data.in_order("test")
        return {
            "segmentation": {
                track.name: self.task.segmentation(on_device(batch, device))
                for track, batch in zip(tracks, batches, strict=True)
            }
        }


@torch.no_grad()
def try_one_chunk(separator: Separator, loss: torch.nn.Module, samples: int) -> None:
    """Find out before any decoding whether the network takes a chunk of this size, the phase its sources, and the loss both."""
    separator.eval()
    mixture = torch.zeros(1, separator.channels, samples)
    try:
        estimate = separator(mixture)
        sources = estimate.sources
    except (RuntimeError, TypeError) as error:  # a library's network of sizes that do not go together
        reason = str(error)[:200]
        raise InputError(f"model.separator.net: its sizes do not suit chunks of {samples} samples: {reason}") from error
    loss(estimate, separator.training_target(mixture, sources, estimate))
    separator.train()


def _gathered(mine: Any, world_size: int) -> list[Any]:
    """What each process has."""
    if world_size == 1:
        return [mine]
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, mine)
    return parts
