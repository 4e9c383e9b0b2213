"""Separators that estimate masks and embeddings, and cluster the embeddings."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.phase import Phase
from unbraid.dsp.stft import STFT
from unbraid.models.separators.base import Estimate
from unbraid.models.separators.joint import SILENT, JointMasking, Residual
from unbraid.models.separators.masking import Scaling
from unbraid.runs.errors import InputError


class Clustering(JointMasking):
    """Masks and embeddings of one network: masks are taken from the one or, by k-means, from the other.

    Sources have names, so nothing is permuted: each cluster starts at the mean embedding of the bins that the masks give to a
    source, and is that source.

    Args:
        masks_from: `head`: the network's masks; `clusters`: of embeddings; those are decisions. Training needs none of them.
        silent_db: bins that are quieter than the loudest of the chunk by more than this have no say in the loss of embeddings.
        others: as `JointMasking`; the network has `gather` and `spread`, between bins and what its embeddings are of.
    """

    def __init__(
        self,
        net: Callable[[int], nn.Module],
        stft: STFT,
        targets: Iterable[str],
        sample_rate: int,
        channels: int,
        chunk_seconds: float,
        phase: Phase,
        masks_from: Literal["head", "clusters"],
        silent_db: float,
        scaling: Scaling = "patch",
        mask_max: float | None = None,
        mask_power: float = 1.0,
        consistency: bool = False,
        residual: Residual = "auto",
    ) -> None:
        super().__init__(
            net,
            stft,
            targets,
            sample_rate,
            channels,
            chunk_seconds,
            phase,
            scaling,
            mask_max,
            mask_power,
            consistency,
            residual,
        )
        if silent_db <= 0:
            raise InputError(f"silent_db must be above 0, found {silent_db}")
        self.masks_from, self.silent_db = masks_from, silent_db

    @property
    def synthesis_options(self) -> dict[str, float | str | None]:
        return {**super().synthesis_options, "masks_from": self.masks_from}

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        outputs = self.nets[0](magnitudes)
        if self.masks_from == "clusters" and not self.training:
            likely = self._net.gather(outputs["masks"][:, :, 0]).argmax(dim=1)
            found = torch.stack([self._cluster(*one) for one in zip(outputs["embeddings"], likely, strict=True)])
            outputs["masks"] = self._net.spread(found).unsqueeze(2)
        return outputs | {"masks": self.of_targets(outputs["masks"])}

    @property
    def _net(self) -> Any:
        return self.nets[0]

    def _cluster(self, embeddings: Tensor, likely: Tensor) -> Tensor:
        """Which bin is in which cluster. Shape: [D, F, frames], classes [F, frames] -> 0 or 1 [classes, F, frames]."""
        if not embeddings.isfinite().all():  # left to whom such estimates reach, who says that training diverged
            return embeddings.new_full((self.classes, *likely.shape), torch.nan)
        points, classes = embeddings.detach().flatten(start_dim=1).T.cpu(), likely.flatten().cpu()
        present = classes.unique()
        start = torch.stack([points[classes == number].mean(dim=0) for number in present])
        fitted = KMeans(len(present), init=start.numpy(), n_init=1).fit(points.numpy())
        numbers = present[torch.from_numpy(fitted.labels_).long()]
        return functional.one_hot(numbers, self.classes).T.float().view(-1, *likely.shape).to(embeddings)

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        energies = self._net.gather(self.energies(mixture, sources))
        truth = super().training_target(mixture, sources, estimate, magnitude_difference)
        truth.labels = energies.argmax(dim=1)
        total = energies.sum(dim=1)
        loudest = total.amax(dim=(1, 2), keepdim=True).clamp(min=SILENT)
        truth.weights = (total > loudest * 10 ** (-self.silent_db / 10)).float()
        return truth
