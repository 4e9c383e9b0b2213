"""Separation task: train a separator on chunks of mixtures and true sources, and validate the separator on whole tracks."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, Metric

from unbraid.models.known_targets import loss_of_known
from unbraid.models.separators.base import Estimate, Separator
from unbraid.scoring.measures import usdr
from unbraid.tasks.task import Task


class SeparationBatch(Protocol):
    """Describe the fields of a batch that `SeparationTask` uses.

    Attributes:
        mixture: waveforms of the mixtures, [B, C, T]: B mixtures, C channels, T samples.
        sources: true waveforms of the S targets, [B, S, C, T].
        magnitude_difference: one flag for each target. True: the true magnitudes of the target are max(|X| - |Y|, 0). X is the
            spectrum of the mixture, and Y is the spectrum of the mixture without the target.
        known: bool [B, S], False for each target whose true waveform is unknown. None: all targets are known.
    """

    mixture: Tensor
    sources: Tensor
    magnitude_difference: tuple[bool, ...]
    known: Tensor | None


class SeparationTask(Task):
    """Train a separator on chunks of tracks, and validate the separator on whole tracks.

    Args:
        separator: model to train. It maps the mixture waveform to the source waveforms.
        loss: function from two objects of class `Estimate` to a scalar. The first object is the output of the separator, the
            second object contains the true values.
        optimizer: function from parameters to an optimizer.
        scheduler: function from the optimizer to a learning-rate schedule; None: constant learning rate.
    """

    def __init__(
        self,
        separator: Separator,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.separator, self.loss = separator, loss
        self.valid_loss = MeanMetric(nan_strategy="disable")  # do not hide a loss that is NaN
        # torchmetrics 1.9 ignores the weights of this metric if nan_strategy is "disable".
        self.valid_usdr = [MeanMetric() for _ in separator.targets]
        for target, metric in zip(separator.targets, self.valid_usdr, strict=True):
            self.add_module(f"valid_usdr_{target}", metric)

    @property
    def validation_metrics(self) -> dict[str, Metric]:
        """Dictionary from the logged name, such as `valid/loss`, to the metric: the mean loss, and the uSDR of each target."""
        pairs = zip(self.separator.targets, self.valid_usdr, strict=True)
        return super().validation_metrics | {f"valid/uSDR/{target}": metric for target, metric in pairs}

    def validation_values(self) -> dict[str, Tensor]:
        """Return the values of all validation metrics by name. `valid/uSDR/mean` is the mean uSDR of the targets."""
        values = super().validation_values()
        scores = torch.stack([value for name, value in values.items() if name.startswith("valid/uSDR/")])
        return values | {"valid/uSDR/mean": scores.nanmean()}  # an undefined uSDR is NaN

    def training_step(self, batch: SeparationBatch, index: int) -> Tensor:
        """Return the loss of the known targets of a batch. The mean loss over the epoch is logged as `train/loss`."""
        estimate = self.separator(batch.mixture)
        reference = self.separator.true_values(batch.mixture, batch.sources, estimate, batch.magnitude_difference)
        loss = loss_of_known(self.loss, estimate, reference, batch.known)
        if batch.known is None or batch.known.any():
            self.log_mean("loss", loss)
        return loss

    def validation_step(self, batch: SeparationBatch, index: int) -> Tensor:
        """Separate one whole track, and update the validation metrics: the loss, and the uSDR of each target.

        The separator processes the track in adjacent chunks without overlap. If the separator normalises songs, the loss is
        computed from the normalised waveforms. Unknown targets are left out.

        Args:
            batch: batch that contains only this track.
            index: number of the track; not used.

        Shape:
            Result [S, C, T]: targets, channels, samples.

        Returns:
            The estimated waveforms of the targets. Lightning also passes these waveforms to callbacks.
        """
        mixture, sources = batch.mixture[0], batch.sources[0]
        scale = self.separator.song_scale([mixture])
        normalised = (mixture, sources) if scale is None else (scale.normalise(mixture), scale.normalise(sources))
        estimates = [self._validate_chunk(*chunk, batch) for chunk in self.chunks(*normalised)]
        whole = torch.cat(estimates, dim=-1)[..., : mixture.shape[-1]]
        whole = whole if scale is None else scale.restore(whole)
        known = [True] * len(sources) if batch.known is None else batch.known[0].tolist()
        for metric, reference, estimate, is_known in zip(self.valid_usdr, sources, whole, known, strict=True):
            value = usdr(reference, estimate) if is_known else None
            # Every rank must update the metric, because all of them take part in its sum. An undefined uSDR has weight 0.
            metric.update(0.0 if value is None else value, weight=0.0 if value is None else 1.0)
        return whole

    def chunks(self, mixture: Tensor, sources: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        """Cut a track into adjacent chunks. The last chunk is padded with silence.

        Args:
            mixture: mixture of the track.
            sources: true sources of the track.

        Shape:
            mixture [C, T] -> [1, C, n], sources [S, C, T] -> [1, S, C, n]; C channels, S sources, n samples of a chunk.

        Yields:
            The mixture and the sources of one chunk after another.
        """
        chunk = self.separator.chunk_samples
        for start in range(0, mixture.shape[-1], chunk):
            padding = (0, max(0, start + chunk - mixture.shape[-1]))
            yield (
                functional.pad(mixture[None, ..., start : start + chunk], padding),
                functional.pad(sources[None, ..., start : start + chunk], padding),
            )

    def _validate_chunk(self, mixture: Tensor, sources: Tensor, batch: SeparationBatch) -> Tensor:
        estimate = self.separator(mixture)
        reference = self.separator.true_values(mixture, sources, estimate, batch.magnitude_difference)
        self.valid_loss.update(loss_of_known(self.loss, estimate, reference, batch.known))
        if batch.known is None or batch.known.all():
            self.observe(estimate, reference)
        return estimate.sources[0].detach()

    def observe(self, estimate: Estimate, reference: Estimate) -> None:
        """Do nothing. Subclasses with additional metrics override this method to update the metrics with a validation chunk.

        The method is not called for tracks with unknown targets.
        """

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss, the uSDR of each target (`valid/uSDR/<target>`), and the mean uSDR over the targets."""
        for name, metric in self.validation_metrics.items():
            self.log(name, metric, prog_bar=True)
        self.log("valid/uSDR/mean", self.validation_values()["valid/uSDR/mean"], rank_zero_only=True)
