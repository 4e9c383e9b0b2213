"""Separator by deep clustering: a network estimates masks and embeddings. k-means can compute other masks from the embeddings.

Method: Luo et al., "Deep clustering and conventional networks for music separation: stronger together", ICASSP 2017.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unbraid.dsp.phase import Phase
from unbraid.dsp.stft import STFT
from unbraid.models.separators.base import Estimate
from unbraid.models.separators.joint import SILENT, JointMasking
from unbraid.models.separators.mask_options import AUTO_RESIDUAL, JointMaskOptions
from unbraid.models.separators.masking import Scaling
from unbraid.runs.errors import InputError


class Clustering(JointMasking):
    """Separate by masks. Either a network estimates the masks, or k-means computes the masks from embeddings of the network.

    Each source has a fixed position in the output of the network, so the loss does not have to try permutations. For each
    source, k-means starts at the mean embedding of the bins in which the mask of this source is the largest mask.

    Args:
        net: function that takes the number of classes and returns a network. The network maps magnitudes [B, C, F, T] to a dict
            of `masks` and `embeddings`. The network may estimate embeddings and masks for bands instead of bins. The
            network has two methods: `gather` sums the bins of each band, `spread` interpolates masks from bands to bins.
        stft: STFT of the mixture.
        targets: names of the targets, in the order of the output.
        sample_rate: sample rate of all waveforms in Hz.
        channels: number of channels of all waveforms, 1 or 2.
        chunk_seconds: length in seconds of the chunks into which a longer mixture is cut; at least the window of the STFT.
        phase: method that converts masked spectra to waveforms, for example with the phase of the mixture. This method is used
            in evaluation only.
        masks_from: masks used in evaluation. `head`: the masks of the network; `clusters`: masks of 0 and 1 from k-means
            clusters of the embeddings. Training always uses `head`.
        silent_db: limit in dB, above 0. The loss of embeddings ignores each bin that is more than `silent_db` quieter than the
            loudest bin of the chunk.
        scaling: scaling of the network's input. `patch`: magnitudes are divided by the largest magnitude of the chunk; `none`:
            magnitudes are not scaled.
        mask_options: changes of the masks in evaluation, and whether the residual (mixture minus all targets) is one more
            class.

    Raises:
        InputError: `silent_db` is 0 or less.
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
        mask_options: JointMaskOptions = AUTO_RESIDUAL,
    ) -> None:
        super().__init__(net, stft, targets, sample_rate, channels, chunk_seconds, phase, scaling, mask_options)
        if silent_db <= 0:
            raise InputError("silent_db", found=silent_db, expected="a number of dB above 0")
        self.masks_from, self.silent_db = masks_from, silent_db

    @property
    def synthesis_options(self) -> dict[str, float | str | None]:
        """Return the options that change the sources in evaluation only: `masks_from`, and the options of `Masking`."""
        return {**super().synthesis_options, "masks_from": self.masks_from}

    def predict(self, magnitudes: Tensor) -> dict[str, Tensor]:
        """Compute the masks of the targets and the embeddings of all bins, see `Masking.predict`."""
        outputs = self.nets[0](magnitudes)
        if self.masks_from == "clusters" and not self.training:
            classes = self._net.gather(outputs["masks"][:, :, 0]).argmax(dim=1)
            clusters = [self._cluster(*chunk) for chunk in zip(outputs["embeddings"], classes, strict=True)]
            outputs["masks"] = self._net.spread(torch.stack(clusters)).unsqueeze(2)
        return outputs | {"masks": self.target_masks(outputs["masks"])}

    @property
    def _net(self) -> Any:
        return self.nets[0]

    def _cluster(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        """Cluster the embeddings of a chunk by k-means. Return a mask of 0 and 1 for each class.

        `classes` contains the class of each bin before the first iteration of k-means.

        Shape: embeddings [D, F, frames], classes [F, frames] -> [number of classes, F, frames].
        """
        if not embeddings.isfinite().all():  # the callers report diverged training
            return embeddings.new_full((self.classes, *classes.shape), torch.nan)
        from sklearn.cluster import KMeans  # the import takes a second, which other separators do not need

        points, first_classes = embeddings.detach().flatten(start_dim=1).T.cpu(), classes.flatten().cpu()
        present = first_classes.unique()
        start = torch.stack([points[first_classes == number].mean(dim=0) for number in present])
        fitted = KMeans(len(present), init=start.numpy(), n_init=1).fit(points.numpy())
        numbers = present[torch.from_numpy(fitted.labels_).long()]
        return functional.one_hot(numbers, self.classes).T.float().view(-1, *classes.shape).to(embeddings)

    def training_target(
        self, mixture: Tensor, sources: Tensor, estimate: Estimate, magnitude_difference: Sequence[bool] | None = None
    ) -> Estimate:
        """Return the true sources with the true class and the weight (0 or 1) of each bin, see `Separator.training_target`."""
        energies = self._net.gather(self.energies(mixture, sources))
        truth = super().training_target(mixture, sources, estimate, magnitude_difference)
        truth.labels = energies.argmax(dim=1)
        total = energies.sum(dim=1)
        loudest = total.amax(dim=(1, 2), keepdim=True).clamp(min=SILENT)
        truth.weights = (total > loudest * 10 ** (-self.silent_db / 10)).float()
        return truth
