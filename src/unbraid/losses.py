"""Losses: `loss(estimate, reference)` to one number; of separations both have the fields of `unbraid.separators.Estimate`."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class MagnitudeL1(nn.Module):
    """‖M ⊙ X − Y‖₁,₁ between estimated and true magnitudes (Jansson et al., ISMIR 2017).

    Averaged over bins instead of summed, so that the figure does not depend on batch or patch size; Adam's steps are the same.
    """

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: magnitudes [B, S, C, F, T] of both -> scalar."""
        return functional.l1_loss(estimate.magnitudes, reference.magnitudes)


class SquaredError(nn.Module):
    """‖x − x̂‖², the mean over items: what an autoencoder is trained on and judged by."""

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Shape: [N, D] both -> scalar."""
        return functional.mse_loss(estimate, reference, reduction="sum") / len(reference)


class BinCrossEntropy(nn.Module):
    """Cross-entropy of every bin that has a class (Ronneberger et al., MICCAI 2015, unweighted)."""

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: logits [B, classes, F, T] and labels [B, F, T], negative where there is none -> scalar."""
        known = reference.labels >= 0
        total = functional.cross_entropy(estimate.logits, reference.labels, reduction="sum")
        return total / known.sum().clamp(min=1)


class MagnitudeMSE(nn.Module):
    """The mean of (M ⊙ X − Y)² over all bins: what Open-Unmix is trained on (Stöter et al., JOSS 2019)."""

    def forward(self, estimate: Any, reference: Any) -> Tensor:
        """Shape: magnitudes [B, S, C, F, T] of both -> scalar."""
        return functional.mse_loss(estimate.magnitudes, reference.magnitudes)
