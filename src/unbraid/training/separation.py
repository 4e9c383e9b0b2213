"""Train separators and score the best checkpoint on whole test tracks."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from unbraid.data.module import MultitrackData
from unbraid.data.statistics import statistics
from unbraid.data.store import StoredTrack
from unbraid.data.training_tracks import write_training_tracks
from unbraid.evaluation.methods import Method, SeparatorMethod, baselines, mixtures_for
from unbraid.evaluation.reconstruction import on_device
from unbraid.evaluation.score_report import report
from unbraid.evaluation.scorer import ESTIMATE, Evaluation, Scorer, stft_for
from unbraid.models.separators.base import Estimate, Separator
from unbraid.models.separators.masking import Masking
from unbraid.nets.interfaces import Whitening
from unbraid.nets.layer_costs import layer_costs
from unbraid.runs.config import build, build_kind
from unbraid.runs.errors import InputError
from unbraid.runs.records import State
from unbraid.scoring.protocols import Protocol
from unbraid.scoring.published import PublishedScores, comparison_text
from unbraid.tasks.segmentation import SegmentationTask
from unbraid.tasks.separation import SeparationTask
from unbraid.training.base import THIS_RUN, Workflow, try_shortest
from unbraid.training.loggers import Media
from unbraid.training.processes import raise_in_all


class SeparationWorkflow(Workflow):
    """Train a separator, and score the separator on whole test tracks under a protocol (measures, windows and averages)."""

    task: SeparationTask
    data: MultitrackData
    evaluation: Evaluation
    published: PublishedScores | None
    scorer: Scorer
    mixtures: Sequence[StoredTrack]  # tracks that are separated and scored

    def prepare(self) -> None:
        """Try the model on one silent chunk, decode the data, set the initial weights, and open the test tracks."""
        protocol: Protocol = build_kind(self.config.protocol, Protocol)
        self.evaluation = build(self.config.evaluation)
        self.published = None if self.config.published is None else build(self.config.published)
        separator, samples = self.task.separator, self.data.chunk_samples
        self.costs = layer_costs(separator, lambda: try_one_chunk(separator, self.task.loss, samples))
        try_shortest(self.data, lambda samples: try_one_chunk(separator, self.task.loss, samples))
        self.one_pass = f"a chunk of {self.data.chunk_seconds:.3g} s"
        self.prepare_tracks(self.data)
        if separator.normalisation == "song":
            self.data.normalise_songs()
        if self.started is None:
            self.start_from_statistics()
        weights = self.data.target_weights()
        at = protocol.at(separator.sample_rate, separator.channels)
        source_group = at.source_group(separator.targets, weights)  # checks the protocol before the test tracks are decoded
        self.scorer = Scorer(
            at, source_group, weights,
            self.limited(self.data.whole("test", *at.format, progress=self.trainer.is_global_zero)),
            self.folder / "scores" / at.name, self.data.cache_dir / "baselines", self.trainer.strategy.root_device,
        )  # fmt: skip
        whole = partial(self.data.whole, "test", progress=self.trainer.is_global_zero)
        self.mixtures = mixtures_for(separator, at, self.scorer.tracks, whole)

    def start_from_statistics(self) -> None:
        """Measure mean and scale of the training mixtures, and store both in the layer that normalizes the network's input."""
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
        """Return a text about the data set and the model (number of parameters, targets and audio format)."""
        separator = self.task.separator
        return (
            f"model   {self.chosen['model']}: {self.size()}, {' + '.join(separator.targets)}, "
            f"{separator.sample_rate} Hz, {'mono' if separator.channels == 1 else 'stereo'}\n"
            f"{self.introduced_tracks(self.data)}"
        )

    def test(self) -> dict[str, Any]:
        """Score the test tracks with the weights of `best.ckpt`. The test tracks are divided among the processes of the run.

        Returns:
            Content of `scores.json` in the first process, an empty dictionary in the other processes.
        """
        trainer, scorer = self.trainer, self.scorer
        weights, origin = self.best_weights(self.task)
        separator = self.task.separator.to(trainer.strategy.root_device)
        method = self.evaluation.of(separator, origin, self.mixtures, scorer.protocol)
        rows: dict[str, Method] = {ESTIMATE: method} | baselines(
            stft_for(separator, scorer.protocol.sample_rate), scorer.protocol
        )
        error: InputError | None = None
        try:
            self._score(method, rows)
        except InputError as caught:
            error = caught
        raise_in_all(error, trainer.world_size)
        if not trainer.is_global_zero:
            return {}
        scores = scorer.scores(rows, weights)
        if self.published is not None:
            scores["reference"] = self.published.compare(scores, self.chosen["data"], self.chosen["model"])
        return scores | self._segmentation()

    def _score(self, method: SeparatorMethod, rows: Mapping[str, Method]) -> None:
        """Score this process's share of the test tracks. The first process also writes audio and pictures."""
        trainer, scorer, weights = self.trainer, self.scorer, self.data.target_weights()
        clips = self.evaluation.clip_names(method) if trainer.is_global_zero else []
        tracks = scorer.tracks[trainer.global_rank :: trainer.world_size]
        for track in tqdm(tracks, "scoring", unit="track", leave=False, disable=not trainer.is_global_zero or None):
            scorer.score(rows, track, wait=True)
            if track.name in clips:  # directly after scoring, while `method` holds the estimates of this track
                self.evaluation.leave_clip(method, track.name, weights, self.folder)
                clips.remove(track.name)
        for name in clips:  # scored by other processes
            self.evaluation.leave_clip(method, name, weights, self.folder)

    def report(self, scores: Mapping[str, Any]) -> str:
        """Format the test scores as a text table.

        If publications contain scores of this model on this data set, these scores are appended to the table. For models that
        classify time-frequency bins, the accuracy of the classes is appended.
        """
        blocks = [report(scores, THIS_RUN)]
        if "reference" in scores:
            blocks.append(comparison_text(scores["reference"]))
        if tracks := list(scores.get("segmentation", {}).values()):
            means = {name: sum(track[name] for track in tracks) / len(tracks) for name in tracks[0]}
            blocks.append(f"classes of bins: accuracy {means['accuracy']:.3f}, mean IoU {means['mIoU']:.3f}")
        return "\n\n".join(blocks)

    def clips(self, media: Media) -> Callable[[Path], None]:
        """Return a function that separates validation clips with the current weights, and writes audio and pictures.

        Args:
            media: options with the number of clips and the length of a clip in seconds.

        Returns:
            Function with one argument, the folder to write to.
        """
        separator = self.task.separator
        batches = media.choose(self.data.in_order("valid").dataset, separator.sample_rate)
        return partial(self.evaluation.leave_batches, separator, batches)

    def _segmentation(self) -> dict[str, Any]:
        """Return a dictionary with one key, `segmentation`: accuracy and mean IoU of each test track.

        Accuracy and IoU (intersection over union) measure how well the model classifies time-frequency bins. If the model does
        not classify bins, the dictionary is empty.
        """
        if not isinstance(self.task, SegmentationTask):
            return {}
        device, tracks = self.trainer.strategy.root_device, self.data.split("test")
        batches = self.data.in_order("test")
        return {
            "segmentation": {
                track.name: self.task.segmentation(on_device(batch, device))
                for track, batch in zip(self.limited(tracks), batches, strict=False)
                if batch.known is None
            }
        }


