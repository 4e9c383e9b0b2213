"""Compute any loss of a separator over the targets that are known to exist in a track.

A target is unknown if nobody knows whether and how the mixture contains it, for example because its file is missing. The loss
of the whole batch would compare the estimate of such a target with a wrong waveform.
"""

import torch
from torch import Tensor, nn

from unbraid.models.losses import WeightedSum
from unbraid.models.separators.base import Estimate


def loss_of_known(loss: nn.Module, estimate: Estimate, reference: Estimate, known: Tensor | None) -> Tensor:
    """Compute a loss over the known targets of a batch.

    The loss is computed for each target from the examples in which the target is known. The result is the mean over all known
    targets of all examples. If the loss has the attribute `sums_targets`, the result is the sum over the targets instead. If
    the estimate classifies or embeds time-frequency bins, a value of one bin concerns all targets. Only the examples in which
    all targets are known are then used.

    Args:
        loss: function from two objects of class `Estimate` to a scalar.
        estimate: output of the separator.
        reference: true values. The values of unknown targets are ignored.
        known: True for each known target of each example. None: all targets are known.

    Shape:
        known: bool [B, S].

    Returns:
        The loss. If all targets are known, the result is `loss(estimate, reference)`. If no target is known, the result is 0.
    """
    if known is None or bool(known.all()):
        return loss(estimate, reference)
    if isinstance(loss, WeightedSum):
        terms = [loss.weights[name] * loss_of_known(term, estimate, reference, known) for name, term in loss.losses.items()]
        return torch.stack(terms).sum()
    joint = next((value for value in (estimate.logits, estimate.embeddings) if value is not None), None)
    if joint is not None:
        examples = known.all(dim=1).nonzero().flatten()
        return loss(estimate.part(examples), reference.part(examples)) if len(examples) else joint[:0].sum()
    field = next((value for name in ("masks", "magnitudes") if (value := vars(estimate).get(name)) is not None), None)
    total = (estimate.sources if field is None else field)[:0].sum().real  # 0, with a gradient of 0 for each network
    count = 1 if getattr(loss, "sums_targets", False) else int(known.sum())
    for target, column in enumerate(known.T):
        examples = column.nonzero().flatten()
        if len(examples):
            weight = 1 if getattr(loss, "sums_targets", False) else len(examples)
            total = total + loss(estimate.part(examples, target), reference.part(examples, target)) * (weight / count)
    return total