@torch.no_grad()
def try_one_chunk(separator: Separator, loss: torch.nn.Module, samples: int) -> None:
    """Apply the separator and the loss to one silent chunk. Errors in layer sizes are thus found before audio is decoded.

    Args:
        separator: separator to check. After the call, the separator is in training mode.
        loss: loss of the training.
        samples: length of the chunk in samples.

    Raises:
        InputError: the network cannot process a chunk of this length, or the loss cannot process the output of the network or
            waveforms at the sample rate of the separator.
    """
    separator.eval()
    mixture = torch.zeros(1, separator.channels, samples)
    try:
        estimate = separator(mixture)
        check_shapes(separator, estimate, mixture)
        sources = estimate.sources
    except (
        RuntimeError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:  # some networks do not check their sizes
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise InputError(f"model.separator.net: the network cannot process a chunk of {samples} samples: {reason}") from error
    for module in loss.modules():
        if (rate := getattr(module, "sample_rate", separator.sample_rate)) != separator.sample_rate:
            problem = f"{type(module).__name__} is not defined for the sample rate of this model"
            raise InputError("model.loss", problem, found=f"{separator.sample_rate} Hz", expected=f"{rate} Hz")
    _check_loss(loss, estimate, separator.true_values(mixture, sources, estimate))
    separator.train()


def _check_loss(loss: torch.nn.Module, estimate: Estimate, target: Estimate) -> None:
    try:
        value = loss(estimate, target)
    except (RuntimeError, TypeError, AttributeError, IndexError) as error:
        problem = f"the loss cannot process the output of the separator: {type(error).__name__}: {str(error)[:200]}"
        raise InputError("model.loss", problem) from error
    if not isinstance(value, torch.Tensor) or value.ndim:
        found = f"shape {[*value.shape]}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise InputError("model.loss", "the loss must return one number for a batch", found=found, expected="a scalar tensor")


def check_shapes(separator: Separator, estimate: Estimate, mixture: torch.Tensor) -> None:
    """Check the shapes of an estimate. Without this check, PyTorch would broadcast some wrong shapes without an error.

    Args:
        separator: separator that has computed the estimate.
        estimate: output of the separator.
        mixture: input of the separator.

    Raises:
        InputError: masks, magnitudes or sources have the wrong shape.
    """
    where, parts = "model.separator.net", (len(mixture), len(separator.targets), separator.channels)
    bins = None if estimate.mixture is None else estimate.mixture.shape[-2:]
    for name in ("masks", "magnitudes"):  # in this order, because magnitudes are computed from masks
        found = getattr(estimate, name)
        if found is not None and bins is not None and found.shape != (*parts, *bins):
            problem, expected = f"the output '{name}' has the wrong shape", f"{[*parts, *bins]} (B, S, C, F, frames)"
            raise InputError(where, problem, found=[*found.shape], expected=expected)
    found = estimate.sources
    if found.shape != (*parts, mixture.shape[-1]):
        raise InputError(
            where,
            "the output 'sources' has the wrong shape",
            found=[*found.shape],
            expected=f"{[*parts, mixture.shape[-1]]} (B, S, C, T)",
        )
